"""The first page: choose a folder of images and a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import ComboBox, Container, FileEdit
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from owlabel_napari.widgets.common.parts import button, hint, row, tight, title

SAMPLE, FILE = "Sample model (street scenes)", "A file …"


class StartWidget(QWidget):
    """Ask for a folder and a model.

    Signals
    -------
    chosen : (str, object)
        The folder, and the model: None for the sample model, else its path.
    sample : ()
        The sample project is wanted.
    """

    chosen = Signal(str, object)
    sample = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder = FileEdit(
            mode=FileDialogMode.EXISTING_DIRECTORY, label="Images", nullable=True, value=None
        )
        self.model = ComboBox(choices=[SAMPLE, FILE], label="Model")
        self.file = FileEdit(
            mode=FileDialogMode.EXISTING_FILE, label="File", filter="*.safetensors", nullable=True
        )
        for field in (self.folder, self.file):
            field.choose_btn.text = "Choose …"
        self.form = Container(widgets=[self.folder, self.model, self.file], labels=True)
        self.problem = hint()
        self.open_button = button(
            "Open folder", self.open, "Open the project of this folder, or create one"
        )
        self.sample_button = button(
            "Sample scenes", self.sample.emit, "Open the sample street scenes"
        )
        self.file.visible = False
        self.model.changed.connect(self._show_file)
        self.folder.changed.connect(self._refresh)
        self.file.changed.connect(self._refresh)
        self.form.margins = (0, 0, 0, 0)
        self._lay_out()
        self._refresh()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        tight(layout, 10)
        layout.addWidget(_headline("No project open"))
        layout.addWidget(
            hint(
                "Choose a folder of images, or drop one here. Your images are not changed; "
                "the project is saved in a folder beside them."
            )
        )
        layout.addWidget(self.form.native)
        layout.addWidget(self.problem)
        layout.addLayout(row(None, self.sample_button, self.open_button))
        layout.addSpacing(10)
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        layout.addWidget(line)
        layout.addWidget(title("How it works"))
        layout.addWidget(hint(STEPS))
        layout.addStretch(1)

    def open(self) -> None:
        """Tell which folder and model were chosen."""
        folder = _path(self.folder.value)
        if folder is not None:
            self.chosen.emit(str(folder), self._model_path())

    def busy(self, text: str | None) -> None:
        """Say what goes on, and take no other folder until it is over (None)."""
        self.form.enabled = text is None
        self.open_button.setEnabled(text is None)
        self.sample_button.setEnabled(text is None)
        self.say(text or "")
        if text is None:
            self._refresh()

    def say(self, text: str) -> None:
        """Show why a folder could not be opened."""
        self.problem.setText(text)

    def _model_path(self) -> Path | None:
        return _path(self.file.value) if self.model.value == FILE else None

    def _show_file(self, *_: Any) -> None:
        self.file.visible = self.model.value == FILE
        self._refresh()

    def _refresh(self, *_: Any) -> None:
        folder = _path(self.folder.value)
        model_chosen = self.model.value == SAMPLE or self._model_path() is not None
        self.open_button.setEnabled(folder is not None and folder.is_dir() and model_chosen)
        if folder is not None and not folder.is_dir():
            self.say(f"There is no folder {folder}. Choose another one.")
        elif folder is not None and _is_project(folder):
            self.say("This folder already has a project. It opens with its own model.")
        else:
            self.say("")


STEPS = (
    "<ol style='margin-left: -22px'>"
    "<li>OWLabel searches every image for objects that the model does not know.</li>"
    "<li>Press <b>N</b> to go to a candidate, then <b>click</b> the object.</li>"
    "<li>Press <b>Enter</b>, type a name, press <b>Enter</b>: the new class is found in "
    "all images.</li>"
    "<li>Label more objects to refine the class. <i>Retrain</i> adds it to the model.</li>"
    "<li>Review the images and export the labels.</li></ol>"
)


def _headline(text: str) -> QLabel:
    label = QLabel(text)
    label.setStyleSheet("font-size: 17px; font-weight: 600;")
    label.setAlignment(Qt.AlignmentFlag.AlignLeft)
    return label


def _path(value: Any) -> Path | None:
    """Return what a file field holds, None where it is empty."""
    return None if value is None or str(value) in ("", ".") else Path(value)


def _is_project(folder: Path) -> bool:
    beside = folder.parent / f"{folder.name}.owlabel"
    return any((place / "project.db").is_file() for place in (folder, beside))
