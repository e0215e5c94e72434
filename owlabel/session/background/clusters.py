"""Clusters of a data set: built in the background, looked at, named; a name proposes labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from owlabel.classes import LabelClass
from owlabel.session.background.calibration import Calibrating
from owlabel.view import cluster_catalog as cluster_set
from owlabel.view.cluster_catalog import NAMES, ClusterInfo, ClusterSet

if TYPE_CHECKING:
    from owlabel.jobs.requests.clusters import ClusterRequest

KIND, PROPOSALS = "auxiliary_labels", "cluster_proposals"


class Clustering(Calibrating):
    """An editor that has its data set clustered; `Session` has the worker."""

    _cluster_names: Any = None

    def cluster_payload(self, request: ClusterRequest) -> dict[str, Any]:
        """Return the fields of the job that builds what is asked for; raises ValueError."""
        if not self.records:
            raise ValueError("this project has no readable image to learn from")
        return {
            "checkpoint": self._relative(self.model.path),
            "settings": request.settings(len(self.classes.classes)),
            "kinds": request.kinds,
        }

    def build_clusters(self, request: ClusterRequest) -> int:
        """Group pixels and OoD candidates of all images in the worker; return the job's id.

        Raises
        ------
        ValueError
            If the settings do not fit together, or there is no file of weights.
        """
        return self._submit(KIND, self.cluster_payload(request))

    def cluster_set(self) -> ClusterSet | None:
        """Return what was built last, or None."""
        return cluster_set.current(self.project.cache)

    def cluster_names(self) -> dict[str, int]:
        """Return cluster to class id of what was named."""
        found = self.cluster_set()
        return {} if found is None else cluster_set.names(self.project, found.key)

    def clusters(self) -> list[ClusterInfo]:
        """Return the clusters of pixels, then those of OoD candidates, the largest first."""
        found = self.cluster_set()
        return [] if found is None else cluster_set.infos(self.project, found)

    def auxiliary_labels(self) -> NDArray[np.uint8] | None:
        """Return the auxiliary labels of the current image, uint8 (H, W), 255 for none; or None.

        They are no classes: their ids mean nothing beside class ids.
        """
        found, record = self.cluster_set(), self.record()
        made = found and cluster_set.read_map(self.project.cache, found.key, record.content_hash)
        return made.labels if made and made.labels.shape == record.shape else None

    def unknown_objects(self, cluster: str) -> NDArray[np.bool_] | None:
        """Return where the candidates of a cluster, like "c2", lie in the current image, (H, W).

        None where there are no clusters of candidates.
        """
        found = self.cluster_set()
        kind = int(cluster.removeprefix("c"))
        if found is None:
            return None
        return cluster_set.kind_mask(self.project, found, self.record(), kind)

    def cluster_agreement(self) -> Mapping[str, float | int] | None:
        """Return PmIoU against what people have labelled, None where there is nothing."""
        found = self.cluster_set()
        return None if found is None else cluster_set.agreement(self.project, found)

    def name_cluster(self, cluster: str, name: str, *, key: str | None = None) -> LabelClass | None:
        """Name a cluster: what it holds in all images is proposed for review as this class.

        Parameters
        ----------
        cluster : str
            As `ClusterInfo.name`: "7", or "c2" for a cluster of OoD candidates.
        name : str
            Of an existing class or of a new one; "" takes the name back.
        key : str, optional
            Replay: of the clusters that were named.

        Returns
        -------
        LabelClass or None

        Raises
        ------
        ValueError
            If there is no such cluster, or the name is malformed.
        """
        key = self._known_cluster(cluster) if key is None else key
        known = self.classes.find(name) if name.strip() else None
        payload = {"cluster": cluster, "name": name.strip(), "key": key}
        label = f"name cluster {cluster}"
        with self.project.action("name_cluster", payload, label) as action:
            named = known or (action.add_class(name) if name.strip() else None)
            all_names = {k: dict(v) for k, v in (self.project.setting(NAMES) or {}).items()}
            of_key = {k: v for k, v in all_names.get(key, {}).items() if k != cluster}
            all_names[key] = of_key if named is None else {**of_key, cluster: named.id}
            action.set_setting(NAMES, all_names)
        if named is not None and known is None:
            self.classes = self.project.classes()
            self.classes_changed.emit()
        self._propose_if_renamed()
        self.history_changed.emit()
        return named

    def _known_cluster(self, cluster: str) -> str:
        """Return the key of the clusters that are shown; raises ValueError where this is none."""
        found = self.cluster_set()
        if found is None:
            raise ValueError("there are no clusters yet: build them first")
        count = found.kinds if cluster.startswith("c") else found.clusters
        number = cluster.removeprefix("c")
        if not (number.isdecimal() and int(number) < count):
            raise ValueError(
                f"there is no cluster {cluster!r}: 0 .. {found.clusters - 1} are of pixels"
                + (f", c0 .. c{found.kinds - 1} of candidates" if found.kinds else "")
            )
        return found.key

    def _read_settings(self) -> None:
        super()._read_settings()
        if self._cluster_names is None:
            self._cluster_names = self.project.setting(NAMES) or {}
        self._propose_if_renamed()

    def _propose_if_renamed(self) -> None:
        """Have the proposals made again where names were given or taken back, undo included."""
        now = self.project.setting(NAMES) or {}
        if now == self._cluster_names:
            return
        self._cluster_names = now
        self.propose_clusters()

    def propose_clusters(self) -> None:
        """Queue a job: propose in all images what the named clusters hold."""
        found = self.cluster_set()
        if found is not None:
            names = cluster_set.names(self.project, found.key)
            self._submit(PROPOSALS, {"key": found.key, "names": names})
