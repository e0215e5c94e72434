"""The user's own copy of the sample street scenes."""

from __future__ import annotations

import shutil
from pathlib import Path

from platformdirs import user_data_path

from owlabel_samples import images


def sample_folder() -> Path:
    """Return the user's own copy of the sample images, made where it is missing.

    The installed package may be read-only, and a project lies beside its images.
    """
    target: Path = user_data_path("owlabel") / "street_scenes"
    if not target.is_dir():
        source = images()
        half = target.with_name("street_scenes.part")
        shutil.rmtree(half, ignore_errors=True)
        half.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, half)
        half.rename(target)
    return target
