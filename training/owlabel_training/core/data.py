"""Labelled frames in memory and the random crops that training sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from owlabel.classes import UNSET, VOID, ClassTable, LabelClass
from owlabel_training.core.recipe import DataRecipe, TrainingRecipe

Pixels = NDArray[np.uint8]


class CropRecipe(Protocol):
    """What the window of a crop depends on: its size, and how far it may zoom."""

    @property
    def crop(self) -> tuple[int, int]:
        """Rows, columns."""
        ...

    @property
    def scale(self) -> tuple[float, float]:
        """Smallest and largest zoom."""
        ...


class AugmentedRecipe(CropRecipe, Protocol):
    """What a crop depends on."""

    @property
    def jitter(self) -> float:
        """Brightness, contrast and saturation are multiplied by 1 +- jitter."""
        ...


RARE_SHARE = 0.02
"""A class is rare where it covers less than this share of the labelled pixels."""


@dataclass(frozen=True)
class Frames:
    """Images with labels, decoded once.

    Attributes
    ----------
    names : tuple of str
        As in the list file.
    images : tuple of uint8 array, shape (H, W, 3)
        RGB.
    labels : tuple of uint8 array, shape (H, W)
        Ids 0 .. N-1 of `classes`; 255 is void.
    classes : ClassTable
        The classes that are known, ids 0 .. N-1.
    """

    names: tuple[str, ...]
    images: tuple[Pixels, ...]
    labels: tuple[Pixels, ...]
    classes: ClassTable

    def __len__(self) -> int:
        return len(self.names)

    def every(self, step: int) -> Frames:
        """Return every step-th frame."""
        return Frames(self.names[::step], self.images[::step], self.labels[::step], self.classes)


def read_classes(folder: Path) -> ClassTable:
    """Return the class table of ``classes.json``: rows of id, name and color (or colour)."""
    path = folder / "classes.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    rows = table.get("classes") if isinstance(table, dict) else table
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} holds no list of classes")
    return ClassTable.from_json([{"color": row.get("colour"), **row} for row in rows])


def known_classes(table: ClassTable, left_out: Sequence[str]) -> tuple[ClassTable, Pixels]:
    """Return the classes that stay, renumbered from 0, and the map old id -> new id or 255.

    Raises
    ------
    ValueError
        If a class that shall be left out does not exist, or fewer than two stay.
    """
    missing = [name for name in left_out if table.find(name) is None]
    if missing:
        raise ValueError(f"cannot leave out {missing}: the classes are {[*table.names.values()]}")
    dropped = {c.id for c in table.classes if c.name in left_out}
    kept = [c for c in table.classes if c.id not in dropped]
    if len(kept) < 2:
        raise ValueError(f"at least two classes must stay, got {[c.name for c in kept]}")
    lookup = np.full(256, VOID, np.uint8)
    for new_id, c in enumerate(kept):
        lookup[c.id] = new_id
    return ClassTable(tuple(LabelClass(i, c.name, c.color) for i, c in enumerate(kept))), lookup


def read_names(path: Path) -> tuple[str, ...]:
    """Return the names of a list file, one a line."""
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8").splitlines())
    except OSError as error:
        raise ValueError(f"cannot read the list {path}: {error.strerror}") from error
    if not any(names):
        raise ValueError(f"the list {path} is empty")
    return tuple(name for name in names if name)


def read_frames(folder: Path, names: Sequence[str], left_out: Sequence[str] = ()) -> Frames:
    """Decode the named frames of a folder.

    Raises
    ------
    ValueError
        If a file is missing or unreadable, sizes differ, or a label is no class.
    """
    table = read_classes(folder)
    classes, lookup = known_classes(table, left_out)
    images, labels = [], []
    for name in names:
        image, label = _read_image(folder, name), _read_label(folder, name, table)
        if image.shape[:2] != label.shape:
            raise ValueError(
                f"{name}: the image has size {image.shape[:2]}, its labels {label.shape}"
            )
        images.append(image)
        labels.append(lookup[label])
    return Frames(tuple(names), tuple(images), tuple(labels), classes)


def read_split(folder: Path, recipe: DataRecipe) -> tuple[Frames, Frames]:
    """Return the frames to train on and those to validate on; raises as `read_frames`."""
    if not folder.is_dir():
        raise ValueError(f"there is no data folder {folder}")
    train_names, val_names = split_names(folder, recipe)
    shared = sorted(set(train_names) & set(val_names))
    if shared:
        raise ValueError(f"frames are in train and val: {shared[:5]}")
    train = read_frames(folder, train_names, recipe.left_out)
    return train, read_frames(folder, val_names[:: recipe.val_step], recipe.left_out)


def split_names(folder: Path, recipe: DataRecipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names to train and to validate on: from the lists, or every n-th held out."""
    if recipe.train:
        return read_names(folder / recipe.train), read_names(folder / recipe.val)
    names = sorted(path.stem for path in (folder / "labels").glob("*.png"))
    if len(names) < recipe.held_out:
        raise ValueError(f"{folder / 'labels'} has {len(names)} masks, too few to hold some out")
    val = names[:: recipe.held_out]
    return tuple(name for name in names if name not in set(val)), tuple(val)


def _read_image(folder: Path, name: str) -> Pixels:
    paths = sorted((folder / "images").glob(f"{name}.*"))
    if not paths:
        raise ValueError(f"there is no image {name} in {folder / 'images'}")
    try:
        with Image.open(paths[0]) as file:
            return np.asarray(file.convert("RGB"))
    except OSError as error:
        raise ValueError(f"cannot read the image {paths[0]}: {error}") from error


def _read_label(folder: Path, name: str, table: ClassTable) -> Pixels:
    path = folder / "labels" / f"{name}.png"
    try:
        with Image.open(path) as file:
            label = np.asarray(file)
    except OSError as error:
        raise ValueError(f"cannot read the labels {path}: {error}") from error
    if label.ndim != 2 or label.dtype != np.uint8:
        raise ValueError(
            f"{path} must be an 8-bit one-channel PNG, got {label.shape} {label.dtype}"
        )
    present = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
    wrong = sorted(set(present[present < UNSET].tolist()) - set(table.names))
    if wrong:
        raise ValueError(f"{path} has the labels {wrong}, which classes.json does not name")
    return label


def class_frequencies(frames: Frames) -> NDArray[np.float64]:
    """Return the share of each class among the labelled pixels, shape (N,)."""
    counts = sum(np.bincount(label.ravel(), minlength=256) for label in frames.labels)
    known = np.asarray(counts)[: len(frames.classes)].astype(np.float64)
    return np.asarray(known / max(known.sum(), 1))


def class_weights(frequencies: NDArray[np.float64], cap: float) -> NDArray[np.float32]:
    """Return sqrt(median frequency / frequency), between 1 / cap and cap."""
    safe = np.maximum(frequencies, 1e-9)
    weights = np.sqrt(np.median(safe) / safe)
    return np.asarray(np.clip(weights, 1 / cap, cap), np.float32)


class CropSampler:
    """Random crops: zoom, flip, colour jitter, and more of what is rare.

    The batch of a step depends on the seed and the step alone, so a resumed run sees the same.
    """

    def __init__(self, frames: Frames, recipe: TrainingRecipe) -> None:
        self.frames = frames
        self.recipe = recipe
        self._rare = _frames_of_rare_classes(frames) if recipe.rare_share else {}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return images (B, 3, h, w) in [0, 1], channels last, and labels (B, h, w) of int64."""
        rng = np.random.default_rng([self.recipe.seed, step])
        pairs = [self.crop(rng) for _ in range(self.recipe.batch_size)]
        images = torch.from_numpy(np.stack([image for image, _ in pairs]))  # (B, h, w, 3)
        labels = torch.from_numpy(np.stack([label for _, label in pairs]))  # (B, h, w)
        return images.permute(0, 3, 1, 2), labels.long()

    def crop(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], Pixels]:
        """Return one augmented crop: image (h, w, 3) in [0, 1] and labels (h, w)."""
        index, centre = self._pick(rng)
        pair = self.frames.images[index], self.frames.labels[index]
        return augmented(rng, pair, self.recipe, centre)

    def _pick(self, rng: np.random.Generator) -> tuple[int, tuple[int, int] | None]:
        """Return a frame and, for some, the pixel of a rare class to look at."""
        if not self._rare or rng.random() >= self.recipe.rare_share:
            return int(rng.integers(len(self.frames))), None
        class_id = int(rng.choice(sorted(self._rare)))
        index = int(rng.choice(self._rare[class_id]))
        places = np.flatnonzero(self.frames.labels[index] == class_id)
        row, column = divmod(int(rng.choice(places)), self.frames.labels[index].shape[1])
        return index, (row, column)


def _frames_of_rare_classes(frames: Frames) -> dict[int, NDArray[np.intp]]:
    """Return, for each rare class, the frames in which it occurs."""
    frequencies = class_frequencies(frames)
    rare: dict[int, NDArray[np.intp]] = {}
    for class_id in np.flatnonzero((frequencies > 0) & (frequencies < RARE_SHARE)):
        rare[int(class_id)] = np.flatnonzero([(label == class_id).any() for label in frames.labels])
    return rare


def augmented(
    rng: np.random.Generator,
    pair: tuple[Pixels, Pixels],
    recipe: AugmentedRecipe,
    centre: tuple[int, int] | None = None,
) -> tuple[NDArray[np.float32], Pixels]:
    """Return a random crop of image and labels: zoom, flip, colour jitter.

    Returns
    -------
    image : array of float32, shape (h, w, 3)
        In [0, 1].
    labels : array of uint8, shape (h, w)
    """
    box = window(rng, pair[1].shape, recipe, centre)
    rows, columns = recipe.crop
    image, label = resized(*pair, box, (rows, columns))
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    return jittered(image, rng, recipe.jitter), np.ascontiguousarray(label)


def window(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    recipe: CropRecipe,
    centre: tuple[int, int] | None = None,
) -> tuple[int, int, int, int]:
    """Return rows and columns (top, bottom, left, right) of a random window inside the frame."""
    zoom = float(np.exp(rng.uniform(np.log(recipe.scale[0]), np.log(recipe.scale[1]))))
    zoom = max(zoom, recipe.crop[0] / shape[0], recipe.crop[1] / shape[1])
    sides = [min(shape[i], round(recipe.crop[i] / zoom)) for i in (0, 1)]
    start = []
    for axis, side in enumerate(sides):
        low, high = 0, shape[axis] - side
        if centre is not None:
            low = int(np.clip(centre[axis] - side + side // 4, 0, high))
            high = max(low, min(high, centre[axis] - side // 4))
        start.append(int(rng.integers(low, high + 1)))
    return start[0], start[0] + sides[0], start[1], start[1] + sides[1]


def resized(
    image: Pixels, label: Pixels, box: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[Pixels, Pixels]:
    """Cut the window out and bring it to the size: image bilinear, labels nearest."""
    top, bottom, left, right = box
    wanted = (size[1], size[0])
    piece = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    mask = Image.fromarray(np.ascontiguousarray(label[top:bottom, left:right]))
    return (
        np.asarray(piece.resize(wanted, Image.Resampling.BILINEAR)),
        np.asarray(mask.resize(wanted, Image.Resampling.NEAREST)),
    )


def jittered(image: Pixels, rng: np.random.Generator, amount: float) -> NDArray[np.float32]:
    """Return the image in [0, 1] with random brightness, contrast and saturation."""
    brightness, contrast, saturation = rng.uniform(1 - amount, 1 + amount, 3).astype(np.float32)
    values = image.astype(np.float32) * (brightness / 255)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + saturation * (values - grey)
    mean = grey.mean()
    return np.asarray(np.clip(mean + contrast * (values - mean), 0, 1), np.float32)
