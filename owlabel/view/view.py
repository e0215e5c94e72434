"""What one annotator sees of a project, kept in memory. Knows no window, thread or torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from owlabel.arrays import embedding_grid
from owlabel.checkpoints.header import CheckpointHeader, read_header
from owlabel.classes import ClassTable, Labels
from owlabel.novel import label_maps
from owlabel.novel.label_maps import LabelMap, ModelOutput
from owlabel.project.store import ImageRecord, ModelVersion, Project
from owlabel.view.image_list import ImageList
from owlabel.view.model_outputs import Reader, Recent
from owlabel.view.project_settings import StoredSettings
from owlabel.view.shot_memory import ShotMemory


class View:
    """The images, classes, model and labels of a project; it never changes the project.

    Parameters
    ----------
    project : Project
        The open project.

    Attributes
    ----------
    image_id : int or None
        The current image; None if the project has no readable image.
    images : ImageList
    classes : ClassTable
    model : ModelVersion
        The model in use, and its `header`.
    reader : Reader
        Reads images and outputs of the model.
    settings : StoredSettings
    shots : ShotMemory
    """

    image_changed = Signal(int)
    """Another image is shown."""
    classes_changed = Signal()
    history_changed = Signal()
    """The acts that undo and redo would revert or repeat have changed."""
    message = Signal(str, str)
    """Level ("info", "warning" or "error") and text."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.image_id: int | None = None
        self.images = ImageList(project)
        self.settings = StoredSettings(project)
        self.shots = ShotMemory(project, self.human)
        self.load_model()

    # -- memory ------------------------------------------------------------------------------

    def load_model(self) -> None:
        """Read the model in use and everything that depends on it."""
        self.images.read()
        self.classes: ClassTable = self.project.classes()
        self.model: ModelVersion = self.project.active_model()
        self.header: CheckpointHeader = read_header(self.model.path)
        self.reader = Reader(self.project, self.header)
        self._human: Recent[int, Labels] = Recent(32)
        self._trained: Recent[int, LabelMap] = Recent(4)  # no act of the annotator changes them
        self._predictions: Recent[int, LabelMap] = Recent(4)
        self._missing = [r.id for r in self.images.records if not self.reader.embedded(r)]
        if self.image_id not in self.images.by_id:
            self.image_id = None
        self.shots.use(self.header, self.reader, self.images.records, self.classes)
        self.read_settings()
        self.rebuild_rule()

    def read_settings(self) -> None:
        """Read the settings of the project."""
        self.settings.read(self.header.lambda_novel)

    def read_images(self) -> None:
        """Read the list of images; clear the current image if it became unreadable."""
        self.images.read()
        self.shots.prune(self.images.by_id, self.classes)
        if self.image_id is not None and self.image_id not in self.images.by_id:
            self.image_id = None

    def read_classes(self) -> None:
        """Read the class table."""
        self.classes = self.project.classes()
        self.shots.prune(self.images.by_id, self.classes)

    def read_labels(self, image_ids: Iterable[int]) -> None:
        """Read the records and shots of images whose labels have changed."""
        known = sorted(self.images.by_id.keys() & set(image_ids))
        for image_id in known:
            self._human.pop(image_id, None)
        self.images.update(known)
        for image_id in known:
            self.shots.refresh(self.record(image_id), self.classes)

    def rebuild_rule(self) -> None:
        """Compute the rule for novel classes again and drop the predictions of the old rule."""
        self.shots.rebuild(self.settings.lambda_novel)
        self._predictions.clear()

    # -- questions ---------------------------------------------------------------------------

    def record(self, image_id: int | None = None) -> ImageRecord:
        """Return the record of an image, by default the current one; raises ValueError."""
        return self.images.record(self.image_id if image_id is None else image_id)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the current image in pixels; raises ImageError."""
        height, width = self.record().shape or self.image().shape[:2]
        return height, width

    def image(self) -> NDArray[np.uint8]:
        """Return the current image, uint8 (H, W, 3); raises ImageError if it cannot be read."""
        return self.reader.image(self.record())

    def output(self, image_id: int | None = None) -> ModelOutput | None:
        """Return the model's output for an image, or None if the image is not embedded."""
        return self.reader.output(self.record(image_id))

    def embedding(self) -> NDArray[np.float32] | None:
        """Return the base embedding of the current image, (N, h, w), or None."""
        output = self.output()
        return None if output is None else output.embedding

    def embedded_heads(self) -> int:
        """Return for how many heads the output of the current image is cached."""
        output = self.output()
        return 0 if output is None else 1 + len(output.heads)

    def prediction(self, image_id: int | None = None) -> LabelMap | None:
        """Return the model's labels of an image without the human layer, or None."""
        record = self.record(image_id)
        output = self.reader.output(record)
        if output is None:
            return None
        rule = self.shots.rule
        if len(output.heads) < len(self.header.heads) - 1:
            return label_maps.predict(output, rule)
        trained = self._trained.fetch(record.id, lambda: label_maps.trained(output))
        return self._predictions.fetch(record.id, lambda: label_maps.predict(output, rule, trained))

    def human(self, image_id: int | None = None) -> Labels:
        """Return the human layer, uint8 (H, W), `UNSET` where nobody has labelled anything."""
        wanted = self.record(image_id).id
        return self._human.fetch(wanted, lambda: self.project.human_labels(wanted))

    def labels(self, image_id: int | None = None) -> LabelMap:
        """Return the labels of an image: human over reviewed over model labels."""
        wanted = self.record(image_id).id
        reviewed = self.project.reviewed(wanted)
        if reviewed is not None:
            return label_maps.compose(self.human(wanted), None, LabelMap(*reviewed))
        return label_maps.compose(self.human(wanted), self.prediction(wanted))

    def distances(self, row: int, col: int) -> dict[str, float]:
        """Return the squared distance of a pixel to each class prototype, by class name."""
        output = self.output()
        if output is None:
            return {}
        at = embedding_grid.nearest_point(row, col, output.shape, output.embedding.shape[1:])
        pixel = output.embedding[:, *at]
        rule, names = self.shots.rule, self.classes.names
        length = rule.prototype_length
        known = (pixel**2).sum() - 2 * length * pixel + length**2
        result = {names[i]: float(d) for i, d in enumerate(known) if i in names}
        for p in rule.prototypes:
            result[names[p.class_id]] = float(((pixel - p.vector) ** 2).sum())
        return result

    @property
    def missing(self) -> int:
        """Number of images that were not embedded at the last call of `progress`; reads no file."""
        return len(self._missing)

    @property
    def progress(self) -> tuple[int, int]:
        """Number of embedded images and number of all images."""
        by_id = self.images.by_id
        left = [
            by_id[i] for i in self._missing if i in by_id
        ]  # the others turned out to be unreadable
        self._missing = [r.id for r in left if not self.reader.embedded(r)]
        return len(by_id) - len(self._missing), len(by_id)
