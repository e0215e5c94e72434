"""The form of PLM over a stub session: what it asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from psygnal import Signal

from owlabel.classes import LabelClass

pytestmark = pytest.mark.gui


class Stub:
    """The part of a session that the widget uses."""

    jobs_changed = Signal()
    classes_changed = Signal()
    labels_changed = Signal()
    model_changed = Signal()
    history_changed = Signal()
    message = Signal(str, str)

    def __init__(self, *novel: str) -> None:
        named = [LabelClass(9 + i, name, (1, 2, 3), novel=True) for i, name in enumerate(novel)]
        self.classes = SimpleNamespace(novel=named)
        self.model = SimpleNamespace(id=1, name="toy")
        self.calls: list[Any] = []

    def jobs(self) -> list[Any]:
        return []

    def models(self) -> list[Any]:
        return [self.model]

    def result(self) -> None:
        return None

    ood_result = result

    def retrain(self, class_name: str, iterations: int) -> int:
        self.calls.append((class_name, iterations))
        return 1


@pytest.fixture
def train(qtbot: Any) -> Any:
    from owlabel_napari.widgets.train.plm import TrainWidget

    made: list[Any] = []

    def open_(*novel: str) -> Any:
        made.append(TrainWidget(Stub(*novel)))  # type: ignore[arg-type]
        qtbot.addWidget(made[-1])
        return made[-1]

    yield open_
    for widget in made:
        widget.close_widget()


def test_the_form_asks_for_a_class_and_its_steps(train: Any) -> None:
    widget = train("deer", "car")
    assert list(widget.form.container.asdict()) == ["class_name", "iterations"]
    widget.class_name.value = "deer"
    widget.start.click()
    widget.form["iterations"].value = 70
    widget.start.click()
    assert widget.session.calls == [("deer", 500), ("deer", 70)]


def test_without_a_novel_class_there_is_nothing_to_train(train: Any) -> None:
    widget = train()
    widget.start.click()
    assert widget.session.calls == []
    assert "there is no novel class" in widget.progress.text()
