"""The state of a run on disk: nested dicts of tensors and numbers as safetensors, no pickle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

KEY = "owlabel-state"


def keep_or_begin_anew(work: Path, about: Any) -> None:
    """Empty the folder of a run that was interrupted and that was about something else.

    Parameters
    ----------
    work : Path
        Where the run keeps its state; made if missing.
    about : plain JSON
        What must be the same for the run to go on: which classes, which labels it is measured by.
    """
    file, text = work / "about.json", json.dumps(about)
    if file.exists() and file.read_text(encoding="utf-8") != text:
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    part = work / ".about.json.part"
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def write(tree: Any, path: Path) -> None:
    """Write dicts, lists, numbers, strings, None and tensors to a file, whole or not at all.

    Raises
    ------
    ValueError
        If the tree holds something else.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_packed(tree, tensors))
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors or {"none": torch.zeros(1)}, part, metadata={KEY: text})
    part.replace(path)


def read(path: Path) -> Any:
    """Return what `write` wrote.

    Raises
    ------
    ValueError
        If the file is no state.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is no state of a run: {error}") from error
    if text is None:
        raise ValueError(f"{path} is no state of a run")
    return _unpacked(json.loads(text), tensors)


def _packed(node: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the JSON form of a node; its tensors go into `tensors`."""
    if isinstance(node, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = node.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(node, dict):
        return {"dict": [[key, _packed(value, tensors)] for key, value in node.items()]}
    if isinstance(node, list | tuple):
        return [_packed(value, tensors) for value in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise ValueError(f"a state cannot hold {type(node).__name__}")


def _unpacked(node: Any, tensors: dict[str, Tensor]) -> Any:
    """Turn the JSON form back."""
    if isinstance(node, list):
        return [_unpacked(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        return tensors[node["tensor"]]
    return {key: _unpacked(value, tensors) for key, value in node["dict"]}
