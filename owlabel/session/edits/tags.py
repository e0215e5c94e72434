"""The annotator's acts on tags: which classes are present in or absent from an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from psygnal import Signal

from owlabel.formats.tags import files as tag_files
from owlabel.formats.tags.files import Reading
from owlabel.project.tables.tags import TAG_STATES
from owlabel.session.core.acts import Acts
from owlabel.view import data_requirements
from owlabel.view.view import View

TagTable = Mapping[int, Mapping[int, str]]
"""Class id to image id to the state of the tag."""


@dataclass(frozen=True)
class ImportedTags:
    """The result of an import.

    Attributes
    ----------
    tags, images : int
        Number of new tags, and number of images in the file.
    overruled : int
        Number of tags that had another state before.
    classes : tuple of str
        Names of the classes that were created.
    skipped : mapping
        Unknown name to the number of its tags that were skipped.
    """

    tags: int
    images: int
    overruled: int
    classes: tuple[str, ...]
    skipped: Mapping[str, int]

    def __str__(self) -> str:
        """Return a summary in one line."""
        text = f"{self.tags} new tags in {_images(self.images)}"
        if self.overruled:
            text += f", {self.overruled} of them replace an earlier tag"
        if self.classes:
            text += f"; created {', '.join(self.classes)}"
        if self.skipped:
            names = ", ".join(list(self.skipped)[:3]) + (", …" if len(self.skipped) > 3 else "")
            text += f"; skipped {sum(self.skipped.values())} tags with unknown names: {names}"
        return text


class TagEdits:
    """The tags of a session. Each act is on disk when its method returns.

    Parameters
    ----------
    view : View
    acts : Acts
    """

    changed = Signal(object)
    """The tags that changed: class id to image id to the new state."""

    def __init__(self, view: View, acts: Acts) -> None:
        self._view, self._acts, self._tags = view, acts, view.project.tags

    def tag(self, image_ids: Iterable[int], class_id: int, state: str) -> int:
        """Tag images with a class; return the number of new tags.

        Parameters
        ----------
        image_ids : iterable of int
        class_id : int
        state : {"present", "absent", "unknown"}
            "unknown" removes the tag.

        Raises
        ------
        ValueError
            If there is no such class or image, or the state is unknown.
        """
        named = self._view.classes.by_id(class_id)
        states = dict.fromkeys(image_ids, state)
        before = self._tags.by_class(class_id, states)
        new = {i: s for i, s in states.items() if before.get(i, "unknown") != s}
        if state not in TAG_STATES:
            raise ValueError(f"a tag must be one of {', '.join(TAG_STATES)}, got {state!r}")
        if not new:
            return 0
        words = {"present": named.name, "absent": f"no {named.name}"}
        label = f"{words.get(state, f'{named.name} unknown')} in {_images(len(new))}"
        return self.tag_all({class_id: new}, label=label)

    def tag_none(self, image_ids: Iterable[int]) -> int:
        """Tag every novel class as absent in images, except classes that already have a tag.

        Returns the number of new tags.
        """
        ids = list(image_ids)
        states = {
            c.id: dict.fromkeys(sorted(set(ids) - set(self._tags.by_class(c.id))), "absent")
            for c in self._view.classes.novel
        }
        if not any(states.values()):
            return 0
        return self.tag_all(states, label=f"none of these in {_images(len(ids))}")

    def tag_all(
        self, table: TagTable, new: Mapping[str, Mapping[int, str]] | None = None, label: str = ""
    ) -> int:
        """Tag many images with many classes in one act; return the number of new tags.

        Parameters
        ----------
        table : mapping
            Class id to image id to "present", "absent" or "unknown".
        new : mapping, optional
            Name of a novel class to create, to image id to a state.
        label : str
            Name of the act for people.

        Raises
        ------
        ValueError
            If a class, image or state is unknown, or a new name is taken. Nothing changes then.
        """
        new = new or {}
        images = {i for states in (*table.values(), *new.values()) for i in states}
        payload = {"images": len(images), "new": list(new)}
        count = 0
        label = label or f"tag {_images(len(images))}"
        with self._acts.act("tag", payload, label) as action:
            states_of = dict(table) | {action.add_class(n).id: s for n, s in new.items()}
            for class_id, states in states_of.items():
                count += action.set_tags(class_id, states)
        return count

    def import_file(self, path: Path | str, how: Reading | None = None) -> ImportedTags:
        """Import tags from CSV, JSON, COCO, or a folder with one folder for each class.

        The import is one act, so one undo reverts all of it.

        Raises
        ------
        ValueError
            If the file is malformed, with the line and the remedy. Nothing changes then.
        """
        path = Path(path)
        images = {r.relative: r.id for r in self._view.images.records}
        imported = tag_files.read(path, images, self._view.classes, how)
        count, overruled, any_new = 0, 0, bool(imported.new)
        for class_id, states in imported.tags.items():
            before = self._tags.by_class(class_id)
            overruled += sum(i in before and before[i] != state for i, state in states.items())
            any_new |= any(before.get(i, "unknown") != state for i, state in states.items())
        if any_new:
            count = self.tag_all(imported.tags, imported.new, label=f"tags of {path.name}")
        all_states = [*imported.tags.values(), *imported.new.values()]
        tagged = len({i for states in all_states for i in states})
        return ImportedTags(count, tagged, overruled, tuple(imported.new), imported.skipped)

    def export_file(self, path: Path | str) -> int:
        """Write all tags as CSV or JSON, by the suffix; return their number.

        Raises
        ------
        ValueError
            If the suffix is neither .csv nor .json, or the file cannot be written.
        """
        names = self._view.classes.names
        relative = {r.id: r.relative for r in self._view.project.images()}
        tags = [
            (relative.get(i) or self._view.project.image(i).relative, names[c], state)
            for i, of_image in self._tags.all().items()
            for c, state in of_image.items()
        ]
        tag_files.write(Path(path), tags)
        return len(tags)

    def states(self, changed: Mapping[int, Iterable[int]]) -> dict[int, dict[int, str]]:
        """Return the current tags of some images: class id to image id to state."""
        now = {class_id: self._tags.by_class(class_id) for class_id in changed}
        return {c: {i: now[c].get(i, "unknown") for i in images} for c, images in changed.items()}

    def missing(self) -> list[str]:
        """Return warnings about classes with too few tags or masks to learn masks from tags.

        Scans all new label maps first. `scan_masks` does this in small steps.
        """
        self.scan_masks(None)
        return [*self.missing_tags(), *self.missing_masks()]

    def scan_masks(self, seconds: float | None) -> int:
        """Scan new label maps for about `seconds`, see `LabelIndex`; return how many are left."""
        return self._view.project.label_index.scan(seconds)

    def missing_tags(self) -> list[str]:
        """Return a warning for each novel class with too few tags."""
        images = len(self._view.images.ids)
        return data_requirements.missing_tags(self._view.project, self._view.classes, images)

    def missing_masks(self) -> list[str]:
        """Return warnings about too few masks, from the label maps that were scanned so far."""
        return data_requirements.missing_masks(self._view.project, self._view.classes)


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
