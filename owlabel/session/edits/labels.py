"""What an annotator does to labels and classes: each act is one durable, undoable action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from owlabel.classes import UNSET, VOID, LabelClass, Labels, present
from owlabel.novel.click_regions import Region
from owlabel.novel.clicks import Click, click_region
from owlabel.novel.label_maps import Rule
from owlabel.novel.shots import occurrence_key
from owlabel.ood.prototype_scores import MmspNorm, check_mixture
from owlabel.project.cache_eviction import SETTING as CACHE_LIMIT
from owlabel.project.history.changes_elsewhere import events_of_others, last_event
from owlabel.project.store import Action, Event, Project
from owlabel.view.view import View


class Editor(View):
    """A view whose labels and classes can be changed.  Each act is on disk when it returns."""

    _stroke = "paint"  # kind of the event of a brush stroke

    def __init__(self, project: Project) -> None:
        self._followed = last_event(project.database)  # memory is up to date with it
        super().__init__(project)

    def click(self, row: int, col: int, add: bool = True) -> None:
        """Add to the pending region, or take away from it, around one pixel.

        Raises
        ------
        ValueError
            If the pixel is outside the image.
        """
        record = self.record()
        height, width = record.shape or self.image().shape[:2]
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(f"the click ({row}, {col}) is outside the image of {height} x {width}")
        if not add and self.region is None:
            return
        payload = {"image_id": record.id, "row": int(row), "col": int(col), "add": bool(add)}
        with self.project.action("click", payload, "click"):
            pass
        self._refresh_region()
        self.history_changed.emit()

    def _pending(self, by_colour: bool | None) -> Region:
        if self.region is None:
            raise ValueError("there is no region: click an object first")
        if by_colour:
            self.by_colour = True
            self.region = click_region(self.clicks, None, self.image, self.rule)
        return self.region

    def _region_payload(self) -> dict[str, Any]:
        return {
            "image_id": self.record().id,
            "clicks": len(self.clicks),
            "by_colour": self.by_colour,
        }

    def _region_of(self, clicks: tuple[Click, ...]) -> Region:
        return click_region(clicks, self.output(), self.image, self.rule)

    def cancel_region(self) -> None:
        """Drop the pending region."""
        if self.clicks or self.region is not None:
            with self.project.action("cancel", {"image_id": self.record().id}, "drop region"):
                pass
            self._refresh_region()
            self.history_changed.emit()

    def accept(self, name: str, *, by_colour: bool | None = None) -> LabelClass:
        """Give the pending region this class; a new name makes a novel class, at once (NPM).

        What a human said before stays, but for the class under a click.

        Parameters
        ----------
        name : str
            Of an existing class (case does not matter) or of a new one.
        by_colour : bool, optional
            Replay: whether the region was proposed by colour, before there were embeddings.

        Raises
        ------
        ValueError
            If there is no pending region, or the name is malformed.
        """
        region = self._pending(by_colour)
        known = self.classes.find(name)
        payload = self._region_payload() | {"name": name}
        with self.project.action("accept", payload, f"label {name}") as action:
            named = known or action.add_class(name)
            self._write(action, self._painted(region, named.id))
        if known is None:
            self.classes = self.project.classes()
            self.classes_changed.emit()
        self._after_labels(self.record().id)
        return named

    def mark_ignore(self, *, peak: Sequence[int] | None = None) -> None:
        """Mark the pending region (or the candidate around `peak`) as void: it shall not count."""
        self._fill("ignore", "ignore region", np.full(self.human().shape, VOID, np.uint8), peak)

    def mark_known(self, *, peak: Sequence[int] | None = None) -> None:
        """Say that the model is right about the pending region (or the current candidate).

        Raises
        ------
        ValueError
            If the image is not embedded yet, or there is neither region nor candidate.
        """
        prediction = self.prediction()
        if prediction is None:
            raise ValueError("the image is not embedded yet: wait for the worker")
        self._fill("known", "known after all", prediction.labels, peak)

    def _fill(self, kind: str, label: str, values: Labels, peak: Sequence[int] | None) -> None:
        """Write `values` into the human layer where the region, or else the candidate, is."""
        payload = self._region_payload()
        region = self.region
        if region is None:
            row, col = peak or self._candidate_peak()
            payload["peak"] = [row, col]
            region = self._region_of((Click(row, col),))
        painted = self.human().copy()
        r0, c0, r1, c1 = region.mask_box
        painted[r0:r1, c0:c1][region.mask] = values[r0:r1, c0:c1][region.mask]
        with self.project.action(kind, payload, label) as action:
            self._write(action, painted)
        self._after_labels(self.record().id)

    def _candidate_peak(self) -> tuple[int, int]:
        if self.candidate is None or self.candidate.record.id != self.image_id:
            raise ValueError("there is no region: click an object or go to a candidate (N) first")
        return self.candidate.row.candidate.peak

    def _painted(self, region: Region, class_id: int) -> Labels:
        """Return the human layer with the region in it; what else a human said stays."""
        human = self.human()
        r0, c0, r1, c1 = region.mask_box
        inside = human[r0:r1, c0:c1]
        yielding = {UNSET, *(int(human[c.row, c.col]) for c in self.clicks if c.add)}
        painted = human.copy()
        painted[r0:r1, c0:c1][region.mask & np.isin(inside, list(yielding))] = class_id
        return painted

    def paint(self, labels: Labels) -> None:
        """Replace the human layer of the current image: one finished stroke of a brush.

        Parameters
        ----------
        labels : array of uint8, shape (H, W)
            Class ids of the project, `VOID`, or `UNSET` where nobody has said anything.

        Raises
        ------
        ValueError
            If the shape is not the image's or a value is no class.
        """
        human = self.human()
        if labels.shape != human.shape or labels.dtype != np.uint8:
            raise ValueError(
                f"labels must be uint8 of shape {human.shape}, got {labels.dtype} {labels.shape}"
            )
        unknown = sorted(set(present(labels)) - {*self.classes.names, VOID, UNSET})
        if unknown:
            raise ValueError(f"labels hold {unknown}, which are no classes of this project")
        if np.array_equal(labels, human):
            return
        with self.project.action(self._stroke, {"image_id": self.record().id}, "paint") as action:
            self._write(action, labels, over_others=True)
        self._after_labels(self.record().id)

    def _write(self, action: Action, labels: Labels, *, over_others: bool = False) -> None:
        """Store labels that rest on `human`; where others have labelled since, theirs stay."""
        record = self.record()
        newest = action.labels_since(record.id, record.revision_id)
        if newest is not None:
            mine = labels != self.human()
            if not over_others:  # this act promises to leave alone what people have labelled
                mine &= newest == self.human()
            labels = np.where(mine, labels, newest)
        active = action.class_ids()
        lost = set(self.classes.names) - active
        if lost and (gone := lost & set(present(labels))):
            named = self.classes.names[min(gone)]
            raise ValueError(f"the class {named!r} has just been taken back: choose another")
        action.set_labels(record.id, labels)
        action.set_review(record.id, None, None)  # it may be frozen elsewhere since it was read
        action.set_state(record.id, "edited")

    def review(self, done: bool = True) -> None:
        """Freeze the labels of the current image as reviewed, or take that back.

        Raises
        ------
        ValueError
            If the model in use has not looked at the image yet, or another process has just
            labelled it: what is frozen is what was seen.
        """
        record = self.record()
        payload = {"image_id": record.id, "done": done}
        if done and self.embedded_heads() < len(self.header.heads):
            raise ValueError("the model in use has not looked at this image yet: wait a moment")
        if done == (record.state == "reviewed"):
            return
        frozen = self.labels()
        with self.project.action("review", payload, "review" if done else "reopen") as action:
            if done:
                if action.labels_since(record.id, record.revision_id) is not None:
                    raise ValueError(
                        f"{record.relative} has just been labelled elsewhere: look at it, then "
                        "review it again"
                    )
                action.set_review(record.id, frozen.labels, frozen.source)
                action.set_state(record.id, "reviewed")
            else:
                action.set_review(record.id, None, None)
                labelled = action.has_labels(record.id)
                action.set_state(record.id, "edited" if labelled else "proposed")
        self._after_labels(record.id)

    def rename_class(self, class_id: int, name: str) -> None:
        """Give a class another name; its id and its pixels stay."""
        payload = {"class_id": class_id, "name": name}
        with self.project.action("rename", payload, f"rename to {name}") as action:
            action.update_class(class_id, name=name)
        self._after_classes()

    def recolor_class(self, class_id: int, color: tuple[int, int, int]) -> None:
        """Show a class in another colour (red, green, blue, each 0 .. 255).

        Raises
        ------
        ValueError
            If there is no such class, or a part of the colour is out of range.
        """
        named = self.classes.by_id(class_id)
        if tuple(color) == named.color:
            return
        payload = {"class_id": class_id, "color": list(color)}
        with self.project.action("recolor", payload, f"colour of {named.name}") as action:
            action.update_class(class_id, color=color)
        self._after_classes()

    def set_lambda(self, lambda_novel: float) -> None:
        """Set the squared distance within which NPM claims a pixel for a novel class."""
        if not lambda_novel >= 0:
            raise ValueError(f"lambda_novel must be at least 0, got {lambda_novel}")
        self._set("lambda_novel", float(lambda_novel))

    def set_threshold(self, threshold: float) -> None:
        """Set from where on scores and candidates are shown, a fraction of the score's scale."""
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        self._set("threshold", float(threshold))

    def set_mixture(
        self,
        beta: float | None = None,
        gamma: float | None = None,
        mmsp_norm: MmspNorm | None = None,
    ) -> None:
        """Set steepness and threshold of the mixture of EDS and MMSP, and how it takes MMSP.

        Raises
        ------
        ValueError
            If beta is negative or not finite, gamma is outside 0 .. 1, or `mmsp_norm` is neither
            "none" nor "minmax".
        """
        wanted: dict[str, Any] = {"beta": beta, "gamma": gamma, "mmsp_norm": mmsp_norm}
        now = {key: getattr(self.scoring, key) for key in wanted}
        changed = {k: v for k, v in wanted.items() if v is not None and v != now[k]}
        check_mixture(**{**now, **changed})
        for key, value in changed.items():
            payload = {"key": key, "value": value}
            with self.project.action("setting", payload, f"set {key}") as action:
                action.set_setting(key, value)
        if changed:
            self._read_settings()
            self.scores_changed.emit()
            self.history_changed.emit()

    def set_cache_limit(self, gib: float) -> None:
        """Set how many GiB of embeddings are kept; the worker removes the rest when it embeds."""
        if not gib > 0:
            raise ValueError(f"the limit of the cache must be positive, got {gib} GiB")
        self._set(CACHE_LIMIT, float(gib))

    def _set(self, key: str, value: float) -> None:
        if value == self.project.setting(key, None):
            return
        with self.project.action("setting", {"key": key, "value": value}, f"set {key}") as action:
            action.set_setting(key, value)
        self._reload_rule()

    # -- history -----------------------------------------------------------------------------

    def undo(self) -> None:
        """Take back the last act, whatever it was; goes to its image."""
        self._travel(self.project.undo())

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._travel(self.project.redo())

    def _travel(self, event: Event | None) -> None:
        """Bring memory up to date with what an undo or redo has flipped, and go there."""
        if event is None:
            return
        self.project.own_events.add(event.seq)
        self._take([event])
        touched = event.payload.get("image_id", self.image_id)
        if touched in self._by_id:
            self.go_to(touched)
            self.labels_changed.emit(touched)

    def _follow(self) -> None:
        """Bring memory up to date with what other processes have done to this project."""
        newest = last_event(self.project.database)
        if newest == self._followed:
            return
        others = events_of_others(self.project.database, self._followed, self.project.own_events)
        self._followed = newest
        if others:
            self._take(others)
            if self.image_id is not None:
                self._refresh_region()
                self.labels_changed.emit(self.image_id)
            self.queue_changed.emit()

    def _take(self, events: Sequence[Event]) -> None:
        """Bring memory up to date with what events have changed that no act here has made."""
        flipped = {(change.table, change.row) for event in events for change in event.changes}
        if ("setting", "active_model") in flipped:
            self._load()
            self._leave_unreadable()
            self.model_changed.emit()
            self._model_taken()
        self.classes = self.project.classes()
        images = sorted(int(row) for table, row in flipped if table == "image")
        for image_id in self._by_id.keys() & images:
            self._human.pop(image_id, None)
            self._by_id[image_id] = self.project.image(image_id)
            self._refresh_shots(self._by_id[image_id])
        for class_id in set(self._means) - set(self.classes.names):
            del self._means[class_id]
        self._reload_rule()
        self.classes_changed.emit()

    def _model_taken(self) -> None:
        """Do what follows from a model that an undo or another process has chosen."""

    # -- after an act ------------------------------------------------------------------------

    def _after_labels(self, image_id: int) -> None:
        """Bring memory up to date with the labels of one image and tell who listens."""
        self._human.pop(image_id, None)
        self._by_id[image_id] = self.project.image(image_id)
        before = self.rule
        self._refresh_shots(self.record(image_id))
        self._refresh_rule()
        self._refresh_region()
        self.labels_changed.emit(image_id)
        if self._differs(before):
            self.prediction_changed.emit(image_id)
            self.classes_changed.emit()
            self._rule_changed()
        self.queue_changed.emit()
        self.history_changed.emit()

    def _differs(self, before: Rule) -> bool:
        return occurrence_key("", before.prototypes, before.lambda_novel) != occurrence_key(
            "", self.rule.prototypes, self.rule.lambda_novel
        )

    def _after_classes(self) -> None:
        self.classes = self.project.classes()
        self.classes_changed.emit()
        self.history_changed.emit()

    def _reload_rule(self) -> None:
        self._read_settings()
        self._refresh_rule()
        if self.image_id is not None:
            self.prediction_changed.emit(self.image_id)
        self._rule_changed()
        self.queue_changed.emit()
        self.history_changed.emit()

    def _rule_changed(self) -> None:
        """Do what follows from new prototypes for the rest of the data set."""
