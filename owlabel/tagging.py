"""What an annotator says of whole images: which classes are in them and which are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from owlabel.classes import LabelClass
from owlabel.editing import Editor
from owlabel.project.store import Event
from owlabel.project.tags import TAG_STATES

TagTable = Mapping[int, Mapping[int, str]]
"""Class id to image id to a state."""


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
        before = self.project.tags.by_class(class_id)
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
        self._after_tags()
        return count

    def _after_tags(self) -> None:
        self.tags_changed.emit()
        self.queue_changed.emit()  # only a tagged class may be proposed
        self.history_changed.emit()

    def _travel(self, event: Event | None) -> None:
        super()._travel(event)
        if event is not None and any(c.table in ("tag", "label_class") for c in event.changes):
            self.tags_changed.emit()

    def tagged_images(self, class_id: int, state: str) -> Sequence[int]:
        """Return the readable images of which this was said, in their order; "unknown" too."""
        said = self.project.tags.by_class(class_id)
        return [r.id for r in self.records if said.get(r.id, "unknown") == state]


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
