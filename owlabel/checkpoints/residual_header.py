"""The header of a residual block's file (RPL), and which block a project uses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from owlabel.checkpoints.header import CheckpointError, header_from_json, read_stored

FORMAT = 1
"""Version of the header; a reader rejects newer versions."""
KEY = "owlabel-residual"
"""Key of the JSON text in the safetensors metadata; a segmenter's file has another key."""
RPL_ENERGY = "rpl_energy"
"""Name of the block's score: -LSE of the residual path, smoothed."""
MODEL_KIND = "rpl"
"""Kind of a model version that is a residual block, not a complete model."""


@dataclass(frozen=True)
class ResidualHeader:
    """Everything about a residual block except its weights.

    Attributes
    ----------
    format : int
        Version of this header.
    name : str
        Shown to the annotator.
    base_hash : str
        Hash of the base head it was trained with; the block fits no other head.
    hash : str
        16 hex digits: a hash of `base_hash` and the block's weights.  It is the key of the block's
        cached energy.
    high_channels : int
        Channels of the deep feature that it reads.
    settings : dict
        Settings of the base head from which its ASPP was copied.
    recipe : dict
        Training settings, for information only.
    """

    format: int
    name: str
    base_hash: str
    hash: str
    high_channels: int
    settings: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the header as JSON text."""
        return json.dumps(vars(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ResidualHeader:
        """Read a header that `to_json` wrote.

        Raises
        ------
        CheckpointError
            If it is newer than this program, or a value is missing or malformed.
        """
        return header_from_json(text, FORMAT, _header)


def _header(values: Mapping[str, Any]) -> ResidualHeader:
    return ResidualHeader(
        format=int(values["format"]),
        name=str(values["name"]),
        base_hash=str(values["base_hash"]),
        hash=str(values["hash"]),
        high_channels=int(values["high_channels"]),
        settings=dict(values["settings"]),
        recipe=dict(values.get("recipe", {})),
    )


def read_residual_header(path: Path | str) -> ResidualHeader:
    """Return the header of a residual block's file without reading its weights.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, newer than this program, not safetensors, or not a
        residual block.
    """
    return read_stored(Path(path), KEY, "a residual block of OWLabel", ResidualHeader.from_json)


def setting_key(base_hash: str) -> str:
    """Return the key of the project setting with the block in use for a base head."""
    return f"residual_{base_hash}"


@dataclass(frozen=True)
class ResidualBlockFile:
    """A residual block that fits the model in use: its file and its header."""

    path: Path
    header: ResidualHeader


def residual_block_in_use(
    base_hash: str, setting: Callable[[str], Any], models: Callable[[], Any]
) -> ResidualBlockFile | None:
    """Return the block in use for a base head, or None if no block fits.

    Parameters
    ----------
    base_hash : str
        Hash of the base head.
    setting, models : callable
        `Project.setting` and `Project.models`; `models` is called only if the setting names a
        block.
    """
    wanted = setting(setting_key(base_hash))
    if wanted is None:
        return None
    path = next((m.path for m in models() if m.id == wanted), None)
    if path is None:
        return None
    try:
        header = read_residual_header(path)
    except CheckpointError:  # lost or damaged: only its overlay is missing
        return None
    return ResidualBlockFile(path, header) if header.base_hash == base_hash else None
