"""napari finds the plugin; opening it leaves torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest

import owlabel_napari
from owlabel_napari.reader import napari_get_reader

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
def test_opening_the_panel_leaves_torch_out() -> None:
    code = (
        "import sys, napari; from owlabel_napari.panel import OWLabelPanel\n"
        "viewer = napari.Viewer(show=False)\n"
        "panel = OWLabelPanel(viewer)\n"
        "import owlabel.session, owlabel_napari.samples, owlabel_napari.reader\n"
        "assert 'torch' not in sys.modules\n"
        "viewer.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
