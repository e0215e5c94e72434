"""Clusters of a data set: build them, show them and name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import LabelClass
from owlabel.session.core.acts import Acts
from owlabel.session.core.worker_link import WorkerLink
from owlabel.view.clusters import catalog
from owlabel.view.clusters.catalog import NAMES, ClusterInfo, ClusterSet
from owlabel.view.view import View

if TYPE_CHECKING:  # pydantic is loaded where a request is made
    from owlabel.jobs.requests.clusters import ClusterRequest


class Clusters:
    """The clusters of a session's data set.

    Parameters
    ----------
    view : View
    acts : Acts
    worker : WorkerLink
    """

    def __init__(self, view: View, acts: Acts, worker: WorkerLink) -> None:
        self._view, self._acts, self._worker = view, acts, worker
        self._proposed = (
            self._view.project.setting(NAMES) or {}
        )  # names for which proposals were submitted

    def payload(self, request: ClusterRequest) -> dict[str, Any]:
        """Return the fields of the job that builds clusters; raises ValueError."""
        if not self._view.images.ids:
            raise ValueError("this project has no readable image: add images to its folder")
        return {
            "checkpoint": self._worker.relative(self._view.model.path),
            "settings": request.settings(len(self._view.classes.classes)),
            "kinds": request.kinds,
        }

    def build(self, request: ClusterRequest) -> int:
        """Submit a job that clusters pixels and OoD candidates of all images; return its id.

        Raises
        ------
        ValueError
            If the project has no readable image.
        """
        return self._worker.submit("auxiliary_labels", self.payload(request))

    def current(self) -> ClusterSet | None:
        """Return the clusters that were built last, or None."""
        return catalog.current(self._view.project.cache)

    def names(self) -> dict[str, int]:
        """Return the class id of each named cluster."""
        clusters = self.current()
        return {} if clusters is None else catalog.names(self._view.project, clusters.key)

    def list_all(self) -> list[ClusterInfo]:
        """Return the clusters of pixels, then those of candidates, each with the largest first."""
        clusters = self.current()
        return [] if clusters is None else catalog.list_clusters(self._view.project, clusters)

    def auxiliary_labels(self) -> NDArray[np.uint8] | None:
        """Return the auxiliary labels of the current image, uint8 (H, W), or None.

        Pixels without a label are 255. The labels are numbers of clusters, not ids of classes.
        """
        clusters, record = self.current(), self._view.record()
        cache = self._view.project.cache
        stored = clusters and catalog.read_map(cache, clusters.key, record.content_hash)
        return stored.labels if stored and stored.labels.shape == record.shape else None

    def unknown_objects(self, cluster: str) -> NDArray[np.bool_] | None:
        """Return the mask (H, W) of a cluster of candidates, e.g. "c2", in the current image.

        None if there are no clusters of candidates.
        """
        clusters = self.current()
        number = int(cluster.removeprefix("c"))
        if clusters is None:
            return None
        return catalog.cluster_mask(self._view.project, clusters, self._view.record(), number)

    def agreement(self) -> Mapping[str, float | int] | None:
        """Return the PmIoU against human labels, or None if no pixel is labelled."""
        clusters = self.current()
        return None if clusters is None else catalog.agreement(self._view.project, clusters)

    def name(self, cluster: str, name: str, *, key: str | None = None) -> LabelClass | None:
        """Name a cluster: its masks in all images become proposals of this class.

        Parameters
        ----------
        cluster : str
            As `ClusterInfo.name`: "7", or "c2" for a cluster of OoD candidates.
        name : str
            Name of a class, existing or new; "" removes the name.
        key : str, optional
            For replays: key of the clusters that were named.

        Returns
        -------
        LabelClass or None

        Raises
        ------
        ValueError
            If there is no such cluster, or the name is malformed.
        """
        key = self._known_cluster(cluster) if key is None else key
        known = self._view.classes.find(name) if name.strip() else None
        payload = {"cluster": cluster, "name": name.strip(), "key": key}
        label = f"name cluster {cluster}"
        with self._acts.act("name_cluster", payload, label) as action:
            named = known or (action.add_class(name) if name.strip() else None)
            all_names = {k: dict(v) for k, v in (self._view.project.setting(NAMES) or {}).items()}
            of_key = {k: v for k, v in all_names.get(key, {}).items() if k != cluster}
            all_names[key] = of_key if named is None else {**of_key, cluster: named.id}
            action.set_setting(NAMES, all_names)
        return named

    def _known_cluster(self, cluster: str) -> str:
        """Return the key of the current clusters; raises ValueError if `cluster` is unknown."""
        clusters = self.current()
        if clusters is None:
            raise ValueError("this project has no clusters yet: build them first")
        count = clusters.kinds if cluster.startswith("c") else clusters.clusters
        number = cluster.removeprefix("c")
        if not (number.isdecimal() and int(number) < count):
            raise ValueError(
                f"there is no cluster {cluster!r}: pixels have 0 .. {clusters.clusters - 1}"
                + (f", candidates have c0 .. c{clusters.kinds - 1}" if clusters.kinds else "")
            )
        return clusters.key

    def take_due(self) -> dict[str, Any] | None:
        """Return the payload of a proposal job once after names have changed, else None."""
        names = self._view.project.setting(NAMES) or {}
        if names == self._proposed:
            return None
        self._proposed = names
        return self._proposals_payload()

    def _proposals_payload(self) -> dict[str, Any] | None:
        clusters = self.current()
        if clusters is None:
            return None
        names = catalog.names(self._view.project, clusters.key)
        return {"key": clusters.key, "names": names}

    def propose(self) -> None:
        """Submit a job that proposes the masks of all named clusters."""
        payload = self._proposals_payload()
        if payload is not None:
            self._worker.submit("cluster_proposals", payload)
