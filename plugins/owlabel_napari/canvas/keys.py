"""The keys of the tool, bound where they really fire: on the viewer and on each of our layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

from owlabel_napari.canvas.layers import OurLayers

if TYPE_CHECKING:
    import napari.viewer

NAMES: dict[str, str] = {
    "N": "next candidate",
    "Shift-N": "previous candidate",
    "Enter": "name the region; accept a proposed mask",
    "Escape": "drop the region",
    "U": "ignore: set the pixels to void",
    "K": "known after all; reject a proposed mask",
    "R": "correct a proposed mask",
    "Q": "gallery: tag many images",
    "A": "previous image",
    "D": "next image",
    "H": "heat map on / off",
    "Shift-H": "next score",
    **{f"Control-{place}": f"name the region: class {place} of the list" for place in range(1, 10)},
    "Control-Z": "undo",
    "Control-Shift-Z": "redo",
    "Control-S": "export again",
}
"""Key as napari writes it, and what it does: tooltips, the panel's help and the docs show this."""

CANVAS_ONLY = ("Enter", "Escape")
"""Keys that mean something else to a form field, so they are not bound on the panel."""


def shown(key: str) -> str:
    """Return a key of `NAMES` as it stands on keyboards: ``"Control-Shift-Z"`` is Ctrl+Shift+Z."""
    return key.replace("Control", "Ctrl").replace("Escape", "Esc").replace("-", "+")


def tip(key: str, text: str = "") -> str:
    """Return a tooltip for what has a key: `text`, else what `NAMES` says, and the key."""
    does = text or NAMES[key]
    return f"{does[0].upper()}{does[1:]} ({shown(key)})"


def rows() -> list[tuple[str, str]]:
    """Return each key and what it does, in the order of docs/reference/keys.md."""
    table = [(shown(key), does) for key, does in NAMES.items()]
    first = table.index((shown("Control-1"), NAMES["Control-1"]))
    table[first : first + 9] = [("Ctrl+1 .. Ctrl+9", "name the region: class 1 .. 9 of the list")]
    return table


class Keys:
    """Bind the keys on the viewer, on our layers (napari's layer keys win) and on the panel.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The keys of its canvas.
    layers : OurLayers
        Present and future layers.
    panel : QWidget
        The keys work while one of its children has the focus, too.
    acts : mapping
        Key of `NAMES` to what it does.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        layers: OurLayers,
        panel: QWidget,
        acts: Mapping[str, Callable[[], Any]],
    ) -> None:
        self.viewer, self.acts = viewer, acts
        self._taken: dict[str, Any] = {}
        self._layers = layers
        layers.made.append(self._bind_layer)
        for layer in layers.present():
            self._bind_layer("", layer)
        for key in acts:
            self._taken[key] = viewer.bind_key(key, self._on_viewer(key), overwrite=True)
        self._shortcuts = [self._shortcut(panel, key) for key in acts if key not in CANVAS_ONLY]
        self._menu = _menu_actions(viewer, [_sequence(key) for key in acts])
        for action, _ in self._menu:  # a menu's shortcut would win, or make ours ambiguous
            action.setShortcuts([])

    def close(self) -> None:
        """Give every key back."""
        for key, before in self._taken.items():
            self.viewer.bind_key(key, before, overwrite=True)
        self._taken.clear()
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts.clear()
        for action, sequences in self._menu:
            with suppress(RuntimeError):
                action.setShortcuts(sequences)
        self._menu.clear()

    def _on_viewer(self, key: str) -> Callable[[Any], None]:
        act = self.acts[key]

        def press(_viewer: Any) -> None:
            if not self._painting():
                act()

        return press

    def _painting(self) -> bool:
        """Tell whether a stroke is under way: it must not end on another picture."""
        layer = self._layers.get("labels")
        return layer is not None and bool(layer._block_history)

    def _bind_layer(self, _kind: str, layer: Any) -> None:
        for key in self.acts:
            layer.bind_key(key, self._on_layer(key), overwrite=True)

    def _on_layer(self, key: str) -> Callable[[Any], None]:
        act = self.acts[key]

        def press(layer: Any) -> None:
            if key in CANVAS_ONLY and str(layer.mode) != "pan_zoom":
                _napari_key(layer, key)  # e.g. closes the polygon
            elif not self._painting():
                act()

        return press

    def _shortcut(self, panel: QWidget, key: str) -> QShortcut:
        shortcut = QShortcut(_sequence(key), panel)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(self.acts[key])
        return shortcut


def _napari_key(layer: Any, key: str) -> None:
    """Do what napari itself does on this key while one of its tools is in use."""
    press = type(layer).class_keymap.get(coerce_keybinding(key))
    if callable(press):
        press(layer)


def _sequence(key: str) -> QKeySequence:
    """Return a key of `NAMES` for Qt."""
    return QKeySequence(shown(key))


def _menu_actions(
    viewer: napari.viewer.Viewer, taken: list[QKeySequence]
) -> list[tuple[Any, list[QKeySequence]]]:
    """Return the actions of napari's File menu that have one of our keys (Ctrl+S), and theirs."""
    return [
        (action, list(action.shortcuts()))
        for action in viewer.window.file_menu.actions()
        if any(sequence in taken for sequence in action.shortcuts())
    ]
