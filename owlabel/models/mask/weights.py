"""Saves and loads MaskFormers as safetensors with a JSON header, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from owlabel.checkpoints.header import CheckpointError, read_metadata
from owlabel.classes import ClassTable
from owlabel.models.mask.mask_former import MaskFormer, MaskFormerSettings
from owlabel.models.weights import load, write_whole

FORMAT = 1
"""Version of the header; a reader rejects newer versions."""
KEY = "owlabel-mask-former"
"""Key of the JSON text in the safetensors metadata; a segmenter's file has another key."""


@dataclass(frozen=True)
class MaskFormerHeader:
    """Everything about a MaskFormer except its weights.

    Attributes
    ----------
    name : str
    architecture : str
        A key of `owlabel.models.backbones.MODELS`.
    output_stride : int
    settings : MaskFormerSettings
    classes : ClassTable
        In channel order, ids 0 .. K - 1, base classes first; classes with only tags are novel.
    recipe : dict
        Training settings, for information only.
    """

    name: str
    architecture: str
    output_stride: int
    settings: MaskFormerSettings
    classes: ClassTable
    recipe: dict[str, Any] = field(default_factory=dict)


def save_mask_former(
    model: MaskFormer, path: Path, name: str, classes: ClassTable, recipe: Mapping[str, Any]
) -> None:
    """Write a MaskFormer to a file, completely or not at all; an existing file is replaced."""
    header = {
        "format": FORMAT, "name": name, "architecture": model.architecture,
        "output_stride": model.output_stride, "settings": asdict(model.settings),
        "classes": classes.to_json(), "recipe": dict(recipe),
    }  # fmt: skip
    state = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in model.state_dict().items()
        if value.dtype.is_floating_point
    }
    write_whole(state, {KEY: json.dumps(header, ensure_ascii=False)}, path)


def load_mask_former(path: Path | str) -> tuple[MaskFormer, MaskFormerHeader]:
    """Read a MaskFormer, ready for inference.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, newer than this program or not a MaskFormer, or its weights
        do not fit.
    """
    text = read_metadata(Path(path)).get(KEY)
    if text is None:
        raise CheckpointError(f"{path} is not a MaskFormer: train one with a recipe of [weak_shot]")
    try:
        header = _header(json.loads(text))
        model = MaskFormer(
            header.architecture, header.settings, len(header.classes), header.output_stride
        )
        counters = {k: v for k, v in model.state_dict().items() if not v.dtype.is_floating_point}
        model.load_state_dict({**counters, **load_file(path)})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return model.eval(), header


def _header(values: dict[str, Any]) -> MaskFormerHeader:
    if int(values["format"]) > FORMAT:
        raise CheckpointError(
            f"the file was written by a newer OWLabel (format {values['format']}, this version "
            f"reads up to {FORMAT}); update OWLabel to open it"
        )
    return MaskFormerHeader(
        str(values["name"]),
        str(values["architecture"]),
        int(values["output_stride"]),
        MaskFormerSettings(**values["settings"]),
        ClassTable.from_json(values["classes"]),
        dict(values.get("recipe", {})),
    )


def on_backbone_of(path: Path | str, settings: MaskFormerSettings, n_classes: int) -> MaskFormer:
    """Return a new MaskFormer whose backbone is a copy of a segmenter's; raises CheckpointError."""
    segmenter, header = load(path)
    stride = int(segmenter.settings["output_stride"])
    model = MaskFormer(header.architecture, settings, n_classes, stride)
    model.backbone.load_state_dict(segmenter.backbone.state_dict())
    return model
