"""The annotator's acts on whole images: which classes are in them and which are not."""

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
"""Class id to image id to a state."""


@dataclass(frozen=True)
class ImportedTags:
    """What an import has done.

    Attributes
    ----------
    tags, images : int
        New tags, and images that the file speaks of.
    overruled : int
        Tags that said something else before.
    classes : tuple of str
        That were made.
    skipped : mapping
        Unknown name to how many statements on it were left out.
    """

    tags: int
    images: int
    overruled: int
    classes: tuple[str, ...]
    skipped: Mapping[str, int]

    def __str__(self) -> str:
        """Return one line for people."""
        text = f"{self.tags} new tags in {_images(self.images)}"
        if self.overruled:
            text += f", {self.overruled} of them against what was said before"
        if self.classes:
            text += f"; made {', '.join(self.classes)}"
        if self.skipped:
            names = ", ".join(list(self.skipped)[:3]) + (", …" if len(self.skipped) > 3 else "")
            text += f"; left out {sum(self.skipped.values())} statements on {names}"
        return text


class TagEdits:
    """The tags of a session.  Each act is on disk when it returns.

    Parameters
    ----------
    view : View
    acts : Acts
    """

    changed = Signal(object)
    """Class id to image id to the tag that counts now, of the tags that changed."""

    def __init__(self, view: View, acts: Acts) -> None:
        self._view, self._acts, self._tags = view, acts, view.project.tags

    def tag(self, image_ids: Iterable[int], class_id: int, state: str) -> int:
        """Tag images with a class; return in how many the tag is new.

        Parameters
        ----------
        image_ids : iterable of int
        class_id : int
        state : {"present", "absent", "unknown"}
            "unknown" removes the tag.

        Raises
        ------
        ValueError
            If there is no such class or image, or the state is another word.
        """
        named = self._view.classes.by_id(class_id)
        states = dict.fromkeys(image_ids, state)
        before = self._tags.by_class(class_id, states)
        new = {i: s for i, s in states.items() if before.get(i, "unknown") != s}
        if state not in TAG_STATES:
            raise ValueError(f"a tag is one of {', '.join(TAG_STATES)}, got {state!r}")
        if not new:
            return 0
        words = {"present": named.name, "absent": f"no {named.name}"}
        label = f"{words.get(state, f'{named.name} unknown')} in {_images(len(new))}"
        return self.tag_all({class_id: new}, label=label)

    def tag_none(self, image_ids: Iterable[int]) -> int:
        """Tag images with the absence of every novel class; tags they have already stay.

        Returns how many tags are new.
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
        """Tag many images with many classes in one act; return how many tags are new.

        Parameters
        ----------
        table : mapping
            Class id to image id to "present", "absent" or "unknown".
        new : mapping, optional
            Name of a novel class, which is made, to image id to a state.
        label : str
            Of the act, for people.

        Raises
        ------
        ValueError
            If a class, image or state is unknown, or a new name is taken.  Nothing changes then.
        """
        made = dict(new or {})
        images = {i for states in (*table.values(), *made.values()) for i in states}
        payload = {"images": len(images), "new": list(made)}
        count = 0
        label = label or f"tag {_images(len(images))}"
        with self._acts.act("tag", payload, label) as action:
            states_of = dict(table) | {action.add_class(n).id: s for n, s in made.items()}
            for class_id, states in states_of.items():
                count += action.set_tags(class_id, states)
        return count

    def import_file(self, path: Path | str, how: Reading | None = None) -> ImportedTags:
        """Tag images as a file says: CSV, JSON, COCO, or a folder with one for each class.

        One act, so that one undo takes all of it back.

        Raises
        ------
        ValueError
            If anything in it cannot be understood; names file, line and remedy.  Nothing changes
            then.
        """
        path = Path(path)
        images = {r.relative: r.id for r in self._view.images.records}
        found = tag_files.read(path, images, self._view.classes, how)
        all_states = [*found.tags.values(), *found.new.values()]
        overruled = sum(
            self._overruled(class_id, states) for class_id, states in found.tags.items()
        )
        count = 0
        if found.new or any(self._new(*one) for one in found.tags.items()):
            count = self.tag_all(found.tags, found.new, label=f"tags of {path.name}")
        tagged = len({i for states in all_states for i in states})
        return ImportedTags(count, tagged, overruled, tuple(found.new), found.skipped)

    def _new(self, class_id: int, states: Mapping[int, str]) -> bool:
        before = self._tags.by_class(class_id)
        return any(before.get(i, "unknown") != state for i, state in states.items())

    def _overruled(self, class_id: int, states: Mapping[int, str]) -> int:
        before = self._tags.by_class(class_id)
        return sum(i in before and before[i] != state for i, state in states.items())

    def export_file(self, path: Path | str) -> int:
        """Write all tags as CSV or JSON, by the suffix; return how many.

        Raises
        ------
        ValueError
            If the suffix is another, or the file cannot be written.
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
        """Return class id to image id to the tag that counts now."""
        now = {class_id: self._tags.by_class(class_id) for class_id in changed}
        return {c: {i: now[c].get(i, "unknown") for i in images} for c, images in changed.items()}

    def missing(self) -> list[str]:
        """Return which class has too few tags or masks to learn masks from tags, a line each.

        Scans all label maps that are new; `scan_masks` does it bit by bit.
        """
        self.scan_masks(None)
        return [*self.missing_tags(), *self.missing_masks()]

    def scan_masks(self, seconds: float | None) -> int:
        """Scan new label maps for at most so long, see `LabelIndex`; return how many are left."""
        return self._view.project.label_index.scan(seconds)

    def missing_tags(self) -> list[str]:
        """Return which novel class has too few tags, a line each."""
        images = len(self._view.images.ids)
        return data_requirements.tags_lacking(self._view.project, self._view.classes, images)

    def missing_masks(self) -> list[str]:
        """Return which known class has too few masks, as far as `scan_masks` has come."""
        return data_requirements.masks_lacking(self._view.project, self._view.classes)


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
