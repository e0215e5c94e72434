"""Export of labels: where, how, which; nothing is replaced without being asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, LineEdit, RadioButtons
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from owlabel.formats.labels.registry import exporters
from owlabel_napari.canvas.keys import tip
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt
from owlabel_napari.widgets.common.parts import button, hint, row, tight, title

if TYPE_CHECKING:
    from owlabel.session.session import Session

WHICH = [("reviewed images", "reviewed"), ("all images", "all")]


class ExportWidget(QWidget):
    """Ask for an export; the worker writes it."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session
        self.folder = LineEdit(value=str(_proposal(session)), label="Into")
        formats = [(item.title, name) for name, item in exporters().items()]
        self.format = ComboBox(choices=formats, value="masks", label="Format")
        self.which = RadioButtons(choices=WHICH, label="Which")
        self.which.value = "reviewed"
        self.start = button("Export", self.export, tip("Control-S", "Export with these settings"))
        self.replace = button(
            "Replace it", self._replace, "Delete what the folder holds now, then export"
        )
        self.keep = button("Keep it", self._refresh, "Export nothing")
        self.note = hint()
        self.done_once = False
        self._connections = Connections()
        self._lay_out()
        self.folder.changed.connect(self._refresh)
        self.format.changed.connect(self._propose)
        signals = (session.history_changed, session.labels.changed)
        self._connections.add_later(signals, self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        form = Container(widgets=[self.folder, self.format, self.which], labels=True)
        form.margins = (0, 0, 0, 0)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(title("Export labels"))
        layout.addWidget(form.native)
        layout.addWidget(self.note)
        layout.addLayout(
            row(button("Choose …", self._choose), None, self.keep, self.replace, self.start)
        )
        layout.addWidget(
            hint(
                "Each image gets a sidecar file with the model version, the source of each label "
                "(human, base, NPM, PLM) and its confidence. Unlabelled pixels have the value 255."
            )
        )
        layout.addStretch(1)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def export(self) -> None:
        """Export, or ask first where the folder is there already (Ctrl+S)."""
        if Path(self.folder.value).expanduser().exists():
            self._ask()
        else:
            self._start(overwrite=False)

    def _replace(self) -> None:
        self._start(overwrite=True)

    def _start(self, *, overwrite: bool) -> None:
        folder = Path(self.folder.value).expanduser()
        args = (folder, str(self.format.value), str(self.which.value))
        if attempt(self.session, self.session.export, *args, overwrite=overwrite) is not None:
            self.done_once = True
        self._refresh()

    def _ask(self) -> None:
        self._buttons(asking=True)
        self.note.setText(f"{self.folder.value} already exists. Replace it with this export?")

    def _refresh(self, *_: Any) -> None:
        self._buttons(asking=False)
        reviewed = sum(r.state == "reviewed" for r in self.session.records)
        self.note.setText(f"{reviewed} of {len(self.session.records)} images are reviewed.")

    def _buttons(self, *, asking: bool) -> None:
        self.start.setVisible(not asking)
        self.keep.setVisible(asking)
        self.replace.setVisible(asking)

    def _propose(self, *_: Any) -> None:
        if Path(self.folder.value).parent == _proposal(self.session).parent:
            self.folder.value = str(_proposal(self.session, str(self.format.value)))

    def _choose(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose where to create the export folder")
        if name:
            self.folder.value = str(Path(name) / f"labels-{self.format.value}")


def _proposal(session: Session, kind: str = "masks") -> Path:
    folder = Path(session.project.folder)
    return folder.parent / f"{folder.stem}-{kind}"
