"""Where models run: on a GPU if torch sees one, or where the environment says."""

from __future__ import annotations

import os

import torch

DEVICE = "OWLABEL_DEVICE"
"""Environment variable: ``cpu``, ``cuda`` or ``cuda:N``; without it a GPU is used if there is one.
"""


def chosen_device() -> torch.device:
    """Return the device that models are moved to, for inference and for training.

    Raises
    ------
    ValueError
        If the environment names a device that is not there, or none at all.
    """
    said = os.environ.get(DEVICE, "").strip()
    if not said:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    remedy = f"set it to cpu, cuda or cuda:N, or unset {DEVICE}"
    try:
        device = torch.device(said)
    except RuntimeError:
        raise ValueError(f"{DEVICE} is {said!r}, which is no device: {remedy}") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{DEVICE} is {said!r}, which is not supported: {remedy}")
    seen = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= seen:
        raise ValueError(f"{DEVICE} is {said!r}, but torch sees {seen or 'no'} GPU: {remedy}")
    return device
