"""A process that runs a model on images and writes score grids and class maps.

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
from numpy.typing import NDArray
from PIL import Image

from owlabel.arrays.embedding_grid import argmax_upsampled
from owlabel.images import files as images
from owlabel.models.device import chosen_device
from owlabel.models.embed import embed_image, image_features
from owlabel.models.residual_block import load_block, residual_energy
from owlabel.models.weights import load
from owlabel.ood.registry import SCORES, all_scores
from owlabel.ood.standardized_logits import ClassStatistics

Floats = NDArray[np.float32]


def predict(
    model: Path,
    scores: Sequence[str],
    pictures: Sequence[Path],
    folder: Path,
    residual: Path | None = None,
) -> Iterator[int]:
    """Write ``SCORE/PLACE.npy`` (float32, on the grid) and ``classes/PLACE.png`` for each image.

    Statistics that a score needs (SML) come from the predictions on these images.

    Parameters
    ----------
    model : Path
        Checkpoint; its base head is used.
    scores : sequence of str
        Keys of `owlabel.ood.registry.SCORES`.
    pictures : sequence of Path
    folder : Path
    residual : Path, optional
        Residual block (RPL) of this model.

    Yields
    ------
    int
        How many images are done.

    Raises
    ------
    ValueError
        If the model, a score or an image cannot be used.
    """
    device = chosen_device()
    segmenter, header = load(model)
    segmenter.to(device)
    head, length = header.heads[0], header.prototype_length
    block = None if residual is None else load_block(residual, head.hash)[0].to(device)
    statistics = ClassStatistics(head.outputs)
    wait = any("statistics" in SCORES[name].needs for name in scores)
    for name in (*scores, "classes", "waiting"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def write(place: int, embedding: Floats, energy: Floats | None) -> None:
        means = statistics.mean_and_std() if wait else None
        maps = all_scores(embedding, length, list(scores), statistics=means, residual=energy)
        for name, values in maps.items():
            np.save(folder / name / f"{place}.npy", np.asarray(values, np.float32))

    for place, path in enumerate(pictures):
        image = images.read(path)
        shape = (image.shape[0], image.shape[1])
        embedding = embed_image(segmenter, image)[0].astype(np.float32)
        energy = None
        if block is not None:
            features = image_features(segmenter, image)
            energy = residual_energy(segmenter, block, features, shape).astype(np.float32)
        classes = argmax_upsampled(embedding, shape)
        Image.fromarray(classes).save(folder / "classes" / f"{place}.png", compress_level=1)
        if wait:
            statistics.update(2 * length * embedding)
            kept = {"embedding": embedding} | ({} if energy is None else {"energy": energy})
            np.savez(folder / "waiting" / f"{place}.npz", **kept)  # type: ignore[arg-type]
        else:
            write(place, embedding, energy)
        yield place + 1
    for place in range(len(pictures) if wait else 0):
        kept_file = folder / "waiting" / f"{place}.npz"
        with np.load(kept_file) as arrays:
            write(place, arrays["embedding"], arrays.get("energy"))
        kept_file.unlink()


def main(arguments: list[str]) -> int:
    """Run the job of a JSON file and print the count of images done; on an error return 1."""
    job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    pictures = [Path(text) for text in job["pictures"]]
    try:
        residual = None if job["residual"] is None else Path(job["residual"])
        folder = Path(job["folder"])
        for done in predict(Path(job["model"]), job["scores"], pictures, folder, residual):
            print(done, flush=True)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
