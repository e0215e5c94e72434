"""What OoD training is tested on: unseen objects pasted into test frames, and road pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from owlabel.images import files as images
from owlabel_training.core.data import Frames, read_names
from owlabel_training.ood.data import PastedFrame, pasted_frames
from owlabel_training.ood.proxies import cutouts, read_folder
from owlabel_training.ood.recipe import ProxyRecipe

TEST_SEED = 20_000
SCALES = (0.25, 0.5, 0.75, 1.0)


def proxy(shared: Path) -> ProxyRecipe:
    """Return the proxies of training: pictures of train.txt, every fourth of them validates."""
    return ProxyRecipe(path=str(shared / "ood_proxy"), train="train.txt", scales=SCALES)


def spread(names: Sequence[str], count: int) -> list[str]:
    """Return at most `count` names, evenly spread."""
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[i] for i in places]


def pasted(shared: Path, frames: Frames) -> list[PastedFrame]:
    """Return frames with objects of val.txt, which neither training nor selection has seen."""
    chosen = proxy(shared)
    unseen = list(read_folder(chosen, read_names(Path(chosen.path) / "val.txt")))
    objects = cutouts(unseen, chosen.min_area, chosen.pieces)
    return pasted_frames(frames, objects, TEST_SEED, SCALES)


def road(shared: Path, name: str, count: int) -> list[PastedFrame]:
    """Return at most `count` frames of one part of road_ood: 0, 1, and 255 void."""
    folder = shared / "road_ood" / name
    names = spread(sorted(path.stem for path in (folder / "masks").glob("*.png")), count)
    pictures = {path.stem: path for path in (folder / "images").iterdir()}
    found = []
    for stem in names:
        with Image.open(folder / "masks" / f"{stem}.png") as file:
            truth = np.asarray(file).astype(np.uint8)
        found.append(PastedFrame(images.read(pictures[stem]), truth))
    return found
