"""A click draws its own part of the canvas only, and the canvas looks as if all were drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from owlabel_napari.canvas.napari_window import scene_canvas
from owlabel_napari.canvas.partial_repaint import HEAL_MS, changed_box

pytestmark = pytest.mark.gui


class Screen:
    """What each drawing left in the canvas's framebuffer."""

    def __init__(self, overlays: Any, qtbot: Any) -> None:
        self.overlays, self.qtbot = overlays, qtbot
        self.canvas = scene_canvas(overlays.viewer)
        self.frames: list[np.ndarray] = []
        self.canvas.events.draw.connect(self._read, position="last")

    def _read(self, _event: Any) -> None:
        from vispy.gloo import read_pixels

        self.canvas.context.flush_commands()
        self.frames.append(read_pixels((0, 0, *self.canvas.physical_size), alpha=False).copy())

    def next(self) -> np.ndarray:
        """Wait for the next drawing and return what the canvas shows after it."""
        seen = len(self.frames)
        self.qtbot.waitUntil(lambda: len(self.frames) > seen)
        return self.frames[-1]

    def all_drawn(self) -> np.ndarray:
        """Return what the canvas shows when everything is drawn."""
        self.overlays.layers.repaint._draw_all()
        return self.next()

    def close(self) -> None:
        """Read no more."""
        self.canvas.events.draw.disconnect(self._read)


@pytest.fixture
def screen(make_napari_viewer: Any, session: Any, qtbot: Any) -> Iterator[Screen]:
    """The overlays of the fake session in a window that is shown."""
    from owlabel_napari.canvas.overlays import Overlays
    from owlabel_napari.events.deferred_work import Steps

    overlays = Overlays(make_napari_viewer(show=True), session, Steps())
    overlays.steps.finish()
    qtbot.wait(300)
    made = Screen(overlays, qtbot)
    yield made
    made.close()
    overlays.close()


@pytest.mark.parametrize("contour", [0, 1])
def test_a_click_looks_as_if_everything_were_drawn(
    screen: Screen, session: Any, contour: int
) -> None:
    screen.overlays.layers["region"].contour = contour
    before = screen.all_drawn()
    assert len(np.unique(before)) > 1
    session.labels.click(12, 14)
    part = screen.next()
    assert screen.overlays.layers.repaint._heal.isActive()
    assert (part != before).any()
    np.testing.assert_array_equal(part, screen.all_drawn())
    session.labels.cancel_region()
    np.testing.assert_array_equal(screen.next(), before)


def test_only_the_part_is_drawn(screen: Screen, session: Any) -> None:
    screen.all_drawn()
    screen.canvas.bgcolor = "red"  # shows where something is drawn
    red = screen.all_drawn()
    screen.canvas._bgcolor = screen.canvas.bgcolor.__class__("black")  # without a drawing
    session.labels.click(12, 14)
    part = screen.next()
    changed = (part != red).any(2)
    assert changed.any()
    assert changed.mean() < 0.3
    assert (part[0, 0] == red[0, 0]).all()


def test_everything_is_drawn_a_little_later(screen: Screen, session: Any, qtbot: Any) -> None:
    screen.all_drawn()
    session.labels.click(12, 14)
    screen.next()
    heal = screen.overlays.layers.repaint._heal
    drawn = len(screen.frames)
    qtbot.waitUntil(lambda: not heal.isActive(), timeout=20 * HEAL_MS)
    qtbot.waitUntil(lambda: len(screen.frames) > drawn)


@pytest.mark.parametrize("other", ["camera", "prediction"])
def test_what_else_changes_is_drawn_at_once(screen: Screen, session: Any, other: str) -> None:
    screen.all_drawn()
    session.labels.click(12, 14)
    if other == "camera":
        screen.overlays.viewer.scene.camera.zoom *= 0.7
    else:
        screen.overlays.layers.blank("prediction")
    first = screen.next()
    np.testing.assert_array_equal(first, screen.all_drawn())


def test_a_name_draws_what_it_changed(screen: Screen, session: Any, qtbot: Any) -> None:
    screen.all_drawn()
    session.labels.click(12, 14)
    screen.next()
    session.labels.accept("sky")
    assert screen.overlays.layers.repaint._boxes
    screen.overlays.steps.finish()
    named = screen.next()
    np.testing.assert_array_equal(named, screen.all_drawn())


def test_the_box_of_a_change() -> None:
    before = np.zeros((6, 8), np.uint8)
    after = before.copy()
    assert changed_box(before, after) is None
    after[2, 3] = after[4, 1] = 1
    assert changed_box(before, after) == (2, 1, 5, 4)
    after[0, 7] = after[5, 0] = 2
    assert changed_box(before, after) == (0, 0, 6, 8)


def test_a_change_that_waits_already_is_not_cut(screen: Screen, session: Any) -> None:
    screen.all_drawn()
    screen.canvas.update()
    session.labels.click(12, 14)
    assert not screen.overlays.layers.repaint._boxes


def test_a_model_without_a_window_is_left_alone(overlays: Any, session: Any) -> None:
    session.labels.click(12, 14)
    assert overlays.layers.repaint._boxes == []
