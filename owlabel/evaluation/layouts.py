"""Reads the folder layouts of published data sets, and plain folders, as a `DataSet`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from owlabel.classes import VOID
from owlabel.evaluation.cases import BINARY, Case, DataSet, LabelRule
from owlabel.formats.atomic_folder import checked_name
from owlabel.images.files import SUFFIXES, scan

CITYSCAPES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
    33: "bicycle",
}  # fmt: skip
"""labelIds of the 19 evaluated classes of Cityscapes, in the order of the trainIds."""
CITYSCAPES_IDS = LabelRule.of(
    "Cityscapes labelIds", CITYSCAPES, [], [i for i in (*range(34), 255) if i not in CITYSCAPES]
)
CITYSCAPES_TRAIN_IDS = LabelRule.of(
    "Cityscapes labelTrainIds", dict(enumerate(CITYSCAPES.values())), [], [VOID]
)
_NON_HAZARDS = (31, 33, 34, 36, 37, 38, 39)  # neither road nor obstacle
LOST_AND_FOUND_IDS = LabelRule.of(
    "LostAndFound labelIds",
    {1: ""},
    [i for i in range(2, 44) if i not in _NON_HAZARDS],
    [0, *_NON_HAZARDS, VOID],
)
LOST_AND_FOUND_TRAIN_IDS = LabelRule.of("LostAndFound labelTrainIds", {1: ""}, [2], [0, VOID])
STREET_HAZARDS = LabelRule.of(
    "StreetHazards annotations",
    dict(
        enumerate(
            ("unlabeled", "building", "fence", "other", "pedestrian", "pole", "road line", "road",
             "sidewalk", "vegetation", "car", "wall", "traffic sign"), 1,
        )
    ),
    [14],
    [0, VOID],
)  # fmt: skip
ROAD_ANOMALY = LabelRule.of("RoadAnomaly labels_semantic", {0: "", 1: ""}, [2], [VOID])

Layout = Callable[[Path, str | None], DataSet]


def cityscapes(root: Path, split: str | None = None) -> DataSet:
    """Read ``leftImg8bit/SPLIT/CITY`` and ``gtFine/SPLIT/CITY``; val by default.

    Cityscapes has no OoD class: hold classes out, or measure only closed-set mIoU and false alarms.
    """
    pairs = (("labelIds", CITYSCAPES_IDS), ("labelTrainIds", CITYSCAPES_TRAIN_IDS))
    return _like_cityscapes(root, split or "val", "gtFine", pairs, "Cityscapes")


def lost_and_found(root: Path, split: str | None = None) -> DataSet:
    """Read ``leftImg8bit/SPLIT/CITY`` and ``gtCoarse/SPLIT/CITY``; test by default.

    Only free road (in-distribution) and hazards (OoD) count.  Background and objects that are not
    hazards are void, as in the code of Chan et al.
    """
    pairs = (("labelIds", LOST_AND_FOUND_IDS), ("labelTrainIds", LOST_AND_FOUND_TRAIN_IDS))
    return _like_cityscapes(root, split or "test", "gtCoarse", pairs, "LostAndFound")


def fishyscapes(root: Path, split: str | None = None) -> DataSet:
    """Read Fishyscapes in one of three common layouts.

    ``original/NAME`` with ``labels/NAME``; ``*_labels.png`` beside ``*_rgb.*`` (Static); or the
    published ``NUMBER_STEM_labels.png`` with the images of LostAndFound anywhere below ``root``.
    `split` names a folder below `root`, e.g. LostAndFound or Static.
    """
    folder = _folder(root / split if split else root)
    if (folder / "labels").is_dir() and (folder / "original").is_dir():
        return _two_folders("Fishyscapes", folder / "original", folder / "labels", BINARY)
    masks = sorted(folder.rglob("*_labels.png"))
    if not masks:
        raise ValueError(f"{folder} has neither original/ with labels/ nor any *_labels.png")
    pictures = {p.name.lower(): p for p in scan(folder) if not p.name.endswith("_labels.png")}
    cases = []
    for mask in masks:
        stem = mask.name.removesuffix("_labels.png")
        names = [f"{stem}_rgb{suffix}" for suffix in sorted(SUFFIXES)]
        names.append(stem.split("_", 1)[-1] + "_leftImg8bit.png")
        image = next((pictures[n.lower()] for n in names if n.lower() in pictures), None)
        cases.append(Case(stem, image, mask))
    return DataSet(f"Fishyscapes {split or ''}".strip(), BINARY, tuple(cases))


def street_hazards(root: Path, split: str | None = None) -> DataSet:
    """Read ``images/test/TOWN`` and ``annotations/test/TOWN``; `split` may name a town (t5, t6).

    The ids are 1 .. 14: 13 classes, one of them "unlabeled" with the sky, and the anomaly.
    """
    base = next((b for b in (root, root / "test") if (b / "annotations").is_dir()), None)
    if base is None:
        raise ValueError(f"{root} has no folder annotations/ as in StreetHazards")
    masks, images = base / "annotations" / "test", base / "images" / "test"
    if split:
        masks, images = masks / split, images / split
    return _two_folders("StreetHazards", _folder(images), _folder(masks), STREET_HAZARDS)


def smiyc(root: Path, split: str | None = None) -> DataSet:
    """Read ``images/NAME`` and ``labels_masks/NAME_labels_semantic.png`` of either track.

    `split` keeps the names that begin with it, e.g. "validation".  Images without a mask belong to
    the held-back test set and are left out.
    """
    masks = sorted(_folder(root / "labels_masks").glob("*_labels_semantic.png"))
    pictures = {p.stem: p for p in scan(_folder(root / "images"))}
    cases = []
    for mask in masks:
        stem = mask.name.removesuffix("_labels_semantic.png")
        if not split or stem.startswith(split):
            cases.append(Case(stem, pictures.get(stem), mask))
    return DataSet(root.name, BINARY, tuple(cases))


def road_anomaly(root: Path, split: str | None = None) -> DataSet:
    """Read ``frames/NAME.*`` and ``frames/NAME.labels/labels_semantic.png``: 2 is the anomaly."""
    if split:
        raise ValueError(f"RoadAnomaly has no splits, got {split!r}")
    frames = _folder(root / "frames" if (root / "frames").is_dir() else root)
    pictures = {p.stem: p for p in scan(frames) if p.parent == frames}
    masks = sorted(frames.glob("*.labels/labels_semantic.png"))
    cases = [
        Case(name, pictures.get(name), mask)
        for mask in masks
        for name in (mask.parent.name.removesuffix(".labels"),)
    ]
    return DataSet("RoadAnomaly", ROAD_ANOMALY, tuple(cases))


def class_folder(root: Path, split: str | None = None) -> DataSet:
    """Read ``images/``, ``labels/``, ``classes.json`` and lists of names, as for CamVid.

    `split` names a list (``test.txt``); without it all masks are read.  Held-out classes give the
    OoD truth.
    """
    path = root / "classes.json"
    table = _json(path)
    rows: Any = table.get("classes") if isinstance(table, dict) else table
    try:
        known = {int(row["id"]): str(row["name"]) for row in rows}
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} must list classes with id and name: {error!r}") from error
    rule = LabelRule.of(f"{path.name} of {root.name}", known, [], [VOID])
    masks = _folder(root / "labels")
    names = (
        _names(root / f"{split}.txt")
        if split
        else [m.relative_to(masks).with_suffix("").as_posix() for m in scan(masks)]
    )
    pictures = {p.relative_to(root / "images").with_suffix("").as_posix(): p
                for p in scan(_folder(root / "images"))}  # fmt: skip
    if not split:
        _refuse_more(pictures, set(names), masks)
    cases = [Case(name, pictures.get(name), masks / f"{name}.png") for name in names]
    return DataSet(f"{root.name} {split or ''}".strip(), rule, tuple(cases))


def plain_folder(root: Path, split: str | None = None) -> DataSet:
    """Read ``images/`` and ``masks/`` with equal names; masks of 0, 1 (OoD) and 255 (void)."""
    folder = root / split if split else root
    return _two_folders(root.name, _folder(folder / "images"), _folder(folder / "masks"), BINARY)


LAYOUTS: dict[str, Layout] = {
    "plain": plain_folder,
    "classes": class_folder,
    "camvid": class_folder,
    "cityscapes": cityscapes,
    "lost_and_found": lost_and_found,
    "fishyscapes": fishyscapes,
    "street_hazards": street_hazards,
    "smiyc": smiyc,
    "road_anomaly": road_anomaly,
}
"""The reader of each layout: ``function(root, split)``."""


def read(
    layout: str,
    root: Path,
    split: str | None = None,
    held_out: Iterable[str] = (),
    ignored: Iterable[str] = (),
) -> DataSet:
    """Read a data set and mark some of its classes as OoD or void.

    Parameters
    ----------
    layout : str
        A key of `LAYOUTS`.
    root : Path
    split : str, optional
        Its meaning depends on the layout.
    held_out, ignored : iterable of str
        Classes that count as OoD, and classes that count as void.  A setting of ``protocol.json``
        (e.g. "10+1") means its novel classes.

    Raises
    ------
    ValueError
        If a folder, a file or a class is missing, or there is no image with ground truth.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    dataset = LAYOUTS[layout](_folder(root), split)
    novel = [name for word in held_out for name in _novel_classes(root, word)]
    void = list(ignored)
    if not novel and not void:
        return dataset
    return DataSet(dataset.name, dataset.rule.without(novel, void), dataset.cases)


def _novel_classes(root: Path, word: str) -> list[str]:
    """Return the novel classes of a setting of ``protocol.json``, or the word itself."""
    path = root / "protocol.json"
    if not path.is_file():
        return [word]
    settings = _json(path).get("settings", {})
    return [str(name) for name in settings[word]["order"]] if word in settings else [word]


def _like_cityscapes(
    root: Path, split: str, kind: str, pairs: tuple[tuple[str, LabelRule], ...], title: str
) -> DataSet:
    masks = _folder(root / kind / split)
    for ids, rule in pairs:
        suffix = f"_{kind}_{ids}.png"
        files = sorted(masks.rglob(f"*{suffix}"))
        if files:
            cases = []
            for mask in files:
                name = mask.relative_to(masks).as_posix().removesuffix(suffix)
                image = root / "leftImg8bit" / split / f"{name}_leftImg8bit.png"
                cases.append(Case(name, image if image.is_file() else None, mask))
            return DataSet(f"{title} {split}", rule, tuple(cases))
    wanted = " or ".join(f"*_{kind}_{ids}.png" for ids, _ in pairs)
    raise ValueError(f"{masks} contains no {wanted}: check the layout and the split")


def _two_folders(name: str, images: Path, masks: Path, rule: LabelRule) -> DataSet:
    """Pair masks with images of the same path, ignoring suffixes."""
    pictures = {p.relative_to(images).with_suffix("").as_posix(): p for p in scan(images)}
    cases = []
    for mask in scan(masks):
        key = mask.relative_to(masks).with_suffix("").as_posix()
        cases.append(Case(key, pictures.get(key), mask))
    _refuse_more(pictures, {case.name for case in cases}, masks)
    return DataSet(name, rule, tuple(cases))


def _refuse_more(pictures: Mapping[str, Path], masked: Collection[str], masks: Path) -> None:
    """Raise ValueError if an image has no mask, because it would be skipped without notice."""
    more = [path for name, path in pictures.items() if name not in masked]
    if more:
        others = f" (and {len(more) - 1} more)" if len(more) > 1 else ""
        raise ValueError(
            f"{more[0]} has no mask in {masks}{others}: add the mask or move the image away"
        )


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"the folder {path} does not exist: check the layout and the split")
    return path


def _names(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ValueError(f"cannot read the list {path}: {error.strerror}") from error
    return [checked_name(name).as_posix() for name in names if name]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
