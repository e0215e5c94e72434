"""The keys are written in one table, from which all that names a key is made."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtGui import QKeySequence

from owlabel_napari.canvas.keys import NAMES, rows, shown, tip


def test_keys_are_written_as_on_a_keyboard() -> None:
    assert shown("Control-Shift-Z") == "Ctrl+Shift+Z"
    assert tip("A") == "Previous image (A)"
    assert tip("Escape", "leave the region") == "Leave the region (Esc)"


def test_the_rows_hold_every_key_once() -> None:
    keys = [key for key, _ in rows()]
    assert len(set(keys)) == len(keys) == len(NAMES) - 8
    assert ("Ctrl+1 .. Ctrl+9", "name the region: class 1 .. 9 of the list") in rows()
    numbers = {f"Control-{place}" for place in range(1, 10)}
    assert {shown(key) for key in NAMES if key not in numbers} < set(keys)


@pytest.mark.parametrize("key", NAMES)
def test_qt_knows_every_key(key: str) -> None:
    assert QKeySequence(shown(key)).toString() in (shown(key), "Return")


@pytest.mark.gui
def test_every_key_does_something_and_the_panel_lists_it(panel: Any) -> None:
    work = panel.workspace
    assert work.keys.acts.keys() == NAMES.keys()
    for key, does in rows():
        assert f"<b>{key}</b>" in work.review.help.toolTip()
        assert does in work.review.help.toolTip()
