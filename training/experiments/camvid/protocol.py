"""CamVid's open-world protocol: settings, frames, drives and supports, read from its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import VOID
from owlabel_training.core.data import Frames, read_frames, read_names

DRIVES = ("0001TP", "Seq05VD")
SEEDS = (0, 1, 2)
SETTINGS = ("10+1", "8+3", "9+2")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Setting:
    """One open-world setting in compact ids: known classes 0 .. N-1, then novel ones in order.

    Attributes
    ----------
    name : str
    known, novel : tuple of str
        Class names; `novel` in the order in which they are added.
    lookup : array of uint8, shape (256,)
        Id of the data set to compact id; 255 where it is no class.
    support : dict
        Seed to class to ``one_shot`` and ``five_shot`` lists of frames.
    """

    name: str
    known: tuple[str, ...]
    novel: tuple[str, ...]
    lookup: Pixels
    support: dict[str, Any]

    @property
    def n(self) -> int:
        """Number of known classes."""
        return len(self.known)

    @property
    def novel_ids(self) -> tuple[int, ...]:
        """Compact ids of the novel classes."""
        return tuple(range(self.n, self.n + len(self.novel)))

    def shots(self, seed: int, index: int, count: int) -> list[str]:
        """Return the support frames of the index-th novel class for 1 or 5 shots."""
        row = self.support[str(seed)][self.novel[index]]
        return list(row["one_shot" if count == 1 else "five_shot"])

    def truth(self, label: Pixels, added: int | None = None) -> Pixels:
        """Return a label map in compact ids; novel classes that are not added yet are VOID."""
        compact = self.lookup[label]
        last = self.n + (len(self.novel) if added is None else added)
        return np.where(compact < last, compact, np.uint8(VOID))


def read_setting(folder: Path, name: str) -> Setting:
    """Read one setting of ``protocol.json``.

    Raises
    ------
    ValueError
        If the file cannot be read or has no such setting.
    """
    path = folder / "protocol.json"
    try:
        protocol = json.loads(path.read_text(encoding="utf-8"))
        row = protocol["settings"][name]
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except KeyError as error:
        raise ValueError(f"{path} has no setting {name!r}") from error
    names = {text: int(number) for number, text in protocol["label_space"].items()}
    lookup = np.full(256, VOID, np.uint8)
    for compact, class_name in enumerate([*row["known"], *row["order"]]):
        lookup[names[class_name]] = compact
    return Setting(name, tuple(row["known"]), tuple(row["order"]), lookup, row["support"])


def read_list(folder: Path, split: str) -> Frames:
    """Return the frames of ``train``, ``val``, ``val_subset`` or ``test`` with all classes."""
    if split == "val_subset":
        protocol = json.loads((folder / "protocol.json").read_text(encoding="utf-8"))
        return read_frames(folder, protocol["eval"]["val_subset"])
    return read_frames(folder, read_names(folder / f"{split}.txt"))


def drives(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of the frames of each drive, and of all together."""
    parts = {drive: [i for i, n in enumerate(names) if n.startswith(drive)] for drive in DRIVES}
    return {**parts, "together": list(range(len(names)))}
