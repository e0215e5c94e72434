"""What an OoD training can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

METHODS = {
    "rpl": "RPL",
    "rpl_corocl": "RPL + CoroCL",
    "entropy": "Entropy maximisation",
}
"""Method to its name for people, in the order in which they are offered."""


@dataclass(frozen=True)
class OodRequest:
    """What an annotator asks for.

    Attributes
    ----------
    method : str
        A key of `METHODS`.
    source : {"project", "folder", "coco"}
        Where OoD objects come from: annotated in this project, ``images/`` with ``masks/``, or a
        COCO JSON file.
    path : str
        The folder or the file.
    use : {"pasted", "whole"}
        Whether objects are pasted into the project's images or seen in their own pictures.
    ratio : float
        Proxy images for each of the project's (entropy maximisation).
    lambda_ood : float
        Weight of the OoD objective, 0 .. 1 (entropy maximisation).
    averaging : {"joint", "separate"}
        Of its two losses.
    epochs, steps_per_epoch : int
        After each epoch mIoU and AP are measured.
    """

    method: str = "rpl"
    source: str = "project"
    path: str = ""
    use: str = "pasted"
    ratio: float = 0.1
    lambda_ood: float = 0.9
    averaging: str = "joint"
    epochs: int = 5
    steps_per_epoch: int = 40

    def check(self) -> None:
        """Refuse at once what could not be trained; the worker checks every file.

        Raises
        ------
        ValueError
            If a value is unknown or out of range, or nothing is at the path.
        """
        if self.method not in METHODS:
            raise ValueError(f"the method must be one of {list(METHODS)}, got {self.method!r}")
        if self.source not in ("project", "folder", "coco"):
            raise ValueError(f"the source must be project, folder or coco, got {self.source!r}")
        if self.use not in ("pasted", "whole"):
            raise ValueError(f"objects are pasted or whole, got {self.use!r}")
        if not 0 < self.ratio <= 10:
            raise ValueError(f"the ratio must lie in (0, 10], got {self.ratio}")
        if not 0 <= self.lambda_ood <= 1:
            raise ValueError(f"lambda must lie in [0, 1], got {self.lambda_ood}")
        if self.averaging not in ("joint", "separate"):
            raise ValueError(f"averaging must be joint or separate, got {self.averaging!r}")
        if min(self.epochs, self.steps_per_epoch) < 1:
            raise ValueError("epochs and steps must be at least 1")
        self._check_path()

    def _check_path(self) -> None:
        path = Path(self.path).expanduser()
        if self.source != "project" and not self.path:
            raise ValueError("choose where the OoD objects come from: a folder or a COCO file")
        if self.source == "folder" and not (path / "masks").is_dir():
            raise ValueError(f"{path} is no proxy folder: it must hold images/ and masks/")
        if self.source == "coco" and not path.is_file():
            raise ValueError(f"there is no COCO file {path}")

    def payload(self, checkpoint: str) -> dict[str, Any]:
        """Return the fields of the job."""
        course: dict[str, Any] = {
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
        }
        if self.method == "entropy":
            course |= {"lambda_ood": float(self.lambda_ood), "averaging": self.averaging}
        path = str(Path(self.path).expanduser().resolve()) if self.path else ""
        proxy = {
            "source": self.source, "path": path, "use": self.use, "ratio": float(self.ratio),
        }  # fmt: skip
        return {
            "method": self.method, "checkpoint": checkpoint, "proxy": proxy, "course": course,
        }  # fmt: skip
