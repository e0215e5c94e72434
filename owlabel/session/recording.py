"""Record a session, and replay the recording: the labels are the same, byte for byte."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from owlabel import __version__
from owlabel.classes import Labels
from owlabel.project.store import Event
from owlabel.project.tables.proposals import NewProposal
from owlabel.session.session import Session
from owlabel.view.proposal_correction import payload_mask
from owlabel.view.view import View

FORMAT = 1
Values = dict[str, Any]


def digests(view: View) -> dict[str, str]:
    """Return the sha256 of labels and sources of each image that has labels, by its name."""
    result = {}
    for record in view.images.records:
        if view.output(record.id) is None and record.revision_id is None:
            continue
        labelled = view.labels(record.id)
        value = hashlib.sha256(labelled.labels.tobytes() + labelled.source.tobytes())
        result[record.relative] = value.hexdigest()
    return result


def _pack(labels: Labels) -> Values:
    raw = base64.b64encode(zlib.compress(labels.tobytes(), 6)).decode()
    return {"shape": list(labels.shape), "zlib": raw}


def _unpack(packed: Values) -> Labels:
    height, width = (int(v) for v in packed["shape"])
    raw = zlib.decompressobj().decompress(base64.b64decode(packed["zlib"]), height * width)
    return np.frombuffer(raw, np.uint8).reshape(height, width)


def recording_lines(session: Session) -> Iterator[Values]:
    """Yield the recording of a project: a header, one line for each event, and the digests."""
    names = {r.id: r.relative for r in session.records}
    yield {
        "owlabel_recording": FORMAT,
        "version": __version__,
        "base_model": session.project.models()[0].hash,
    }
    for event in session.project.events():
        payload = dict(event.payload)
        if "image_id" in payload:
            payload["image"] = names[payload.pop("image_id")]
        line: Values = {"seq": event.seq, "kind": event.kind, "payload": payload}
        if event.kind in ("paint", "touch_up"):
            after = next(c.after for c in event.changes if c.field == "revision_id")
            line["labels"] = _pack(session.project.revision(after))
        if event.kind == "tag":
            line["tags"] = _tags(event, names)
        yield line
    yield {"digests": digests(session.view)}


def _tags(event: Event, names: dict[int, str]) -> dict[str, dict[str, str]]:
    """Return the tags that an act set: class id to image name to state."""
    return {
        change.row: {
            names[int(i)]: state or "unknown"
            for i, state in change.after.items()
            if int(i) in names
        }
        for change in event.changes
        if change.table == "tag"
    }


def read_recording(path: Path) -> list[Values]:
    """Read a recording: its header, its events and its digests.

    Raises
    ------
    ValueError
        If the file is not a recording of this version, or an event is malformed or of an unknown
        kind.
    """
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
    whole = lines and all(isinstance(line, dict) for line in lines)
    if not whole or lines[0].get("owlabel_recording") != FORMAT or "digests" not in lines[-1]:
        raise ValueError(
            f"{path} is not a recording of this version: make a new one with `owlabel log`"
        )
    for number, line in enumerate(lines[1:-1], 2):
        kind = line.get("kind")
        if not isinstance(kind, str) or kind not in HANDLERS:
            raise ValueError(f"{path}, line {number}: unknown kind of event {kind!r}")
        if not isinstance(line.get("payload"), dict):
            raise ValueError(f"{path}, line {number}: the event has no payload")
    return lines


def replay(session: Session, recording: Path, work: Callable[[], None]) -> list[str]:
    """Replay a recorded session on a new project.

    Parameters
    ----------
    session : Session
        A session on a new project with the same images and base model, without a worker.
    recording : Path
        The lines of `recording_lines` as JSON.
    work : callable
        Runs all queued jobs until they end.

    Returns
    -------
    list of str
        Names of the images whose labels differ from the recording; empty on success.

    Raises
    ------
    ValueError
        If the recording is malformed, or was made with another base model.
    """
    lines = read_recording(recording)
    if lines[0].get("base_model") != session.project.models()[0].hash:
        raise ValueError(
            f"{recording} was made with another base model: choose that model with --model"
        )
    session.submit_embedding()
    work()
    player = _Player(session, work)
    for line in lines[1:-1]:
        player.play(line)
    work()
    expected, now = lines[-1]["digests"], digests(session.view)
    return sorted(n for n in {*expected, *now} if expected.get(n) != now.get(n))


class _Player:
    """Repeats recorded events, one by one."""

    def __init__(self, session: Session, work: Callable[[], None]) -> None:
        self.session = session
        self.work = work
        self.ids = {r.relative: r.id for r in session.records}
        self.models = {session.models.active.id: session.models.active.id}
        self.proposals: dict[int, int] = {}  # recorded proposal id to proposal id in this project

    def play(self, event: Values) -> None:
        """Repeat one event, on its image; raises ValueError if the event is malformed."""
        kind, payload = event["kind"], event["payload"]
        try:
            if "image" in payload:
                self._go_to(payload["image"])
            HANDLERS[kind](self, payload, event)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"event {event.get('seq')} ({kind}) is malformed: {error!r}"
            ) from error

    def _go_to(self, image: str) -> None:
        if image not in self.ids:
            raise ValueError(f"the recording needs the image {image!r}, which is not in the folder")
        if self.session.image_id != self.ids[image]:
            self.session.go_to(self.ids[image])

    def click(self, payload: Values, event: Values) -> None:
        self.session.labels.click(payload["row"], payload["col"], payload["add"])

    def cancel(self, payload: Values, event: Values) -> None:
        self.session.labels.cancel_region()

    def accept(self, payload: Values, event: Values) -> None:
        self.session.labels.accept(payload["name"], by_colour=payload["by_colour"])

    def ignore(self, payload: Values, event: Values) -> None:
        self.session.labels.mark_ignore(peak=payload.get("peak"))

    def known(self, payload: Values, event: Values) -> None:
        self.session.labels.mark_known(peak=payload.get("peak"))

    def paint(self, payload: Values, event: Values) -> None:
        self.session.labels.paint(_unpack(event["labels"]))

    def add_class(self, payload: Values, event: Values) -> None:
        self.session.labels.add_class(payload["name"])

    def tag(self, payload: Values, event: Values) -> None:
        tags = {
            int(class_id): {self.ids[name]: state for name, state in of_class.items()}
            for class_id, of_class in event["tags"].items()
        }
        first = 1 + max(c.id for c in self.session.classes.classes)  # new classes get ids in a row
        new = {name: tags.pop(first + i, {}) for i, name in enumerate(payload["new"])}
        self.session.tags.tag_all(tags, new)

    def accept_proposal(self, payload: Values, event: Values) -> None:
        self.session.proposals.accept(self._proposal(payload))

    def reject_proposal(self, payload: Values, event: Values) -> None:
        self.session.proposals.reject(self._proposal(payload))

    def correct(self, payload: Values, event: Values) -> None:
        self.session.proposals.correct(self._proposal(payload))

    def _proposal(self, payload: Values) -> int:
        """Return the proposal that stands for the recorded one; create it if it is missing."""
        recorded_id = int(payload["proposal_id"])
        if recorded_id not in self.proposals:
            image_id = self.ids[payload["image"]]
            mask = payload_mask(payload, self.session.labels.human(image_id).shape)
            item = NewProposal(payload["class_id"], mask, payload["confidence"])
            self.proposals[recorded_id] = self.session.project.proposals.restore(
                image_id, payload["source"], payload["origin"], item
            )
        return self.proposals[recorded_id]

    def review(self, payload: Values, event: Values) -> None:
        self.session.labels.review(payload["done"])

    def rename(self, payload: Values, event: Values) -> None:
        self.session.labels.rename_class(payload["class_id"], payload["name"])

    def recolor(self, payload: Values, event: Values) -> None:
        red, green, blue = payload["color"]
        self.session.labels.recolor_class(payload["class_id"], (red, green, blue))

    def setting(self, payload: Values, event: Values) -> None:
        self.session.settings.set(**{payload["key"]: payload["value"]})

    def undo(self, payload: Values, event: Values) -> None:
        self.session.undo()

    def redo(self, payload: Values, event: Values) -> None:
        self.session.redo()

    def retrain(self, payload: Values, event: Values) -> None:
        from owlabel.jobs.requests.plm import PlmRequest

        keys = ("class_name", "iterations", "seed")
        self.session.training.plm(PlmRequest(**{key: payload[key] for key in keys}))
        self.work()

    def train_ood(self, payload: Values, event: Values) -> None:
        from owlabel.jobs.requests.ood import OodRequest

        self.session.training.ood(OodRequest(**payload))
        self.work()

    def pretrain(self, payload: Values, event: Values) -> None:
        from owlabel.jobs.requests.pretraining import PretrainRequest

        self.session.training.pretrain(PretrainRequest(**payload))
        self.work()

    def name_cluster(self, payload: Values, event: Values) -> None:
        self.session.clusters.name(payload["cluster"], payload["name"], key=payload["key"])

    def adopt(self, payload: Values, event: Values) -> None:
        self.session.models.adopt(self._model(payload["model_id"]))
        self.work()

    def discard(self, payload: Values, event: Values) -> None:
        self.session.models.discard(self._model(payload["model_id"]))

    def switch(self, payload: Values, event: Values) -> None:
        self.session.models.switch(self._model(payload["model_id"]))
        self.work()

    def _model(self, recorded_id: int) -> int:
        """Return the model that stands for a recorded one: the newest without a decision."""
        if recorded_id not in self.models:
            results = map(self.session.training.result, ("plm", "ood", "pretrain"))
            result = next(filter(None, results), None)
            if result is None:
                raise ValueError(f"the recording uses model {recorded_id}, which was not trained")
            self.models[recorded_id] = result.model_id
        return self.models[recorded_id]


HANDLERS: dict[str, Callable[[_Player, Values, Values], None]] = {
    "accept": _Player.accept,
    "accept_proposal": _Player.accept_proposal,
    "add_class": _Player.add_class,
    "adopt": _Player.adopt,
    "cancel": _Player.cancel,
    "click": _Player.click,
    "correct": _Player.correct,
    "discard": _Player.discard,
    "ignore": _Player.ignore,
    "known": _Player.known,
    "name_cluster": _Player.name_cluster,
    "paint": _Player.paint,
    "pretrain": _Player.pretrain,
    "recolor": _Player.recolor,
    "redo": _Player.redo,
    "reject_proposal": _Player.reject_proposal,
    "rename": _Player.rename,
    "retrain": _Player.retrain,
    "review": _Player.review,
    "setting": _Player.setting,
    "switch": _Player.switch,
    "tag": _Player.tag,
    "touch_up": _Player.paint,
    "train_ood": _Player.train_ood,
    "undo": _Player.undo,
}
"""Kind of a recorded event to the function that repeats it: nothing else in a file runs code."""
