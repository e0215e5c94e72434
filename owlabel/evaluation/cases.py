"""What is evaluated: images with ground truth, checked before any model runs."""

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
    """What the ids in the masks of a data set mean.

    Attributes
    ----------
    title : str
        For messages.
    ood : ndarray of uint8, shape (256,)
        Id to 0 in-distribution, 1 OoD, 255 void.
    classes : ndarray of uint8, shape (256,)
        Id to the place of its class in `names`, 255 where it has none.
    names : tuple of str
        The known classes; empty where the masks have none, and no mIoU can be given.
    allowed : ndarray of bool, shape (256,)
        Ids that may occur.
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
        """Return the rule of ids with known classes ("" where a class has no name), OoD and void.

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
        """Return the rule where some classes are OoD and others void; the rest keep their order.

        Raises
        ------
        ValueError
            If a class does not exist or is named twice.
        """
        wanted = [*held_out, *ignored]
        missing = [name for name in wanted if name not in self.names]
        if missing or len(set(wanted)) != len(wanted):
            raise ValueError(
                f"{self.title}: cannot hold out or ignore {missing or wanted}: "
                f"the classes are {', '.join(self.names) or 'not known'}, each may be named once"
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
        Path without suffix, / between folders; unique in its data set.
    image : Path or None
        The picture; None where it is not there (score maps can be measured without).
    truth : Path
        Mask with one id a pixel.
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
            raise ValueError(f"{self.name}: there is no image with ground truth: check the folder")
        if len(set(names)) != len(names):
            twice = sorted({n for n in names if names.count(n) > 1})[:3]
            raise ValueError(f"{self.name}: several images are named {', '.join(twice)}")


def read_ids(path: Path, title: str, allowed: NDArray[np.bool_] | None = None) -> Labels:
    """Read a mask of one id a pixel, uint8 (H, W).

    Raises
    ------
    ImageError
        If it cannot be read, is no 8-bit image of one channel, or holds an id that is not allowed.
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
                f"a mask must hold one 8-bit id a pixel, not {picture.mode}: take the file "
                "with ids, not the one with colours",
            )
        ids = np.array(picture, np.uint8)
    if allowed is not None:
        present = np.flatnonzero(np.bincount(ids.ravel(), minlength=256))
        wrong = present[~allowed[present]].tolist()
        if wrong:
            known = np.flatnonzero(allowed).tolist()
            raise ImageError(path, f"it has the ids {wrong}; {title} knows {ranges(known)}")
    return ids


def truth_of(case: Case, rule: LabelRule) -> tuple[Labels, Labels]:
    """Return OoD truth (0, 1, 255) and class truth (255 none) of a case, both (H, W)."""
    ids = read_ids(case.truth, rule.title, rule.allowed)
    return rule.ood[ids], rule.classes[ids]


def check(dataset: DataSet, need_images: bool) -> dict[str, tuple[int, int]]:
    """Read every mask, and the size of every picture, before a model runs.

    Returns
    -------
    dict of str to tuple of int
        (H, W) by name.

    Raises
    ------
    ValueError
        With the first ten things that are wrong: files that are missing or cannot be read, ids
        that the rule does not know, pictures of another size than their masks.
    """
    shapes: dict[str, tuple[int, int]] = {}
    wrong: list[str] = []
    for case in dataset.cases:
        try:
            ids = read_ids(case.truth, dataset.rule.title, dataset.rule.allowed)
            shapes[case.name] = (ids.shape[0], ids.shape[1])
            if case.image is None and need_images:
                raise ValueError(f"{case.truth}: its picture is missing")
            if case.image is not None and (picture := size(case.image)) != ids.shape:
                raise ValueError(
                    f"{case.truth}: the mask is {words(shapes[case.name])}, its picture "
                    f"{case.image.name} {words(picture)}: they must be of one size"
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
    parts: list[list[int]] = []
    for i in ids:
        if parts and i == parts[-1][-1] + 1:
            parts[-1].append(i)
        else:
            parts.append([i])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]} .. {p[-1]}" for p in parts)


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: NaN and infinities become None."""
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
