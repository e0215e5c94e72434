"""What an annotator says of whole images: which classes are in them and which are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from owlabel.classes import LabelClass
from owlabel.formats.tags import files as tag_files
from owlabel.formats.tags.files import Reading
from owlabel.project.store import Event
from owlabel.project.tables.tags import TAG_STATES
from owlabel.session.edits.labels import Editor
from owlabel.view import data_requirements as lacking

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


class Tagging(Editor):
    """An editor that can tag images.  Each act is on disk when it returns."""

    def add_class(self, name: str) -> LabelClass:
        """Name a novel class that has no pixel yet.

        Raises
        ------
        ValueError
            If the name is taken or malformed, or all ids are used.
        """
        with self.project.action("add_class", {"name": name}, f"name {name}") as action:
            added = action.add_class(name)
        self._after_classes()
        return added

    def tag(self, image_ids: Iterable[int], class_id: int, state: str) -> int:
        """Say of images whether a class is in them; return in how many that is new.

        Parameters
        ----------
        image_ids : iterable of int
        class_id : int
        state : {"present", "absent", "unknown"}
            "unknown" takes back what was said.

        Raises
        ------
        ValueError
            If there is no such class or image, or the state is another word.
        """
        named = self.classes.by_id(class_id)
        states = dict.fromkeys(image_ids, state)
        before = self.project.tags.by_class(class_id, states)
        new = {i: s for i, s in states.items() if before.get(i, "unknown") != s}
        if state not in TAG_STATES:
            raise ValueError(f"a tag is one of {', '.join(TAG_STATES)}, got {state!r}")
        if not new:
            return 0
        words = {"present": named.name, "absent": f"no {named.name}"}
        label = f"{words.get(state, f'{named.name} unknown')} in {_images(len(new))}"
        return self.tag_all({class_id: new}, label=label)

    def tag_none(self, image_ids: Iterable[int]) -> int:
        """Say of images that no novel class is in them but those that were said to be.

        Returns how many tags are new; what was said before stays.
        """
        ids = list(image_ids)
        states = {
            c.id: dict.fromkeys(sorted(set(ids) - set(self.project.tags.by_class(c.id))), "absent")
            for c in self.classes.novel
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
        with self.project.action("tag", payload, label) as action:
            states_of = dict(table) | {action.add_class(n).id: s for n, s in made.items()}
            for class_id, states in states_of.items():
                count += action.set_tags(class_id, states)
        if made:
            self.classes = self.project.classes()
            self.classes_changed.emit()
        self._after_tags(states_of)
        return count

    def import_tags(self, path: Path | str, how: Reading | None = None) -> ImportedTags:
        """Tag images as a file says: CSV, JSON, COCO, or a folder with one for each class.

        One act, so that one undo takes all of it back.

        Raises
        ------
        ValueError
            If anything in it cannot be understood; names file, line and remedy.  Nothing changes
            then.
        """
        path = Path(path)
        images = {r.relative: r.id for r in self.records}
        found = tag_files.read(path, images, self.classes, how)
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
        before = self.project.tags.by_class(class_id)
        return any(before.get(i, "unknown") != state for i, state in states.items())

    def _overruled(self, class_id: int, states: Mapping[int, str]) -> int:
        before = self.project.tags.by_class(class_id)
        return sum(i in before and before[i] != state for i, state in states.items())

    def export_tags(self, path: Path | str) -> int:
        """Write all tags as CSV or JSON, by the suffix; return how many.

        Raises
        ------
        ValueError
            If the suffix is another, or the file cannot be written.
        """
        names = self.classes.names
        relative = {r.id: r.relative for r in self.project.images()}
        tags = [
            (relative.get(i) or self.project.image(i).relative, names[c], state)
            for i, of_image in self.project.tags.all().items()
            for c, state in of_image.items()
        ]
        tag_files.write(Path(path), tags)
        return len(tags)

    def _after_tags(self, changed: TagTable) -> None:
        self.tags_changed.emit(changed)
        self.queue_changed.emit()  # only a tagged class may be proposed
        self.history_changed.emit()

    def _take(self, events: Sequence[Event]) -> None:
        super()._take(events)
        touched: dict[int, set[int]] = {}
        for event in events:
            for c in event.changes:
                if c.table == "tag":
                    touched.setdefault(int(c.row), set()).update(int(i) for i in c.after)
        if touched:  # as it is now: what an event said may be undone already
            self.tags_changed.emit(
                {
                    class_id: {i: now.get(i, "unknown") for i in images}
                    for class_id, images in touched.items()
                    for now in (self.project.tags.by_class(class_id),)
                }
            )

    def lacking(self) -> list[str]:
        """Return in plain words which class has too few tags or masks to learn masks from tags.

        Looks at all label maps that nobody has looked at yet; `count_masks` does it bit by bit.
        """
        self.count_masks(None)
        return [*self.tags_lacking(), *self.masks_lacking()]

    def count_masks(self, seconds: float | None) -> int:
        """Look so long at label maps that are new, see `LabelIndex`; return how many are left."""
        return self.project.label_index.scan(seconds)

    def tags_lacking(self) -> list[str]:
        """Return which novel class has too few tags."""
        return lacking.tags_lacking(self.project, self.classes, len(self.records))

    def masks_lacking(self) -> list[str]:
        """Return which known class has too few masks, as far as `count_masks` has looked."""
        return lacking.masks_lacking(self.project, self.classes)

    def tagged_images(self, class_id: int, state: str) -> Sequence[int]:
        """Return the readable images of which this was said, in their order; "unknown" too."""
        said = self.project.tags.by_class(class_id)
        return [r.id for r in self.records if said.get(r.id, "unknown") == state]


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
