"""OoD training as a background job of a project: entropy maximisation, RPL, RPL + CoroCL."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from owlabel.checkpoints.residual_header import MODEL_KIND
from owlabel.jobs.job import JobContext, Progress
from owlabel.models.weights import load
from owlabel.project.store import Project
from owlabel.project.tables.catalog import inside
from owlabel_training.core.project_frames import project_frames
from owlabel_training.core.project_models import add_model
from owlabel_training.core.run_state import keep_or_begin_anew
from owlabel_training.ood.data import OodData, ood_data
from owlabel_training.ood.proxies import read_proxies
from owlabel_training.ood.recipe import EntropyRecipe, OodRecipe, ProxyRecipe, ResidualRecipe
from owlabel_training.ood.run import summary, train_method, write_result

METHODS = ("entropy", "rpl", "rpl_corocl")
SMALL: dict[str, dict[str, Any]] = {
    "entropy": {"lr": 1e-5, "freeze_statistics": True},
    "rpl": {"lr": 7.5e-4, "samples": 128},
}
"""What differs from the papers on two CPU cores: fixed statistics; a higher rate for few steps."""
SMALL_COURSE: dict[str, Any] = {
    "epochs": 5, "steps_per_epoch": 40, "batch_size": 4, "crop": [240, 240], "scale": [0.75, 1.25],
    "patience": 3,
}  # fmt: skip


@dataclass(frozen=True)
class OodTrainingJob:
    """Train on the images of a project.  The base model's file is never changed.

    Attributes
    ----------
    method : {"entropy", "rpl", "rpl_corocl"}
    checkpoint : str
        Base model, relative to the project's folder.
    proxy : mapping
        Fields of `ProxyRecipe`.
    course : mapping
        Fields of `EntropyRecipe` or `ResidualRecipe` over the defaults for CPUs.
    name : str
        Of the new model; "" makes one from the method.
    """

    method: str
    checkpoint: str
    proxy: Mapping[str, Any] = field(default_factory=dict)
    course: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def recipe(self, base_name: str) -> OodRecipe:
        """Return the recipe; raises ValueError where a field is unknown or out of range."""
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {self.method!r}")
        entropy = self.method == "entropy"
        usual = SMALL["entropy" if entropy else "rpl"]
        given = {**SMALL_COURSE, **usual, **self.course}
        if not entropy:
            given["corocl"] = self.method == "rpl_corocl"
        name = self.name or f"{base_name} + {self.method.replace('_corocl', ' + CoroCL')}"
        return OodRecipe(
            name=name,
            proxy=ProxyRecipe(**self.proxy),
            entropy=EntropyRecipe(**given) if entropy else None,
            residual=None if entropy else ResidualRecipe(**given),
        )

    def run(self, context: JobContext) -> Generator[Progress, None, dict[str, Any]]:
        """Train, register what came out, and say what it is better and worse at.

        Raises
        ------
        ValueError
            Before the first step if proxies or fields are unusable; after it if the closed-set
            mIoU fell too far.
        """
        yield Progress(0, 0, "reading the OoD objects")
        with Project.open(context.project) as project:
            path = inside(project.folder, self.checkpoint)
            segmenter, header = load(path)
            recipe = self.recipe(header.name)
            proxies = read_proxies(recipe.proxy, segmenter.largest_side, project)
            yield Progress(0, 0, "reading the images")
            frames = project_frames(project, segmenter, header)
        data = ood_data((frames.train, frames.val), proxies, recipe.proxy)
        keep_or_begin_anew(context.work, {"measured on": _digest(data)})
        trained = yield from train_method(segmenter, data, recipe, context.work)
        metrics = {
            **summary(trained.course, labelled=frames.val_human > 0),
            **self._basis(data, frames.val_human),
        }
        with Project.open(context.project) as project:
            target = project.folder / "models" / f"ood-{context.work.name}.safetensors"
            write_result(trained.module, target, header, recipe, trained.course)
            kind = "entropy" if self.method == "entropy" else MODEL_KIND
            version = add_model(project, target, (recipe.name, kind), path, metrics)
        return {**version, "kind": kind, **metrics}

    def _basis(self, data: OodData, val_human: int) -> dict[str, Any]:
        """Return what the numbers rest on."""
        return {
            "method": self.method,
            "objects": len(data.objects),
            "val_objects": len(data.val_objects),
            "val_frames": len(data.val),
            "val_human_pixels": val_human,
            "frames": len(data.train),
        }


def _digest(data: OodData) -> str:
    """Return a digest of what before and after are measured on: people may label meanwhile."""
    digest = hashlib.sha256(repr([*data.val.names, len(data.val_objects)]).encode())
    for label in data.val.labels:
        digest.update(label.tobytes())
    return digest.hexdigest()
