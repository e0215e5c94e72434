"""A sitting as a recording; doing it again gives the same labels, byte for byte."""

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
from owlabel.view.proposal_correction import mask_of
from owlabel.view.view import View

FORMAT = 1


def digests(view: View) -> dict[str, str]:
    """Return the sha256 of the labels and sources of every image that has any, by its name."""
    result = {}
    for record in view.records:
        if view.output(record.id) is None and record.revision_id is None:
            continue
        labelled = view.labels(record.id)
        value = hashlib.sha256(labelled.labels.tobytes() + labelled.source.tobytes())
        result[record.relative] = value.hexdigest()
    return result


def _pack(labels: Labels) -> dict[str, Any]:
    raw = base64.b64encode(zlib.compress(labels.tobytes(), 6)).decode()
    return {"shape": list(labels.shape), "zlib": raw}


def _unpack(packed: dict[str, Any]) -> Labels:
    height, width = (int(v) for v in packed["shape"])
    raw = zlib.decompressobj().decompress(base64.b64decode(packed["zlib"]), height * width)
    return np.frombuffer(raw, np.uint8).reshape(height, width)


def recorded(session: Session) -> Iterator[dict[str, Any]]:
    """Yield the recording of a project: a head, one line an event, and the labels' digests."""
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
        line: dict[str, Any] = {"seq": event.seq, "kind": event.kind, "payload": payload}
        if event.kind in ("paint", "touch_up"):
            after = next(c.after for c in event.changes if c.field == "revision_id")
            line["labels"] = _pack(session.project.revision(after))
        if event.kind == "tag":
            line["tags"] = _tags(event, names)
        yield line
    yield {"digests": digests(session)}


def _tags(event: Event, names: dict[int, str]) -> dict[str, dict[str, str]]:
    """Return class id to image to state, as an act has tagged them."""
    return {
        change.row: {
            names[int(i)]: state or "unknown"
            for i, state in change.after.items()
            if int(i) in names
        }
        for change in event.changes
        if change.table == "tag"
    }


def read_recording(path: Path) -> list[dict[str, Any]]:
    """Read a recording.

    Raises
    ------
    ValueError
        If a line is not JSON or the head is not that of a recording this version knows.
    """
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
    whole = lines and all(isinstance(line, dict) for line in lines)
    if not whole or lines[0].get("owlabel_recording") != FORMAT or "digests" not in lines[-1]:
        raise ValueError(f"{path} is no recording of this version: make one with `owlabel log`")
    return lines


def replay(session: Session, recording: Path, work: Callable[[], None]) -> list[str]:
    """Do a recorded sitting again on a fresh session.

    Parameters
    ----------
    session : Session
        Of a new project on the same pictures and model, without a worker of its own.
    recording : Path
        What `recorded` yielded, one JSON a line.
    work : callable
        Runs all queued jobs to their end.

    Returns
    -------
    list of str
        The images whose labels differ from the recorded ones; empty is success.

    Raises
    ------
    ValueError
        If the recording is malformed, or was made with another base model.
    """
    lines = read_recording(recording)
    if lines[0]["base_model"] != session.project.models()[0].hash:
        raise ValueError("the recording was made with another base model: name it with --model")
    session.submit_embedding()
    work()
    player = _Player(session, work)
    for line in lines[1:-1]:
        player.play(line)
    work()
    expected, now = lines[-1]["digests"], digests(session)
    return sorted(n for n in {*expected, *now} if expected.get(n) != now.get(n))


class _Player:
    """Carries out recorded events one by one."""

    def __init__(self, session: Session, work: Callable[[], None]) -> None:
        self.session = session
        self.work = work
        self.ids = {r.relative: r.id for r in session.records}
        self.models = {session.model.id: session.model.id}
        self.proposals: dict[int, int] = {}  # their number there to their number here

    def play(self, line: dict[str, Any]) -> None:
        """Carry out one event."""
        kind, payload = line["kind"], line["payload"]
        if "image" in payload:
            if payload["image"] not in self.ids:
                raise ValueError(f"the recording names {payload['image']!r}, which is not there")
            if self.session.image_id != self.ids[payload["image"]]:
                self.session.go_to(self.ids[payload["image"]])
        act = getattr(self, f"_{kind}", None)
        if act is None:
            raise ValueError(f"event {line['seq']} is of an unknown kind: {kind!r}")
        act(payload, line)

    def _click(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.click(payload["row"], payload["col"], payload["add"])

    def _cancel(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.cancel_region()

    def _accept(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.accept(payload["name"], by_colour=payload["by_colour"])

    def _ignore(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.mark_ignore(peak=payload.get("peak"))

    def _known(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.mark_known(peak=payload.get("peak"))

    def _paint(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.paint(_unpack(line["labels"]))

    _touch_up = _paint

    def _add_class(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.add_class(payload["name"])

    def _tag(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        tags = {
            int(class_id): {self.ids[name]: state for name, state in of_class.items()}
            for class_id, of_class in line["tags"].items()
        }
        first = 1 + max(c.id for c in self.session.classes.classes)  # ids are given in a row
        new = {name: tags.pop(first + i, {}) for i, name in enumerate(payload["new"])}
        self.session.tag_all(tags, new)

    def _accept_proposal(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.accept_proposal(self._proposal(payload))

    def _reject_proposal(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.reject_proposal(self._proposal(payload))

    def _correct(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.correct_proposal(self._proposal(payload))

    def _proposal(self, payload: dict[str, Any]) -> int:
        """Return the proposal here that stands for one there, made where there is none yet."""
        there = int(payload["proposal_id"])
        if there not in self.proposals:
            image_id = self.ids[payload["image"]]
            mask = mask_of(payload, self.session.human(image_id).shape)
            item = NewProposal(payload["class_id"], mask, payload["confidence"])
            self.proposals[there] = self.session.project.proposals.restore(
                image_id, payload["source"], payload["origin"], item
            )
        return self.proposals[there]

    def _review(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.review(payload["done"])

    def _rename(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.rename_class(payload["class_id"], payload["name"])

    def _recolor(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        red, green, blue = payload["color"]
        self.session.recolor_class(payload["class_id"], (red, green, blue))

    def _setting(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        setters: dict[str, Callable[[Any], None]] = {
            "lambda_novel": self.session.set_lambda,
            "threshold": self.session.set_threshold,
            "cache_limit_gib": self.session.set_cache_limit,
            "hide_above": self.session.set_hide_above,
            "beta": lambda value: self.session.set_mixture(beta=value),
            "gamma": lambda value: self.session.set_mixture(gamma=value),
            "mmsp_norm": lambda value: self.session.set_mixture(mmsp_norm=value),
        }
        setters[payload["key"]](payload["value"])

    def _undo(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.undo()

    def _redo(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.redo()

    def _retrain(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.retrain(payload["class_name"], payload["iterations"])
        self.work()

    def _train_ood(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        from owlabel.jobs.requests.ood import OodRequest

        self.session.train_ood(OodRequest(**payload))
        self.work()

    def _name_cluster(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.name_cluster(payload["cluster"], payload["name"], key=payload["key"])

    def _pretrain(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        from owlabel.jobs.requests.pretraining import PretrainRequest

        self.session.pretrain(PretrainRequest(**payload))
        self.work()

    def _adopt(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.adopt(self._model(payload["model_id"]))
        self.work()

    def _discard(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.discard(self._model(payload["model_id"]))

    def _switch(self, payload: dict[str, Any], line: dict[str, Any]) -> None:
        self.session.switch_model(self._model(payload["model_id"]))
        self.work()

    def _model(self, recorded_id: int) -> int:
        """Return the model here that stands for a model there: the newest not settled one."""
        if recorded_id not in self.models:
            result = self.session.result() or self.session.ood_result()
            if result is None:
                raise ValueError(f"the recording uses model {recorded_id}, which was not trained")
            self.models[recorded_id] = result.model_id
        return self.models[recorded_id]
