"""The images and ground truth of an evaluation, checked before any model runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel.classes import VOID
from owlabel.images.decoding import ImageError, errors_named, pixel_limit, regular_file
from owlabel.images.files import size

Labels = NDArray[np.uint8]
_MODES = ("P", "L", "1")


@dataclass(frozen=True)
class LabelRule:
    """The meaning of the ids in the masks of a data set.

    Attributes
    ----------
    title : str
        Name of the rule in messages.
    ood : ndarray of uint8, shape (256,)
        For each id: 0 in-distribution, 1 OoD, 255 void.
    classes : ndarray of uint8, shape (256,)
        For each id the index of its class in `names`, 255 for no class.
    names : tuple of str
        The known classes; empty if the masks have none.  There is no mIoU then.
    allowed : ndarray of bool, shape (256,)
        Ids that may occur in a mask.
    """

    title: str
    ood: Labels
    classes: Labels
    names: tuple[str, ...]
    allowed: NDArray[np.bool_]

    @classmethod
    def of(
        cls, title: str, known: Mapping[int, str], ood: Iterable[int], void: Iterable[int]
    ) -> LabelRule:
        """Return a rule from known ids with class names ("" for none), OoD ids and void ids.

        Raises
        ------
        ValueError
            If an id has two meanings or lies outside 0 .. 255.
        """
        groups = [list(known), list(ood), list(void)]
        ids = [i for group in groups for i in group]
        if len(set(ids)) != len(ids) or any(not 0 <= i <= 255 for i in ids):
            raise ValueError(f"{title}: ids must lie in 0 .. 255 and differ, got {sorted(ids)}")
        names = tuple(dict.fromkeys(name for name in known.values() if name))
        to_ood, to_class = np.full(256, VOID, np.uint8), np.full(256, VOID, np.uint8)
        to_ood[groups[0]], to_ood[groups[1]] = 0, 1
        for raw, name in known.items():
            if name:
                to_class[raw] = names.index(name)
        return cls(title, to_ood, to_class, names, np.isin(np.arange(256), ids))

    def without(self, held_out: Sequence[str], ignored: Sequence[str]) -> LabelRule:
        """Return the rule with some classes as OoD and others as void; the rest keep their order.

        Raises
        ------
        ValueError
            If a class does not exist or is given twice.
        """
        wanted = [*held_out, *ignored]
        missing = [name for name in wanted if name not in self.names]
        if missing or len(set(wanted)) != len(wanted):
            raise ValueError(
                f"{self.title}: cannot hold out or ignore {missing or wanted}: "
                f"choose each class once, from {', '.join(self.names) or 'none: no class is known'}"
            )
        named = {i: self.names[c] for i, c in enumerate(self.classes) if c != VOID}
        void = self.allowed & (self.ood == VOID)
        novel = [i for i, name in named.items() if name in held_out]
        return LabelRule.of(
            self.title,
            {
                int(i): named.get(int(i), "")
                for i in np.flatnonzero(self.allowed & (self.ood == 0))
                if named.get(int(i)) not in wanted
            },
            [*np.flatnonzero(self.allowed & (self.ood == 1)).tolist(), *novel],
            [*np.flatnonzero(void).tolist(), *(i for i, n in named.items() if n in ignored)],
        )


BINARY = LabelRule.of("masks of 0, 1 and 255", {0: ""}, [1], [VOID])
"""0 in-distribution, 1 OoD, 255 void: Fishyscapes, SegmentMeIfYouCan, plain folders."""


@dataclass(frozen=True)
class Case:
    """One image with ground truth.

    Attributes
    ----------
    name : str
        Path without suffix, with / between folders; unique in its data set.
    image : Path or None
        The image file; None if it is missing.  Stored score maps can be evaluated without it.
    truth : Path
        Mask with one id per pixel.
    """

    name: str
    image: Path | None
    truth: Path


@dataclass(frozen=True)
class DataSet:
    """Images with ground truth under one rule.

    Attributes
    ----------
    name : str
    rule : LabelRule
    cases : tuple of Case
        At least one.
    """

    name: str
    rule: LabelRule
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        names = [case.name for case in self.cases]
        if not names:
            raise ValueError(f"{self.name} has no image with ground truth: check the folder")
        if len(set(names)) != len(names):
            twice = sorted({n for n in names if names.count(n) > 1})[:3]
            raise ValueError(f"{self.name}: several images are named {', '.join(twice)}")


def read_ids(path: Path, title: str, allowed: NDArray[np.bool_] | None = None) -> Labels:
    """Read a mask with one id per pixel, uint8 (H, W).

    Raises
    ------
    ImageError
        If the file cannot be read, is not an 8-bit image with one channel, or holds an id that is
        not allowed.
    """
    with (
        errors_named(path),
        pixel_limit(),
        regular_file(path).open("rb") as stream,
        Image.open(stream, formats=["PNG", "BMP", "GIF", "TIFF"]) as picture,
    ):
        if picture.mode not in _MODES:
            raise ImageError(
                path,
                f"a mask must have one 8-bit id per pixel, got {picture.mode}: use the file "
                "with ids, not the one with colours",
            )
        ids = np.array(picture, np.uint8)
    if allowed is not None:
        present = np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
        wrong = present[~allowed[present]].tolist()
        if wrong:
            known = np.flatnonzero(allowed).tolist()
            raise ImageError(path, f"it has the ids {wrong}; {title} may have {ranges(known)}")
    return ids


def truth_of(case: Case, rule: LabelRule) -> tuple[Labels, Labels]:
    """Return the OoD truth (0, 1, 255) and class truth (255 for none) of a case, (H, W) each."""
    ids = read_ids(case.truth, rule.title, rule.allowed)
    return rule.ood[ids], rule.classes[ids]


def check(dataset: DataSet, need_images: bool) -> dict[str, tuple[int, int]]:
    """Check every mask, and the size of every image, before a model runs.

    Returns
    -------
    dict of str to tuple of int
        (H, W) by the name of the case.

    Raises
    ------
    ValueError
        With the first ten problems: files that are missing or cannot be read, ids that the rule
        does not allow, images that differ in size from their masks.
    """
    shapes: dict[str, tuple[int, int]] = {}
    wrong: list[str] = []
    for case in dataset.cases:
        try:
            ids = read_ids(case.truth, dataset.rule.title, dataset.rule.allowed)
            shapes[case.name] = (ids.shape[0], ids.shape[1])
            if case.image is None and need_images:
                raise ValueError(f"{case.truth}: the image of this mask is missing")
            if case.image is not None and (picture := size(case.image)) != ids.shape:
                raise ValueError(
                    f"{case.truth}: the mask is {words(shapes[case.name])}, its image "
                    f"{case.image.name} is {words(picture)}: they must have the same size"
                )
        except ValueError as error:
            wrong.append(str(error))
    raise_if(wrong)
    return shapes


def raise_if(wrong: Sequence[str]) -> None:
    """Raise ValueError with the first ten of these lines, if there are any."""
    if wrong:
        more = f"\nand {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise ValueError("\n".join(wrong[:10]) + more)


def words(shape: Sequence[int]) -> str:
    """Return "360 x 480" for (360, 480)."""
    return " x ".join(map(str, shape))


def ranges(ids: Sequence[int]) -> str:
    """Return "0 .. 3, 255" for [0, 1, 2, 3, 255]."""
    runs: list[list[int]] = []
    for i in ids:
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]} .. {r[-1]}" for r in runs)


def plain(value: Any) -> Any:
    """Return a value as plain JSON values; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
