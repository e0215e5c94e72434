"""The table of job kinds."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
from psygnal import Signal

from owlabel.jobs import registry
from owlabel.jobs.queue import JobQueue
from owlabel.jobs.registry import KINDS, JobKind, imported, run_on_done, title_of


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_names_a_job(name: str) -> None:
    assert callable(imported(KINDS[name].target).run)
    if on_done := KINDS[name].on_done:
        module, _, function = on_done.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_what_is_waited_for_comes_first() -> None:
    assert sorted(KINDS, key=lambda name: -KINDS[name].priority_of(first=True)) == [
        "relabel", "judge", "calibrate", "cluster_proposals", "embed", "residual", "export",
        "auxiliary_labels", "plm", "ood", "pretrain", "weak_shot",
    ]  # fmt: skip
    assert KINDS["calibrate"].priority_of(first=False) < KINDS["embed"].priority


def test_a_job_has_the_priority_of_its_kind(queue: JobQueue) -> None:
    assert queue.get(queue.submit("relabel", {})).priority == KINDS["relabel"].priority
    assert queue.get(queue.submit("relabel", {}, priority=3)).priority == 3
    assert queue.get(queue.submit("of another version", {})).priority == 0


def test_a_kind_that_nobody_registered_keeps_its_name() -> None:
    assert title_of("of another version") == "of another version"


def fail(session: object, row: object) -> None:
    raise RuntimeError("not today")


class Listener:
    message = Signal(str, str)


def test_an_error_after_a_job_becomes_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = JobKind("x", "a:B", "Counting", on_done="owlabel.jobs.registry:title_of")
    monkeypatch.setattr(registry, "KINDS", {"x": kind})
    monkeypatch.setattr(registry, "imported", lambda target: fail)
    session, told = Listener(), []
    session.message.connect(lambda *words: told.append(words))
    run_on_done(session, SimpleNamespace(kind="x", id=1))
    assert told == [("error", "Counting: RuntimeError: not today")]
    run_on_done(session, SimpleNamespace(kind="unknown", id=1))
    assert len(told) == 1
