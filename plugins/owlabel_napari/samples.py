"""The sample street scenes: copied once to the user's data folder, then opened as a project."""

from __future__ import annotations

import shutil
from pathlib import Path

from platformdirs import user_data_path

URI = "owlabel://samples/street_scenes.owlabel"
"""What File > Open Sample gives our reader; the same stands in napari.yaml."""


def sample_folder() -> Path:
    """Return the user's own copy of the sample images, made where it is missing.

    The installed package may be read-only, and a project lies beside its images.
    """
    target: Path = user_data_path("owlabel") / "street_scenes"
    if not target.is_dir():
        from owlabel_samples import images

        source = images()
        half = target.with_name("street_scenes.part")
        shutil.rmtree(half, ignore_errors=True)
        half.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, half)
        half.rename(target)
    return target


def street_scenes() -> None:
    """Open the sample project in the panel; the panel makes the layers."""
    from owlabel_napari.main import current_panel

    current_panel().open_sample()
