"""A process that runs a model over pictures and writes score grids and class maps.

``python -m owlabel.models.predict JOB.json``; the job names model, scores, folder and pictures.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from owlabel.arrays.embedding_grid import argmax_upsampled
from owlabel.images import files as images
from owlabel.models.device import chosen_device
from owlabel.models.embed import embed_image
from owlabel.models.weights import load
from owlabel.ood.registry import all_scores


def predict(
    model: Path, scores: Sequence[str], pictures: Sequence[Path], folder: Path
) -> Iterator[int]:
    """Write ``SCORE/PLACE.npy`` (float32, on the grid) and ``classes/PLACE.png`` of each picture.

    Parameters
    ----------
    model : Path
        Checkpoint; the base head is measured.
    scores : sequence of str
        Keys of `owlabel.ood.registry.SCORES`.
    pictures : sequence of Path
    folder : Path

    Yields
    ------
    int
        How many pictures are done.

    Raises
    ------
    ValueError
        If the model, a score or a picture cannot be used.
    """
    segmenter, header = load(model)
    segmenter.to(chosen_device())
    for name in (*scores, "classes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place, path in enumerate(pictures):
        image = images.read(path)
        embedding = embed_image(segmenter, image)[0]
        shape = (image.shape[0], image.shape[1])
        classes = argmax_upsampled(embedding, shape)
        Image.fromarray(classes).save(folder / "classes" / f"{place}.png", compress_level=1)
        maps = all_scores(embedding.astype(np.float32), header.prototype_length, list(scores))
        for name, values in maps.items():
            np.save(folder / name / f"{place}.npy", np.asarray(values, np.float32))
        yield place + 1


def main(arguments: list[str]) -> int:
    """Do the job of a JSON file; prints the pictures done, or one line of error and returns 1."""
    job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    pictures = [Path(text) for text in job["pictures"]]
    try:
        for done in predict(Path(job["model"]), job["scores"], pictures, Path(job["folder"])):
            print(done, flush=True)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
