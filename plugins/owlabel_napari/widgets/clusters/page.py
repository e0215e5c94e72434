"""The tab of clusters: what is alike in this folder, and pre-training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from owlabel_napari.canvas.cluster_layer import ClusterLayer
from owlabel_napari.canvas.layers import OurLayers
from owlabel_napari.widgets.clusters.clusters import ClustersWidget
from owlabel_napari.widgets.common.parts import scrolled, tight
from owlabel_napari.widgets.train.pretraining import PretrainingWidget

if TYPE_CHECKING:
    from owlabel.session.session import Session


class ClusterPage(QWidget):
    """Clusters above, pre-training with the same settings below."""

    def __init__(self, session: Session, layers: OurLayers, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.clusters = ClustersWidget(session, ClusterLayer(layers, session))
        self.pretraining = PretrainingWidget(session, self.clusters.request)
        page = QWidget()
        outer, layout = QVBoxLayout(self), QVBoxLayout(page)
        tight(outer)
        tight(layout)
        outer.addWidget(scrolled(page))
        layout.addWidget(self.clusters)
        layout.addWidget(self.pretraining)
        layout.addStretch(1)

    def close_widget(self) -> None:
        """Stop listening."""
        self.clusters.close_widget()
        self.pretraining.close_widget()
