"""The queue says how likely a candidate is false, hides what is, and never jumps."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from owlabel.ood.explanation import Explanation, Reason

pytestmark = pytest.mark.gui


@pytest.fixture
def judged(session: Any) -> Any:
    session.queue.classifier = SimpleNamespace(keeps_all=False)
    session.queue.list = [
        replace(item, false=false)
        for item, false in zip(session.queue.list, (0.12, 0.71), strict=True)
    ]
    session.queue.why = Explanation(
        0.12, (Reason("large", -2.0), Reason("next to <sky>", -1.0)), (Reason("thin", 0.4),)
    )
    return session


@pytest.fixture
def queue(qtbot: Any, judged: Any) -> Any:
    from owlabel_napari.events.deferred_work import Steps
    from owlabel_napari.widgets.find.queue import QueueWidget
    from owlabel_napari.widgets.find.thumbnails import Thumbnails

    thumbnails = Thumbnails()
    made = QueueWidget(judged, Steps(), thumbnails)
    qtbot.addWidget(made)
    made.refresh()
    yield made
    made.close_widget()
    thumbnails.close()


def test_each_row_shows_its_probability(queue: Any) -> None:
    assert "12 % false" in queue.list.item(0).text()
    assert "71 % false" in queue.list.item(1).text()


def test_it_says_how_many_are_hidden(queue: Any, judged: Any) -> None:
    judged.queue.hidden = 9
    queue.refresh()
    assert queue.count.text() == "2 open, 9 likely false hidden"
    queue.hidden.setChecked(True)
    assert ("queue.reveal_hidden", True) in judged.calls


def test_without_decisions_it_says_what_is_missing(queue: Any, judged: Any) -> None:
    judged.queue.classifier = None
    queue.refresh()
    assert not queue.hidden.isEnabled()
    assert "name five" in queue.hidden.toolTip()


def test_the_slider_is_kept_after_a_moment(queue: Any, judged: Any, qtbot: Any) -> None:
    queue.hide_above.value = 0.8
    qtbot.waitUntil(lambda: ("settings.set", {"hide_above": 0.8}) in judged.calls)


def test_rows_are_pinned_once_a_candidate_was_chosen(queue: Any, judged: Any) -> None:
    assert judged.queue.pinned is None
    judged.queue.select("candidate 7")
    queue.refresh()
    assert judged.queue.pinned == ["candidate 7", "candidate 8"]
    queue.again.click()
    assert ("queue.rank",) in judged.calls


def test_the_candidate_says_what_speaks_for_and_against_it(qtbot: Any, judged: Any) -> None:
    from collections import defaultdict

    from owlabel_napari.widgets.find.candidate import CandidateWidget
    from owlabel_napari.widgets.find.thumbnails import Thumbnails

    thumbnails = Thumbnails()
    widget = CandidateWidget(judged, defaultdict(lambda: lambda: None), thumbnails)
    qtbot.addWidget(widget)
    assert widget.why.isHidden()
    judged.queue.select("candidate 7")
    widget.refresh()
    assert "Probably real (12 % false)" in widget.why.text()
    assert "For it: large, next to &lt;sky&gt;" in widget.why.text()
    assert "+0.40  thin" in widget.why.toolTip()
    judged.labels.click(1, 1)
    widget.refresh()
    assert widget.why.isHidden(), "the region is at hand, not the candidate"
    widget.close_widget()
    thumbnails.close()
