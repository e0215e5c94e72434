"""Data cards of an export: the source and the confidence of the labels of each image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.classes import VOID, ClassTable, Labels, Source
from owlabel.formats.atomic_folder import ExportError, write_json
from owlabel.images.decoding import pixel_limit

MAX_PIXELS = 400_000_000
FOLDER = "provenance"
SOURCE_COLORS = {
    Source.NONE: (0, 0, 0),
    Source.HUMAN: (255, 255, 255),
    Source.BASE: (90, 110, 140),
    Source.NPM: (230, 160, 20),
    Source.PLM: (40, 190, 120),
}


@dataclass(frozen=True)
class LabelledImage:
    """An image to export.

    Attributes
    ----------
    name : str
        Path of the image relative to the project's images, with / between folders.
    labels : array, shape (H, W)
        uint8 class ids; 255 where nothing is labelled.
    source : array, shape (H, W)
        uint8, values of `Source`.
    confidence : array, shape (H, W)
        uint8, 0 .. 255 for 0 .. 1.
    state : str
        Review state of the image.
    """

    name: str
    labels: Labels
    source: Labels
    confidence: Labels
    state: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.labels.shape[0], self.labels.shape[1]


@dataclass(frozen=True)
class ReadImage:
    """An image read from an export: its name and its class ids (H, W)."""

    name: str
    labels: Labels


@dataclass(frozen=True)
class Provenance:
    """The program and the model that produced the labels.

    Attributes
    ----------
    tool : str
        Program and version.
    model, model_hash : str
        Name of the model version, and the hash of its weights.
    lambda_novel : float
        Squared distance threshold of NPM.
    """

    tool: str
    model: str
    model_hash: str
    lambda_novel: float = 1.5

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "tool": self.tool,
            "model": {"name": self.model, "hash": self.model_hash},
            "lambda_novel": self.lambda_novel,
        }


def check(image: LabelledImage, classes: ClassTable) -> None:
    """Raise ExportError if an image does not fit the class table or has malformed arrays."""
    for what in ("labels", "source", "confidence"):
        values: Labels = getattr(image, what)
        if values.dtype != np.uint8 or values.ndim != 2 or values.shape != image.labels.shape:
            raise ExportError(
                f"{image.name}: {what} must be uint8 of shape {image.labels.shape}, "
                f"got {values.dtype} of shape {values.shape}"
            )
    known = {*classes.names, VOID}
    strange = set(np.flatnonzero(counts(image.labels)).tolist()) - known
    if strange:
        raise ExportError(f"{image.name}: labels {sorted(strange)} are not in the class table")
    strange = set(np.flatnonzero(counts(image.source)).tolist()) - set(Source)
    if strange:
        raise ExportError(f"{image.name}: sources must be values of Source, got {sorted(strange)}")


def counts(values: Labels) -> NDArray[np.int64]:
    """Return how often each of 0 .. 255 occurs, shape (256,)."""
    return np.bincount(values.ravel(), minlength=256).astype(np.int64)


def labels_hash(labels: Labels) -> str:
    """Return the SHA-256 of the class ids in row order, 64 hex digits."""
    return hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()


def card(image: LabelledImage, classes: ClassTable, provenance: Provenance) -> dict[str, Any]:
    """Return the data card of one image as plain values."""
    height, width = image.shape
    pairs = np.bincount(  # (256, 8): pixels of each class and source
        image.labels.ravel().astype(np.uint16) * 8 + image.source.ravel(), minlength=2048
    ).reshape(256, 8)
    sums = np.bincount(image.labels.ravel(), image.confidence.ravel(), 256) / 255
    rows = [
        {
            "id": c.id,
            "name": c.name,
            "pixels": int(pairs[c.id].sum()),
            "mean_confidence": round(float(sums[c.id] / pairs[c.id].sum()), 4),
            "sources": _by_source(pairs[c.id]),
        }
        for c in classes.classes
        if pairs[c.id].any()
    ]
    return {
        "image": image.name,
        "height": height,
        "width": width,
        "state": image.state,
        **provenance.to_json(),
        "labels_sha256": labels_hash(image.labels),
        "sources": _by_source(pairs.sum(0)),
        "void_pixels": int(pairs[VOID].sum()),
        "classes": rows,
    }


def _by_source(row: NDArray[np.intp]) -> dict[str, int]:
    """Return the pixel count of each source that occurs, by its name."""
    return {source.name.lower(): int(row[source]) for source in Source if row[source]}


def write(
    folder: Path, stem: str, image: LabelledImage, classes: ClassTable, provenance: Provenance
) -> None:
    """Write the data card and the source map of one image below ``folder/provenance``."""
    write_json(folder / FOLDER / f"{stem}.json", card(image, classes, provenance))
    palette = np.zeros((256, 3), np.uint8)
    for source, color in SOURCE_COLORS.items():
        palette[source] = color
    write_indexed(folder / FOLDER / f"{stem}.source.png", image.source, palette)


def write_indexed(path: Path, values: Labels, palette: NDArray[np.uint8]) -> None:
    """Write (H, W) as an indexed PNG; the palette (256, 3) is only for display."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)  # mode L, so the indices do not change
    picture.putpalette(palette.tobytes())
    picture.save(path, format="PNG")


def read_indexed(path: Path, shape: tuple[int, int]) -> Labels:
    """Read the indices of a PNG of `shape`; raises ExportError with the path."""
    try:
        with pixel_limit(), Image.open(path, formats=["PNG"]) as picture:
            if picture.mode not in ("P", "L") or picture.size != (shape[1], shape[0]):
                actual = f"{picture.mode} of {picture.size[1]} x {picture.size[0]}"
                raise ExportError(
                    f"{path} must be an indexed PNG of {shape[0]} x {shape[1]}, got {actual}"
                )
            return np.asarray(picture, np.uint8)
    except (
        OSError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError
    ) as error:  # fmt: skip
        raise ExportError(f"{path} cannot be read: {error}") from error
