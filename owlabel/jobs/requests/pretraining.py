"""What pre-training on the unlabelled folder can be asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from owlabel.jobs.requests.clusters import ClusterRequest

STARTS = ("model", "random")


@dataclass(frozen=True)
class PretrainRequest:
    """What an annotator asks for.

    Attributes
    ----------
    clusters : ClusterRequest
        The auxiliary labels that pixels are contrasted by.
    iterations : int
        Steps of contrastive pre-training.
    tuning : int
        Steps of training on labels afterwards, so that the result can label.
    start : {"model", "random"}
        The weights of the model in use, or random ones.
    """

    clusters: ClusterRequest = field(default_factory=ClusterRequest)
    iterations: int = 300
    tuning: int = 200
    start: str = "model"

    def check(self, images: int) -> None:
        """Refuse at once what could not be trained.

        Raises
        ------
        ValueError
            If a value is out of range or there are too few images.
        """
        if self.iterations < 1 or self.tuning < 1:
            raise ValueError(f"steps must be at least 1, got {self.iterations} and {self.tuning}")
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {STARTS}, got {self.start!r}")
        if images < 2:
            raise ValueError(
                f"pre-training contrasts images with each other: at least two are needed, got "
                f"{images}"
            )
