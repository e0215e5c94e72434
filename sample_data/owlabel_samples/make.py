"""Write scenes to disk: ``python -m owlabel_samples.make --train DIR``, or see ``--help``.

A training set is a folder with ``images/NAME.png``, ``labels/NAME.png`` and ``classes.json``.  None
of its scenes shows a strange object.  Strange scenes have the same layout plus ``masks/NAME.png``,
which is 1 on strange objects.  Every strange scene shows at least one, so the folder can serve as
proxies for OoD training.  The shipped set is the 32 images of this package.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from owlabel_samples.kinds import BALE, DEER, KNOWN, SOFA, STRANGE, TROLLEY, rows
from owlabel_samples.scenes import Scene, generate

SHIPPED_SEED = 1_000_000
"""First seed of the shipped images; training images use smaller seeds."""
PLAN: list[tuple[int, ...]] = [
    (DEER,),
    (BALE,),
    (SOFA,),
    (TROLLEY,),
    (DEER, BALE),
    (),
    (SOFA, TROLLEY),
    (BALE,),
    (DEER, SOFA),
    (TROLLEY,),
    (),
    (BALE, TROLLEY),
    (DEER,),
    (SOFA,),
    (DEER, TROLLEY),
    (BALE, SOFA),
    (),
    (TROLLEY,),
    (DEER, BALE),
    (SOFA,),
    (BALE,),
    (DEER,),
    (),
    (SOFA, TROLLEY),
    (DEER, BALE, SOFA),
    (TROLLEY,),
    (BALE,),
    (),
    (SOFA, DEER),
    (TROLLEY, BALE),
    (DEER, TROLLEY),
    (),
]
"""The strange kinds of each shipped image."""


def write_labels(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write class ids (H, W) as an indexed PNG in the colours of the classes."""
    palette = np.zeros((256, 3), np.uint8)
    for number, (_, color) in enumerate(KNOWN + STRANGE):
        palette[number] = color
    picture = Image.fromarray(labels, "P")
    picture.putpalette(palette.tobytes())
    picture.save(path, optimize=True)


def visible(scene: Scene, kinds: tuple[int, ...], least: int = 250) -> bool:
    """Return whether each of `kinds` covers at least `least` pixels."""
    counts = np.bincount(scene.labels.ravel(), minlength=256)
    return all(counts[kind] >= least for kind in kinds)


def shipped_scene(number: int, size: tuple[int, int] = (240, 320)) -> Scene:
    """Return the scene of shipped image `number`, from the first seed that shows its kinds."""
    kinds = PLAN[number]
    for attempt in range(100):
        scene = generate(SHIPPED_SEED + 100 * number + attempt, size, bool(kinds), kinds)
        if visible(scene, kinds):
            return scene
    raise ValueError(f"image {number}: none of 100 scenes shows all of the kinds {kinds}")


def write_training_set(folder: Path, count: int, first_seed: int, size: tuple[int, int]) -> None:
    """Write `count` scenes without strange objects."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    table = json.dumps(rows(strange=False), indent=1)
    (folder / "classes.json").write_text(table, encoding="utf-8")
    for seed in range(first_seed, first_seed + count):
        scene = generate(seed, size)
        Image.fromarray(scene.image).save(folder / "images" / f"street_{seed:05d}.png")
        write_labels(folder / "labels" / f"street_{seed:05d}.png", scene.labels)


def write_strange(
    folder: Path, count: int, first_seed: int, size: tuple[int, int], kinds: Sequence[int]
) -> None:
    """Write `count` scenes and masks; each scene shows one of these kinds, in turn."""
    for name in ("images", "labels", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    table = json.dumps(rows(strange=True), indent=1)
    (folder / "classes.json").write_text(table, encoding="utf-8")
    seed = first_seed
    for number in range(count):
        kind = (kinds[number % len(kinds)],)
        scene = generate(seed, size, True, kind)
        while not visible(scene, kind):
            seed += 1
            scene = generate(seed, size, True, kind)
        name = f"strange_{seed:05d}.png"
        Image.fromarray(scene.image).save(folder / "images" / name)
        write_labels(folder / "labels" / name, scene.labels)
        Image.fromarray((scene.labels >= len(KNOWN)).astype(np.uint8)).save(folder / "masks" / name)
        seed += 1


def kinds_by_name(names: str) -> list[int]:
    """Return the class ids of strange kinds from their comma-separated names; all if empty.

    Raises
    ------
    ValueError
        If a kind is unknown.
    """
    known = {name: len(KNOWN) + index for index, (name, _) in enumerate(STRANGE)}
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"unknown strange kinds {unknown}; choose from {list(known)}")
    return [known[name] for name in wanted]


def write_shipped(folder: Path) -> None:
    """Write the sample images as JPEG and their labels as PNG."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(len(PLAN)):
        scene = shipped_scene(number)
        name = f"street_{number + 1:02d}"
        Image.fromarray(scene.image).save(
            folder / "images" / f"{name}.jpg", quality=90, subsampling=0
        )
        write_labels(folder / "labels" / f"{name}.png", scene.labels)


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m owlabel_samples.make", description=__doc__)
    parser.add_argument("--train", type=Path, metavar="DIR", help="write a training set here")
    parser.add_argument(
        "--strange", type=Path, metavar="DIR", help="write scenes with strange objects, and masks"
    )
    parser.add_argument(
        "--kinds", default="", help="kinds for --strange, such as 'deer,sofa'; default: all four"
    )
    parser.add_argument("--count", type=int, default=400, help="scenes to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first scene")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    parser.add_argument(
        "--shipped", type=Path, metavar="DIR", help="write the 32 sample images here"
    )
    options = parser.parse_args(arguments)
    if not any((options.train, options.strange, options.shipped)):
        parser.error("nothing to write; give --train DIR, --strange DIR or --shipped DIR")
    try:
        kinds = kinds_by_name(options.kinds)
    except ValueError as error:
        parser.error(str(error))
    if not 0 <= options.seed <= SHIPPED_SEED - options.count:
        parser.error(
            f"--seed must be at least 0 and --seed plus --count at most {SHIPPED_SEED}, because "
            "larger seeds belong to the sample images"
        )
    cv2.setNumThreads(1)  # for many short operations, threads cost more than they save
    if options.train is not None:
        write_training_set(options.train, options.count, options.seed, tuple(options.size))
    if options.strange is not None:
        write_strange(options.strange, options.count, options.seed, tuple(options.size), kinds)
    if options.shipped is not None:
        write_shipped(options.shipped)


if __name__ == "__main__":
    main()
