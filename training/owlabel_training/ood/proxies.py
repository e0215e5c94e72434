"""OoD proxies: pictures with masked objects that no known class is, from three sources.

Every fault of the data is a ValueError that names the file, before any training starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import label as connected

from owlabel.classes import MAX_CLASSES, OOD_PROXY, UNSET, VOID
from owlabel.formats.labels import run_lengths
from owlabel.images import files as images
from owlabel.project.store import Project
from owlabel_training.core.data import read_names
from owlabel_training.core.project_frames import shrunk
from owlabel_training.ood.recipe import ProxyRecipe

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
VAL_STEP = 4
"""Without a list of its own, every fourth proxy validates."""


@dataclass(frozen=True)
class Proxy:
    """One picture with OoD objects.

    Attributes
    ----------
    name : str
    image : array of uint8, shape (H, W, 3)
    labels : array of uint8, shape (H, W)
        254 on the objects; 255 elsewhere, but known classes where somebody has labelled them.
    """

    name: str
    image: Pixels
    labels: Pixels


@dataclass(frozen=True)
class Cutout:
    """One object cut out: `image` (h, w, 3) and `mask` (h, w), its bounding box."""

    image: Pixels
    mask: Mask


def read_proxies(
    recipe: ProxyRecipe, largest_side: int, project: Project | None = None
) -> tuple[list[Proxy], list[Proxy]]:
    """Return the proxies to train on and those to validate on.

    With fewer than four of them, and no lists, all are used for both.

    Parameters
    ----------
    recipe : ProxyRecipe
    largest_side : int
        Pictures with a longer side are reduced to it as they are read, as the model does with
        images: `Segmenter.largest_side`.
    project : Project, optional
        Needed for the source "project".

    Raises
    ------
    ValueError
        If nothing usable is found, or a file is missing, unreadable, of another size, or holds
        values it must not.
    """
    train, val = (_names(recipe, name) for name in (recipe.train, recipe.val))
    if train is not None and val is not None:
        if shared := sorted(set(train) & set(val)):
            raise ValueError(f"proxies are in both lists: {shared[:5]}")
        both = [reduced(read_folder(recipe, names), largest_side) for names in (train, val)]
        return both[0], both[1]
    proxies = reduced(_all_proxies(recipe, train or val, project), largest_side)
    if len(proxies) < VAL_STEP:
        return proxies, proxies
    return [p for i, p in enumerate(proxies) if i % VAL_STEP], proxies[::VAL_STEP]


def _all_proxies(
    recipe: ProxyRecipe, names: Sequence[str] | None, project: Project | None
) -> Iterator[Proxy]:
    """Return what a source holds; of a folder, the named pictures or all."""
    if recipe.source == "folder":
        return read_folder(recipe, names)
    if recipe.source == "coco":
        return read_coco(recipe)
    if project is None:
        raise ValueError("proxy.source = project needs a project: use the panel or `train-ood`")
    return read_project(project)


def reduced(proxies: Iterator[Proxy], largest_side: int) -> list[Proxy]:
    """Return proxies at the size in which the model sees them, one at a time as they are read.

    An object that is too small to survive is passed over.

    Raises
    ------
    ValueError
        If there were proxies, and no object is left.
    """
    small = (Proxy(p.name, *shrunk(p.image, p.labels, largest_side)) for p in proxies)
    gone = f"no object is left where the pictures are reduced to {largest_side} pixels a side"
    return list(_with_objects(small, gone))


def _names(recipe: ProxyRecipe, name: str) -> tuple[str, ...] | None:
    """Return the names of a list in a proxy folder; None where no list is named."""
    return read_names(Path(recipe.path) / name) if name and recipe.source == "folder" else None


# -- a folder ------------------------------------------------------------------------------------


def read_folder(recipe: ProxyRecipe, names: Sequence[str] | None = None) -> Iterator[Proxy]:
    """Yield the pictures of ``images/`` that have a mask in ``masks/`` with an object.

    Mask values: `recipe.ood_ids` are objects, 0 and 255 are not, anything else is refused.
    """
    folder = Path(recipe.path)
    if not recipe.path or not folder.is_dir():
        raise ValueError(f"there is no proxy folder {folder}: it must hold images/ and masks/")
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise ValueError(f"the proxy folder {folder} has no {name}/: pictures go to images/, "
                             "masks of the same name to masks/")  # fmt: skip
    masks = {p.stem: p for p in sorted((folder / "masks").iterdir()) if p.suffix.lower() == ".png"}
    wanted = sorted(masks) if names is None else list(names)
    if not wanted:
        raise ValueError(f"the proxy folder {folder} is empty: it has no masks/*.png")
    missing = [name for name in wanted if name not in masks]
    if missing:
        raise ValueError(f"{folder / 'masks'} has no mask for {missing[:5]}")
    yield from _with_objects(
        (_from_files(folder, name, masks[name], recipe) for name in _thinned(wanted, recipe.limit)),
        f"no mask in {folder / 'masks'} holds an object: give its pixels one of the values "
        f"{list(recipe.ood_ids)}",
    )


def _from_files(folder: Path, name: str, mask_path: Path, recipe: ProxyRecipe) -> Proxy:
    pictures = [p for s in SUFFIXES for p in (folder / "images").glob(f"{name}{s}")]
    if not pictures:
        raise ValueError(f"{mask_path} has no picture of its name in {folder / 'images'}")
    image = images.read(pictures[0])
    try:
        with Image.open(mask_path) as file:
            mask = np.asarray(file)
    except OSError as error:
        raise ValueError(f"cannot read the mask {mask_path}: {error}") from error
    if mask.dtype == np.bool_:
        mask = mask.astype(np.uint8)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(
            f"{mask_path} must be an 8-bit one-channel PNG, got {mask.dtype} {mask.shape}"
        )
    if mask.shape != image.shape[:2]:
        raise ValueError(
            f"{mask_path} has size {mask.shape}, its picture {pictures[0].name} {image.shape[:2]}: "
            "save the mask at the size of its picture"
        )
    allowed = {0, VOID, *recipe.ood_ids}
    wrong = sorted(set(np.unique(mask).tolist()) - allowed)
    if wrong:
        raise ValueError(
            f"{mask_path} has the values {wrong[:8]}; allowed are {sorted(allowed)}: "
            f"{list(recipe.ood_ids)} are OoD objects (proxy.ood_ids), 0 and 255 are ignored"
        )
    return Proxy(name, image, _labels(np.isin(mask, recipe.ood_ids)))


# -- COCO ----------------------------------------------------------------------------------------


def read_coco(recipe: ProxyRecipe) -> Iterator[Proxy]:
    """Yield the pictures of a COCO JSON file without any excluded category.

    The mask is the union of all annotated instances: polygons, compressed and plain run lengths.
    """
    path = Path(recipe.path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the COCO file {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    try:
        chosen = _chosen(content, set(recipe.exclude))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{path} is no COCO file of instances: {reason}") from error
    if not chosen:
        raise ValueError(
            f"{path} has no annotated picture without the categories {sorted(recipe.exclude)}"
        )
    folder = _coco_images(recipe, path)
    yield from _with_objects(
        (_from_coco(path, folder, *row) for row in _thinned(chosen, recipe.limit)),
        f"no picture of {path} holds an object",
    )


def _chosen(
    content: Mapping[str, Any], excluded: set[str]
) -> list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Return image entries with their annotations, those with an excluded category left out."""
    names = {int(row["id"]): str(row["name"]) for row in content["categories"]}
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for row in content["annotations"]:
        category = int(row["category_id"])
        if category not in names:
            raise ValueError(f"annotation {row.get('id')} has the category id {category}, "
                             f"which no category has; there are {sorted(names)[:20]}")  # fmt: skip
        by_image.setdefault(int(row["image_id"]), []).append(row)
    chosen = []
    for image in content["images"]:
        rows = by_image.get(int(image["id"]), [])
        if rows and not any(names[int(r["category_id"])] in excluded for r in rows):
            chosen.append((image, rows))
    return chosen


def _coco_images(recipe: ProxyRecipe, path: Path) -> Path:
    if recipe.images:
        folder = Path(recipe.images)
        if not folder.is_dir():
            raise ValueError(f"there is no folder of pictures {folder}")
        return folder
    beside = path.parent / "images"
    return beside if beside.is_dir() else path.parent


def _from_coco(
    path: Path, folder: Path, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Proxy:
    """Return one picture with the union of its instances."""
    try:
        name, shape = str(entry["file_name"]), (int(entry["height"]), int(entry["width"]))
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError("its file name leaves the folder of pictures")
        image = images.read(folder / name)
        if image.shape[:2] != shape:
            raise ValueError(f"the picture has size {image.shape[:2]}, the file says {shape}")
        flat = np.zeros(shape[0] * shape[1], np.uint8)  # column after column
        for row in rows:
            _paint(flat, row["segmentation"], shape)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}, {entry.get('file_name', entry.get('id'))}: {error}") from error
    return Proxy(name, image, _labels(flat.reshape(shape, order="F") > 0))


def _paint(flat: Pixels, segmentation: Any, shape: tuple[int, int]) -> None:
    if isinstance(segmentation, list):
        run_lengths.paint_polygons(flat, segmentation, shape, 1)
        return
    counts = segmentation["counts"]
    if tuple(segmentation.get("size", shape)) != shape:
        raise ValueError(f"a mask has size {segmentation['size']}, the picture {list(shape)}")
    if isinstance(counts, str):
        run_lengths.paint(flat, counts, 1)
    else:
        run_lengths.paint_runs(flat, [int(count) for count in counts], 1)


# -- the project ---------------------------------------------------------------------------------


def read_project(project: Project) -> Iterator[Proxy]:
    """Yield the images in which people have labelled novel classes: their pixels are OoD objects.

    Pixels that people gave a known class keep it; unlabelled pixels are ignored.
    """
    base = len(project.classes().base)
    yield from _with_objects(
        _annotated(project, base),
        "this project has no annotated OoD object: click one and name it, or take a proxy folder",
    )


def _annotated(project: Project, base: int) -> Iterator[Proxy]:
    for record in project.images():
        if record.error is None and record.revision_id is not None:
            human = project.human_labels(record.id)
            labels = proxy_labels(human, base)
            if (labels == OOD_PROXY).any():
                yield Proxy(record.relative, images.read(record.path), labels)


def proxy_labels(human: Pixels, base: int) -> Pixels:
    """Return a human layer as training labels: novel 254, unlabelled 255, known ones stay."""
    labels = human.copy()
    labels[(human >= base) & (human < MAX_CLASSES)] = OOD_PROXY
    labels[human == UNSET] = VOID
    return labels


# -- objects -------------------------------------------------------------------------------------


def cutouts(proxies: Sequence[Proxy], min_area: int, pieces: bool) -> list[Cutout]:
    """Return the objects of some proxies, each in its bounding box.

    Parameters
    ----------
    proxies : sequence of Proxy
    min_area : int
        Smaller ones are passed over; where that leaves none, the largest is taken.
    pieces : bool
        Each 8-connected piece alone, or all objects of a picture together.
    """
    objects = []
    for proxy in proxies:
        mask = proxy.labels == OOD_PROXY
        numbered = connected(mask, connectivity=2) if pieces else mask.astype(np.int32)  # type: ignore[no-untyped-call]
        sizes = np.bincount(numbered.ravel())
        for number in range(1, len(sizes)):
            objects.append((int(sizes[number]), proxy, numbered, number))
    chosen = [row for row in objects if row[0] >= min_area]
    if not chosen and objects:
        chosen = [max(objects, key=lambda row: row[0])]
    return [_cut(proxy.image, numbered == number) for _, proxy, numbered, number in chosen]


def _cut(image: Pixels, mask: Mask) -> Cutout:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(image[box].copy(), mask[box].copy())


def _labels(objects: Mask) -> Pixels:
    return np.where(objects, np.uint8(OOD_PROXY), np.uint8(VOID))


def _with_objects(proxies: Iterator[Proxy], otherwise: str) -> Iterator[Proxy]:
    """Pass on what holds an object; raise ValueError where nothing does."""
    empty = True
    for proxy in proxies:
        if (proxy.labels == OOD_PROXY).any():
            empty = False
            yield proxy
    if empty:
        raise ValueError(otherwise)


def _thinned(rows: Sequence[Any], limit: int) -> list[Any]:
    """Return at most `limit` rows, evenly spread."""
    if len(rows) <= limit:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, limit).round().astype(int)]
