"""napari finds the plugin; opening it leaves torch alone."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from npe2 import PluginManifest

import owlabel_napari
from owlabel_napari.entry import windows
from owlabel_napari.entry.reader import napari_get_reader

MANIFEST = Path(owlabel_napari.__file__).parent / "napari.yaml"


def test_the_manifest_is_valid_and_its_commands_exist() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "owlabel"


def test_only_folders_of_images_are_read(tmp_path: Path) -> None:
    from PIL import Image

    assert napari_get_reader(str(tmp_path)) is None
    Image.new("RGB", (4, 3)).save(tmp_path / "one.png")
    assert napari_get_reader(str(tmp_path)) is not None
    assert napari_get_reader(str(tmp_path / "one.png")) is None


@pytest.mark.gui
def test_there_is_one_panel_however_it_is_asked_for(
    make_napari_viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from qtpy.QtWidgets import QFileDialog

    from owlabel_napari.entry.windows import DOCK, panel_of

    viewer = make_napari_viewer(show=True)
    panel = panel_of(viewer)
    panel.parentWidget().hide()
    assert panel_of(viewer) is panel
    assert panel.parentWidget().isVisible()
    assert list(viewer.window.dock_widgets) == [DOCK]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    opened: list[str] = []
    monkeypatch.setattr(panel, "open_later", opened.append)
    assert napari_get_reader() is None  # the command palette names no path
    assert opened == [str(tmp_path)]


@pytest.mark.gui
def test_the_samples_open_from_the_menu(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari.components import ViewerModel
    from npe2 import PluginManager

    opened: list[str] = []
    panel = SimpleNamespace(open_sample=lambda: opened.append("samples"))
    monkeypatch.setattr("owlabel_napari.entry.windows.current_panel", lambda: panel)
    if "owlabel" not in PluginManager.instance():
        PluginManager.instance().register(PluginManifest.from_file(MANIFEST))
    viewer = ViewerModel()
    assert viewer.open_sample("owlabel", "street_scenes") == []
    assert opened == ["samples"]
    assert not viewer.layers


@pytest.mark.gui
def test_opening_the_panel_leaves_torch_out() -> None:
    code = (
        "import sys, napari; from owlabel_napari.window.panel import OWLabelPanel\n"
        "viewer = napari.Viewer(show=False)\n"
        "panel = OWLabelPanel(viewer)\n"
        "import owlabel.session.session\n"
        "import owlabel_napari.entry.samples, owlabel_napari.entry.reader\n"
        "assert 'torch' not in sys.modules\n"
        "viewer.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gui
def test_the_menu_opens_the_gallery_or_says_what_to_do_first(
    make_napari_viewer: Any, toy: Any, qtbot: Any
) -> None:
    from npe2 import PluginManager

    from owlabel.session.session import Session
    from owlabel_napari.entry.windows import DOCK, panel_of
    from owlabel_napari.window.gallery_dock import NAME

    if "owlabel" not in PluginManager.instance():
        PluginManager.instance().register(PluginManifest.from_file(MANIFEST))
    viewer = make_napari_viewer(show=True)
    viewer.window.add_plugin_dock_widget("owlabel", "Tag images")
    qtbot.waitUntil(lambda: list(viewer.window.dock_widgets) == [DOCK])
    panel = panel_of(viewer)
    assert "Open a project first" in panel.start.problem.text()
    panel.show_session(Session(toy.project, start_worker=False))
    viewer.window.add_plugin_dock_widget("owlabel", "Tag images")
    qtbot.waitUntil(lambda: panel.workspace.gallery is not None)
    assert list(viewer.window.dock_widgets) == [DOCK, NAME]
    assert viewer.window.dock_widgets[NAME] is panel.workspace.gallery.gallery
    panel.close_project()


def test_garbage_collections_leave_out_what_a_window_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari.Viewer", lambda title: title)
    monkeypatch.setattr(windows, "panel_of", lambda viewer: f"panel of {viewer}")
    gc.unfreeze()
    try:
        assert windows.new_window() == ("OWLabel", "panel of OWLabel")
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
