"""Features for auxiliary labels, from the decoder of an OWLabel model or an ImageNet network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from owlabel.clusters.auxiliary_settings import NETWORKS
from owlabel.models.device import chosen_device
from owlabel.models.embed import image_features, prepare
from owlabel.models.segmenter import MEAN, STD
from owlabel.models.weights import load

Floats = NDArray[np.float32]
Features = Callable[[NDArray[np.uint8]], Floats]
LARGEST_SIDE = 1024


def decoder(path: Path) -> tuple[str, Features]:
    """Return the hash of a model's base head, and a function for the features of its classifier.

    Raises
    ------
    CheckpointError
        If the file is not an OWLabel checkpoint.
    """
    segmenter, header = load(path)
    head = segmenter.to(chosen_device()).head(0)

    @torch.inference_mode()
    def features(image: NDArray[np.uint8]) -> Floats:
        decoded = head.decode(image_features(segmenter, image))
        return np.ascontiguousarray(decoded[0].float().cpu().numpy())

    return header.heads[0].hash, features


def imagenet(name: str, path: Path) -> tuple[str, Features]:
    """Return the hash of a weights file, and a function for the network's dense features.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    path : Path
        Weights of the torchvision network: safetensors, or a PyTorch file that loads with
        ``weights_only``.

    Returns
    -------
    tuple
        The hash, and a function from an image to the features at stride 16, (D, h, w).

    Raises
    ------
    ValueError
        If the network is unknown, or the file is missing or holds other weights.
    """
    import torchvision  # type: ignore[import-untyped]

    if name not in NETWORKS:
        raise ValueError(f"network must be one of {NETWORKS}, got {name!r}")
    network = getattr(torchvision.models, name)(weights=None)
    state = _weights(path)
    _check(network.state_dict(), state, f"{path} does not hold the weights of {name}")
    network.load_state_dict(state)
    device = chosen_device()
    body = _body(network).eval().to(device)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))

    @torch.inference_mode()
    def features(image: NDArray[np.uint8]) -> Floats:
        dense: Tensor = body((prepare(image, LARGEST_SIDE).to(device) - mean) / std)
        return np.ascontiguousarray(dense[0].float().cpu().numpy())

    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return f"{name}-{digest}", features


def _check(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Raise ValueError with the first difference unless names and shapes agree."""
    counters = ".num_batches_tracked"  # old files lack them; torch does not need them
    if missing := [k for k in wanted if k not in given and not k.endswith(counters)]:
        raise ValueError(f"{what}: {missing[0]} is missing")
    if strange := [key for key in given if key not in wanted]:
        raise ValueError(f"{what}: {strange[0]} is unexpected")
    for key, value in given.items():
        if value.shape != wanted[key].shape:
            shapes = f"{tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
            raise ValueError(f"{what}: {key} has shape {shapes}")


def _body(network: Any) -> nn.Module:
    """Return the layers of a network up to stride 16."""
    if hasattr(network, "layer3"):
        stem = (network.conv1, network.bn1, network.relu, network.maxpool)
        return nn.Sequential(*stem, network.layer1, network.layer2, network.layer3)
    return nn.Sequential(*list(network.features)[:-1])  # VGG: all layers but the last pooling


def _weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file without running any code in it."""
    if not path.is_file():
        raise ValueError(f"the weights file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch documents no common error class
        raise ValueError(
            f"{path} is not a weights file: it is damaged, or neither safetensors nor a PyTorch "
            "file with tensors only"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ValueError(f"{path} does not hold a state dict of tensors")
    return loaded
