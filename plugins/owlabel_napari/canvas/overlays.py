"""What the session knows, as napari layers: picture, prediction, score, labels, region, box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from owlabel.arrays.embedding_grid import nearest_point
from owlabel.ood.candidates import SCORE
from owlabel.ood.registry import SCORES
from owlabel_napari.canvas.fitted_view import FittedView
from owlabel_napari.canvas.layer_values import layer_value, score_colormap, to_layer
from owlabel_napari.canvas.layers import OurLayers
from owlabel_napari.canvas.painting import Painting
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.deferred_work import Steps
from owlabel_napari.events.messages import attempt

if TYPE_CHECKING:
    import napari.viewer

    from owlabel.session.session import Session

REGION_COLOR = (0.0, 0.9, 1.0, 1.0)
BOX_COLOR, BOX_WIDTH = "#00e5ff", 3.0
"""Of the frame around the candidate; the width in canvas pixels."""


class Overlays:
    """Follow the session's signals; the layers never follow a button.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are.
    session : Session
        What they show.
    steps : Steps
        Runs the slow updates one per turn of the event loop.
    """

    def __init__(self, viewer: napari.viewer.Viewer, session: Session, steps: Steps) -> None:
        self.viewer, self.session, self.steps = viewer, session, steps
        self.layers = OurLayers(viewer)
        self.score_name = SCORE
        self.opacity = 0.5
        self._shown_candidate: str | None = None
        self._wanted = {"prediction": True, "score": True}
        self._connections = Connections()
        self.painting = Painting(self.layers, session)
        self.view = FittedView(viewer)
        self._connect()
        if session.image_id is not None:
            self._show_image(session.image_id)

    def _connect(self) -> None:
        session, add = self.session, self._connections.add
        add(session.image_changed, self._show_image)
        add(session.labels.changed, self._show_labels)
        add(session.labels.region_changed, self._show_region)
        add(session.labels.prediction_changed, self._prediction_changed)
        add(session.classes_changed, self._show_classes)
        self._connections.add_later([session.classes_changed], self._show_names)
        add(session.models.changed, self._ask_model_output)
        add(session.scores.changed, self._ask_score)
        add(session.queue.changed, self._show_candidate)

    @property
    def drawn(self) -> bool:
        """Whether the canvas shows all that it shall: nothing of ours and no drawing waits."""
        waits = self.steps.waiting & {"model output", "prediction", "score", "box"}
        return not waits and not self.layers.repaint.pending

    def close(self, *, remove_layers: bool = True) -> None:
        """Stop listening and, unless the viewer itself goes, take our layers away."""
        self._connections.close()
        self.painting.close()
        self.view.close()
        self.layers.close()
        if remove_layers:
            self.layers.remove_all()

    # -- what the overlay form asks for ------------------------------------------------------

    def show_score(self, name: str) -> None:
        """Show another score of `SCORES`."""
        self.score_name = name
        self._ask_score()

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of the score layer, 0 .. 1."""
        self.opacity = opacity
        if (layer := self.layers.get("score")) is not None:
            layer.opacity = opacity

    def show_limits(self) -> None:
        """Hide scores under the session's threshold, a fraction of the score's scale."""
        if (layer := self.layers.get("score")) is not None:
            layer.contrast_limits = self._limits(layer.data)

    def score_under(self, row: int, col: int) -> tuple[str, float] | None:
        """Return name and raw value of the score that is shown at a pixel, None where none is."""
        layer = self.layers.get("score")
        if layer is None or not layer.visible:
            return None
        at = nearest_point(row, col, self._shape(), layer.data.shape)
        return self.score_name, float(layer.data[at])

    def show_kind(self, kind: str, wanted: bool) -> None:
        """Show or hide the ``prediction`` or the ``score``, now and on the images to come."""
        self._wanted[kind] = wanted
        self.steps.ask(kind, self._show_prediction if kind == "prediction" else self._show_score)

    def _hide(self, kind: str) -> None:
        if (layer := self.layers.get(kind)) is not None and layer.visible:
            layer.visible = False

    def choose_brush(self, class_id: int) -> None:
        """Let napari's brush paint this class; the layer of human labels becomes the active one."""
        if (layer := self.layers.get("labels")) is not None:
            layer.selected_label = layer_value(class_id)
            self.viewer.layers.selection.active = layer

    # -- from the session --------------------------------------------------------------------

    def _show_image(self, _image_id: int) -> None:
        new = self.layers.get("image") is None
        picture = self._picture()
        same_shape = not new and self.layers["image"].data.shape == picture.shape
        self.layers.show_image("image", picture, name="image", rgb=True)
        self._shown_candidate = None
        self.layers.blank("prediction")  # never the last image's values over this one
        self.layers.blank("score")
        self._show_labels(_image_id)
        self._show_region()
        self._show_candidate()
        self._ask_model_output()
        if not same_shape:
            self.viewer.reset_view()
        if new:
            self.viewer.layers.selection.active = self.layers["labels"]

    def _picture(self) -> np.ndarray:
        """Return the current picture, or black where its file cannot be read any more."""
        picture = attempt(self.session, self.session.image)
        if picture is None:
            picture = np.zeros((*(self.session.record().shape or (1, 1)), 3), np.uint8)
        return picture

    def _shape(self) -> tuple[int, int]:
        """Return the size of what is shown; of what should be where somebody deleted the layer."""
        layer = self.layers.get("image")
        if layer is None:
            return self.session.record().shape or (1, 1)
        height, width = layer.data.shape[:2]
        return height, width

    def _ask_model_output(self, *_: Any) -> None:
        self.steps.ask("model output", self._show_model_output)

    def _prediction_changed(self, *_: Any) -> None:
        """Show what the model says at once: drawn together with the labels it follows from."""
        self._show_model_output()

    def _show_model_output(self) -> None:
        """Show prediction and score: in one turn of the event loop they are drawn once."""
        self._show_prediction()
        self._show_score()

    def _ask_score(self) -> None:
        self.steps.ask("score", self._show_score)

    def _show_prediction(self) -> None:
        wanted = self._wanted["prediction"] and self.session.image_id is not None
        predicted = self.session.labels.prediction() if wanted else None
        if predicted is None:
            self._hide("prediction")
            return
        self.layers.show_labels("prediction", to_layer(predicted.labels), self.session.classes)

    def _show_score(self) -> None:
        wanted = self._wanted["score"] and self.session.image_id is not None
        session, name = self.session, self.score_name
        values = attempt(session, session.scores.current, name) if wanted else None
        if values is None:
            self._hide("score")
            return
        limits = self._limits(values)
        self.layers.show_score(
            np.nan_to_num(values, nan=limits[1]),  # what is no number is as strange as can be
            self._shape(),
            name=f"OoD: {SCORES[name].title}",
            contrast_limits=limits,
            opacity=self.opacity,
            colormap=score_colormap(),
        )

    def _limits(self, values: np.ndarray) -> tuple[float, float]:
        scoring, name = self.session.scores, self.score_name
        low, high = scoring.limits(name, values)
        start = scoring.cut(name, self.session.settings.threshold, values)
        return min(start, high - 0.02 * (high - low)), high  # the strangest stay in sight

    def _show_labels(self, _image_id: int) -> None:
        self.painting.show()

    def _show_region(self) -> None:
        """Show the pending region, unless the picture that it is of is still to come."""
        session = self.session
        if session.image_id is None or self.layers.get("image") is None:
            return
        if self._shape() == (session.record().shape or self._shape()):
            region = session.labels.region or session.proposals.region(session.queue.shown)
            self.layers.show_region(self._shape(), region, REGION_COLOR)

    def _show_classes(self) -> None:
        for kind in ("prediction", "labels"):
            self.layers.show_colors(kind, self.session.classes)

    def _show_names(self) -> None:
        for kind in ("prediction", "labels"):
            self.layers.show_names(kind, self.session.classes)

    def _show_candidate(self) -> None:
        item = self.session.queue.shown
        if item is None or item.record.id != self.session.image_id:
            self._shown_candidate = None
            self.steps.ask("box", self._show_box)
        elif item.key != self._shown_candidate:
            self._shown_candidate = item.key
            self._look_at(item.box)
            self.steps.ask("box", self._show_box)
        self.steps.ask("region", self._show_region)  # a proposed mask may have come or gone

    def _show_box(self) -> None:
        item = self.session.queue.shown
        box = None if item is None or self._shown_candidate is None else item.box
        self.layers.show_box(box, BOX_COLOR, BOX_WIDTH / self.viewer.scene.camera.zoom)

    def _look_at(self, box: tuple[int, int, int, int]) -> None:
        """Centre the camera on a box and zoom so that it takes about a third of the canvas."""
        rows, cols = box[2] - box[0], box[3] - box[1]
        camera, canvas = self.viewer.scene.camera, self.viewer.canvas.size
        fit = min(canvas[0] / max(rows, 1), canvas[1] / max(cols, 1)) / 3
        height, width = self._shape()
        whole = min(canvas[0] / height, canvas[1] / width) * 0.95
        camera.zoom = min(max(fit, whole), 4 * whole)
        camera.center = (
            _inside((box[0] + box[2]) / 2, height, canvas[0] / camera.zoom),
            _inside((box[1] + box[3]) / 2, width, canvas[1] / camera.zoom),
        )


def _inside(center: float, length: int, seen: float) -> float:
    """Move a centre so that a view `seen` wide shows no more than needed beside the image."""
    if seen >= length:
        return length / 2
    return min(max(center, seen / 2), length - seen / 2)
