"""The device of the models: a GPU if torch sees one, or the device set in the environment."""

from __future__ import annotations

import os

import torch

DEVICE = "OWLABEL_DEVICE"
"""Environment variable: ``cpu``, ``cuda`` or ``cuda:N``.  If unset, a GPU is used if available."""


def chosen_device() -> torch.device:
    """Return the device for inference and training.

    Raises
    ------
    ValueError
        If the environment variable names a missing device, or its value is not a device.
    """
    value = os.environ.get(DEVICE, "").strip()
    if not value:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    remedy = f"set it to cpu, cuda or cuda:N, or unset {DEVICE}"
    try:
        device = torch.device(value)
    except RuntimeError:
        raise ValueError(f"{DEVICE} is {value!r}, which is not a device: {remedy}") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{DEVICE} is {value!r}, which is not supported: {remedy}")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"{DEVICE} is {value!r}, but torch sees {count or 'no'} GPU: {remedy}")
    return device
