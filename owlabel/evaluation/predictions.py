"""The predictions to evaluate: score maps and class maps on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.arrays.embedding_grid import upsample
from owlabel.classes import VOID
from owlabel.evaluation.cases import DataSet, Labels, raise_if, read_ids, words
from owlabel.images.decoding import ImageError, errors_named, pixel_limit, regular_file

Scores = NDArray[np.float32]
Shape = tuple[int, int]
SUFFIXES = (".npy", ".png")


@dataclass(frozen=True)
class Predictions:
    """The maps of one score for all images of a data set.

    Attributes
    ----------
    score : str
        Name of the score.
    maps : dict of str to Path
        By name of the case: ``.npy`` (H, W) of any real type, or one-channel ``.png``, with
        0 .. 255 or 0 .. 65535 scaled to 0 .. 1.
    classes : dict of str to Path
        Class maps by name; empty if there are none.
    lookup : ndarray of uint8, shape (256,)
        For each id in the class maps the class of the data set, 255 for none.
    grid : bool
        The maps are on an embedding grid and must be enlarged to the image.
    """

    score: str
    maps: Mapping[str, Path]
    classes: Mapping[str, Path]
    lookup: Labels
    grid: bool = False

    def read(self, name: str, shape: Shape) -> Scores:
        """Return the score map of a case, float32 (H, W); raises ValueError with its file."""
        values = np.asarray(read_map(self.maps[name]), np.float32)
        if self.grid:
            return upsample(values, shape)
        if values.shape != shape:
            raise ImageError(
                self.maps[name],
                f"the score map is {words(values.shape)}, the mask is {words(shape)}: save the map "
                "at the size of the mask",
            )
        return values

    def read_classes(self, name: str, shape: Shape) -> Labels | None:
        """Return the predicted class of each pixel (255 for none), or None without a class map."""
        if name not in self.classes:
            return None
        ids = read_ids(self.classes[name], "the prediction")
        if ids.shape != shape:
            raise ImageError(
                self.classes[name],
                f"the class map is {words(ids.shape)}, the mask is {words(shape)}: save the map at "
                "the size of the mask",
            )
        return np.asarray(self.lookup[ids])


def read_map(path: Path) -> NDArray[Any]:
    """Read a score map, (H, W); ``.npy`` without pickle, ``.png`` scaled to 0 .. 1.

    Raises
    ------
    ImageError
        If it cannot be read, is not 2-D, or does not hold real numbers.
    """
    with errors_named(path), pixel_limit():
        if regular_file(path).suffix == ".npy":
            values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with path.open("rb") as stream, Image.open(stream, formats=["PNG"]) as picture:
                if picture.mode not in ("L", "I;16", "I"):
                    raise ImageError(path, f"a score map must be a grey image, got {picture.mode}")
                full = 255 if picture.mode == "L" else 65535
                values = np.asarray(picture).astype(np.float32) / full
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise ImageError(
            path, f"a score map must be real numbers of shape (H, W), got {_what(values)}"
        )
    return values


def stored_predictions(
    dataset: DataSet,
    shapes: Mapping[str, Shape],
    maps: Path,
    class_maps: Path | None,
    every_class: Sequence[str],
) -> Predictions:
    """Return the checked score maps of a folder, and class maps if they can be used.

    Parameters
    ----------
    dataset : DataSet
    shapes : mapping of str to tuple of int
        (H, W) of each mask, by the name of its case.
    maps : Path
        Folder of score maps.
    class_maps : Path or None
        Folder of class maps.
    every_class : sequence of str
        The classes of the ids in the class maps: all classes of the data set in its order,
        including held-out classes.

    Raises
    ------
    ValueError
        With the first ten maps that are missing, cannot be read or have another size.
    """
    lookup = class_lookup(every_class, dataset.rule.names)
    scores = find_maps(maps, dataset, shapes)
    if class_maps is None or lookup is None:
        return Predictions(maps.name, scores, {}, no_classes())
    return Predictions(maps.name, scores, find_maps(class_maps, dataset, shapes), lookup)


def find_maps(folder: Path, dataset: DataSet, shapes: Mapping[str, Shape]) -> dict[str, Path]:
    """Find and check the map of every case: ``folder/NAME.npy`` or ``.png``.

    Raises
    ------
    ValueError
        With the first ten maps that are missing, cannot be read or have another size.
    """
    maps: dict[str, Path] = {}
    wrong: list[str] = []
    for case in dataset.cases:
        stems = dict.fromkeys((case.name, case.name.rsplit("/", 1)[-1]))
        paths = [folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            wrong.append(f"{folder} contains neither {case.name}.npy nor {case.name}.png")
            continue
        try:
            shape = read_map(path).shape
            if shape != shapes[case.name]:
                raise ValueError(
                    f"{path}: the map is {words(shape)}, its mask is {words(shapes[case.name])}"
                )
            maps[case.name] = path
        except ValueError as error:
            wrong.append(str(error))
    raise_if(wrong)
    return maps


def class_lookup(predicted: Sequence[str], known: Sequence[str]) -> Labels | None:
    """Map a model's classes to a data set's by name; None if the model lacks one.

    Without known classes the result is also None, and there is no mIoU.
    """
    places = {name.casefold(): i for i, name in enumerate(known)}
    if not known or not set(places) <= {name.casefold() for name in predicted}:
        return None
    lookup = no_classes()
    for i, name in enumerate(predicted):
        lookup[i] = places.get(name.casefold(), VOID)
    return lookup


def no_classes() -> Labels:
    """Return a lookup without any class, (256,) of 255."""
    return np.full(256, VOID, np.uint8)


def _what(values: NDArray[Any]) -> str:
    return f"{values.dtype} of {words(values.shape)}"
