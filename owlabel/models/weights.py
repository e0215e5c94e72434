"""Saves and loads segmenters as safetensors with a JSON header."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from owlabel.checkpoints.header import (
    FORMAT,
    KEY,
    CheckpointError,
    CheckpointHeader,
    HeadInfo,
    read_header,
)
from owlabel.classes import ClassTable
from owlabel.models.segmenter import Segmenter


def save(
    segmenter: Segmenter,
    path: Path,
    *,
    name: str,
    classes: ClassTable,
    recipe: Mapping[str, Any] | None = None,
    half: bool = False,
) -> CheckpointHeader:
    """Write a segmenter to a safetensors file and return its header.

    Parameters
    ----------
    segmenter : Segmenter
    path : Path
        Replaced if it exists; a crash leaves the old file intact.
    name : str
        Shown to the annotator.
    classes : ClassTable
        Base classes 0 .. N-1 and the novel classes that have heads.
    recipe : mapping, optional
        Training settings, plain JSON values.
    half : bool
        Store the weights in 16 bits.

    Raises
    ------
    CheckpointError
        If the classes do not fit the heads.
    """
    state = _storable(segmenter, half)
    header = CheckpointHeader(
        format=FORMAT,
        name=name,
        architecture=segmenter.architecture,
        settings=dict(segmenter.settings),
        classes=classes,
        prototype_length=segmenter.prototype_length,
        kind=segmenter.kind,
        mean=cast("tuple[float, float, float]", tuple(segmenter.mean.flatten().tolist())),
        std=cast("tuple[float, float, float]", tuple(segmenter.std.flatten().tolist())),
        max_side=segmenter.max_side,
        heads=_head_infos(segmenter, state),
        recipe=dict(recipe or {}),
        large_images=segmenter.large_images,
    )
    write_whole(state, {KEY: header.to_json()}, path)
    return header


def load(path: Path | str) -> tuple[Segmenter, CheckpointHeader]:
    """Read a segmenter, ready for inference (float32, evaluation mode, channels last).

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, newer than this program, or its weights do not fit its
        architecture.
    """
    header = read_header(path)
    try:
        segmenter = Segmenter(
            header.architecture,
            header.settings,
            header.heads[0].outputs,
            kind=header.kind,
            prototype_length=header.prototype_length,
        )
        for head in header.heads[1:]:
            segmenter.add_head(cast(int, head.class_id))
        segmenter.max_side = header.max_side
        segmenter.large_images = header.large_images
        state = {key: value.float() for key, value in load_file(path).items()}
        segmenter.load_state_dict({**_integers(segmenter), **state})
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the weights do not fit: {error}") from error
    segmenter.to(memory_format=torch.channels_last)
    return segmenter.eval(), header


def _storable(segmenter: Segmenter, half: bool) -> dict[str, Tensor]:
    """Return the weights to store: contiguous, without counters, in 16 bits if `half`.

    Running statistics stay in 32 bits, because a variance may exceed the range of 16 bits.
    """
    stored: dict[str, Tensor] = {}
    for key, value in segmenter.state_dict().items():
        if not value.dtype.is_floating_point:
            continue
        value = value.detach().cpu().contiguous()
        small = half and value.ndim > 1 and "prototypes" not in key
        stored[key] = value.half() if small else value.clone()
    return stored


def _integers(segmenter: Segmenter) -> dict[str, Tensor]:
    """Return the batch counters, which files do not store."""
    state = segmenter.state_dict()
    return {key: value for key, value in state.items() if not value.dtype.is_floating_point}


def _head_infos(segmenter: Segmenter, state: Mapping[str, Tensor]) -> tuple[HeadInfo, ...]:
    """Return the id, outputs and hash of each head, computed from the stored values."""
    preprocessing = [
        segmenter.architecture,
        segmenter.kind,
        segmenter.settings,
        segmenter.prototype_length,
        segmenter.max_side,
    ]
    if (
        segmenter.large_images != "reduce"
    ):  # hashes from before this setting existed must stay the same
        preprocessing.append(segmenter.large_images)
    common = hashlib.sha256(json.dumps(preprocessing, sort_keys=True).encode())
    _digest(common, state, ("backbone.", "mean", "std"))
    infos = []
    for index, class_id in enumerate([None, *segmenter.novel_ids]):
        own = common.copy()
        _digest(own, state, (f"heads.{index}.",))
        infos.append(HeadInfo(class_id, segmenter.head(index).outputs, own.hexdigest()[:16]))
    return tuple(infos)


def _digest(digest: Any, state: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> None:
    """Add weights to a hash; equal values give the same hash in 16 and in 32 bits."""
    for key in sorted(state):
        if key.startswith(prefixes):
            # heads.1.x and heads.2.x differ by content, so the index stays out of the hash
            digest.update(key.split(".", 2)[-1].encode())
            digest.update(state[key].float().numpy().tobytes())


def write_whole(state: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write a safetensors file under a temporary name, flush it to disk, then rename it."""
    partial = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(state, partial, metadata=metadata)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
