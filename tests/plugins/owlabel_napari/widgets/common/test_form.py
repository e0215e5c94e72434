"""A form has the fields, words and ranges of its request."""

from __future__ import annotations

from typing import Any

import pytest

from owlabel.jobs.requests.ood import OodRequest

pytestmark = pytest.mark.gui


@pytest.fixture
def form(qtbot: Any) -> Any:
    from owlabel_napari.widgets.common.form import RequestForm

    made = RequestForm(OodRequest, "method", "path", "ratio", "epochs", epochs=7)
    qtbot.addWidget(made.native)
    made.native.show()
    return made


def test_an_untouched_form_asks_for_the_defaults(form: Any) -> None:
    assert form.request() == OodRequest(epochs=7)


def test_labels_tooltips_ranges_and_steps_come_from_the_request(form: Any) -> None:
    fields = OodRequest.model_fields
    assert (form["ratio"].min, form["ratio"].max, form["ratio"].step) == (0.01, 10, 0.05)
    assert (form["epochs"].min, form["epochs"].max) == (1, 10_000)
    for name in ("method", "path", "ratio", "epochs"):
        assert form[name].label == fields[name].title
        assert form[name].tooltip == fields[name].description
    names = [form["method"].native.itemText(i) for i in range(3)]
    assert names == ["RPL", "RPL + CoroCL", "Entropy maximisation"]


def test_other_fields_are_given_by_the_caller_and_checked(form: Any) -> None:
    form["method"].value = "entropy"
    assert form.request(lambda_ood=0.5) == OodRequest(method="entropy", lambda_ood=0.5, epochs=7)
    with pytest.raises(ValueError, match="choose where the OoD objects come from"):
        form.request(source="folder")


def test_a_point_is_a_point_in_every_language(qtbot: Any) -> None:
    from qtpy.QtCore import QLocale

    from owlabel_napari.widgets.common.form import RequestForm

    before = QLocale()
    QLocale.setDefault(QLocale(QLocale.Language.German))
    try:
        form = RequestForm(OodRequest, "ratio")
        qtbot.addWidget(form.native)
        form.native.show()
        line = form["ratio"].native.lineEdit()
        line.selectAll()
        qtbot.keyClicks(line, "0.25")
        assert form.request().ratio == 0.25
    finally:
        QLocale.setDefault(before)
