"""Settings of an OoD training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from owlabel.checked_fields import CheckedFields, Shown, Steps

METHODS = {
    "rpl": "RPL",
    "rpl_corocl": "RPL + CoroCL",
    "entropy": "Entropy maximisation",
}
"""The displayed names of the methods, in the order in which they are offered."""
SOURCES = {"project": "annotated here", "folder": "folder with masks", "coco": "COCO file"}
USES = {"pasted": "pasted into these images", "whole": "in their own images"}
Source = Annotated[
    Literal["project", "folder", "coco"],
    Field(
        title="Objects",
        description="Where OoD objects come from: annotated in this project, a folder with "
        "images/ and masks/, or a COCO JSON file.",
    ),
    Shown(words=SOURCES),
]
Use = Annotated[
    Literal["pasted", "whole"],
    Field(
        title="Seen",
        description="Cut objects out and paste them into images of this project, or show them "
        "in their own images.",
    ),
    Shown(words=USES),
]
Ratio = Annotated[
    float,
    Field(
        gt=0,
        le=10,
        title="Per image",
        description="Images with OoD objects per image without; 0.1 in the paper. "
        "Entropy maximisation only.",
    ),
    Shown(step=0.05),
]
LambdaOod = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        title="Lambda",
        description="Weight of OoD pixels against the known classes; 0.9 in the paper. "
        "Entropy maximisation only.",
    ),
    Shown(step=0.05, option="--lambda"),
]
Averaging = Annotated[
    Literal["joint", "separate"],
    Field(
        title="Averaging",
        description="Average the loss over all pixels together (joint), as the authors' code "
        "does, or over known and OoD pixels apart (separate). Entropy maximisation only.",
    ),
]
Epochs = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        title="Epochs",
        description="Epochs of the training; mIoU and AP are measured after each.",
    ),
]


class OodRequest(CheckedFields):
    """Train the model on OoD objects, so that it detects unknown objects."""

    method: Annotated[
        Literal["rpl", "rpl_corocl", "entropy"],
        Field(title="Method", description="How the model learns to see OoD objects."),
        Shown(words=METHODS),
    ] = "rpl"
    source: Source = "project"
    path: Annotated[str, Field(title="From", description="The folder or the COCO file.")] = ""
    use: Use = "pasted"
    ratio: Ratio = 0.1
    lambda_ood: LambdaOod = 0.9
    averaging: Averaging = "joint"
    epochs: Epochs = 5
    steps_per_epoch: Annotated[
        Steps,
        Field(title="Steps each", description="Training steps in each epoch."),
        Shown(step=20, option="--steps"),
    ] = 40

    @model_validator(mode="after")
    def _path_is_given(self) -> OodRequest:
        if self.source != "project" and not self.path:
            raise ValueError("choose where the OoD objects come from: a folder or a COCO file")
        return self

    @property
    def method_name(self) -> str:
        """The displayed name of the method."""
        return METHODS[self.method]

    def payload(self, checkpoint: str) -> dict[str, Any]:
        """Return the fields of the job; the worker reads every file.

        Raises
        ------
        ValueError
            If the path is not a proxy folder or a COCO file.
        """
        course: dict[str, Any] = {
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
        }
        if self.method == "entropy":
            course |= {"lambda_ood": self.lambda_ood, "averaging": self.averaging}
        proxy = {
            "source": self.source, "path": self._resolved_path(), "use": self.use,
            "ratio": self.ratio,
        }  # fmt: skip
        return {
            "method": self.method, "checkpoint": checkpoint, "proxy": proxy, "course": course,
        }  # fmt: skip

    def _resolved_path(self) -> str:
        path = Path(self.path).expanduser()
        if self.source == "folder" and not (path / "masks").is_dir():
            raise ValueError(f"{path} is not a proxy folder: it must contain images/ and masks/")
        if self.source == "coco" and not path.is_file():
            raise ValueError(f"the COCO file {path} does not exist")
        return str(path.resolve()) if self.path else ""
