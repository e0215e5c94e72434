"""The form of PLM over a stub session: what it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from owlabel.classes import ClassTable, LabelClass

pytestmark = pytest.mark.gui


@pytest.fixture
def train(qtbot: Any, session: Any) -> Any:
    from owlabel_napari.widgets.train.plm import TrainWidget

    made: list[Any] = []

    def open_(*novel: str) -> Any:
        named = [LabelClass(9 + i, name, (1, 2, 3), novel=True) for i, name in enumerate(novel)]
        session.classes = ClassTable((*session.classes.classes, *named))
        made.append(TrainWidget(session))
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
    requests = [request for _, request in widget.session.calls]
    assert [(r.class_name, r.iterations) for r in requests] == [("deer", 500), ("deer", 70)]


def test_without_a_novel_class_there_is_nothing_to_train(train: Any) -> None:
    widget = train()
    widget.start.click()
    assert widget.session.calls == []
    assert "there is no novel class" in widget.progress.text()
