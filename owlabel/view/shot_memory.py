"""The shots of novel classes in memory: their mean embeddings and the NPM rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from owlabel.checkpoints.header import CheckpointHeader
from owlabel.classes import ClassTable, Labels
from owlabel.novel.label_maps import Rule
from owlabel.novel.shots import Means, occurrence_key, prototypes, shot_means
from owlabel.project.storage.records import ProjectError
from owlabel.project.store import ImageRecord, Project
from owlabel.view.model_outputs import Reader


class ShotMemory:
    """The shots of a project: each image whose human layer holds a novel class is one.

    Parameters
    ----------
    project : Project
    human : callable
        Returns the human layer (H, W) of an image by its id.

    Attributes
    ----------
    rule : Rule
        The NPM rule: one prototype for each novel class without a trained head.
    key : str
        The key under which the occurrences of this rule are stored.
    lambda_novel : float
        Squared distance within which the rule claims a pixel for a novel class.
    occurrences : dict
        Class id to the number of images in which the rule found the class. Empty until the worker
        has applied the rule to the data set.
    waiting : set of int
        Ids of images with shots that are not embedded yet, so their means are not known.
    """

    def __init__(self, project: Project, human: Callable[[int], Labels]) -> None:
        self._project, self._human = project, human

    def use(
        self,
        header: CheckpointHeader,
        reader: Reader,
        records: Iterable[ImageRecord],
        classes: ClassTable,
    ) -> None:
        """Measure the shots under another model; stored means are reused."""
        self._header, self._reader = header, reader
        self._means: Means = {}
        self._known = self._project.shot_means.of_head(header.heads[0].hash)
        self._unstored: dict[int, dict[int, NDArray[np.float64]]] = {}
        self.waiting: set[int] = set()
        for record in records:
            if record.revision_id is not None:
                self.refresh(record, classes)

    def refresh(self, record: ImageRecord, classes: ClassTable) -> None:
        """Update the shots of one image from its human layer."""
        for shots in self._means.values():
            shots.pop(record.id, None)
        if record.revision_id is None:
            return
        if record.revision_id not in self._known and not self._measure(record, classes):
            self.waiting.add(record.id)
            return
        self.waiting.discard(record.id)
        active = {c.id for c in classes.novel}
        for class_id, mean in self._known[record.revision_id].items():
            if class_id in active:
                self._means.setdefault(class_id, {})[record.id] = mean

    def _measure(self, record: ImageRecord, classes: ClassTable) -> bool:
        """Compute the shot means of an image; return False if the image is not embedded."""
        output = self._reader.output(record)
        if output is None or record.revision_id is None:
            return False
        means = shot_means(output.embedding, self._human(record.id), len(classes.base))
        self._unstored[record.revision_id] = means
        self._known[record.revision_id] = means
        return True

    def measure_waiting(self, records: Iterable[ImageRecord], classes: ClassTable) -> bool:
        """Measure the shots of images that are embedded by now; return whether there were any."""
        ready = [r for r in records if r.id in self.waiting and self._reader.embedded(r)]
        for record in ready:
            self.refresh(record, classes)
        return bool(ready)

    def prune(self, image_ids: Iterable[int], classes: ClassTable) -> None:
        """Drop the shots of images that are not in `image_ids` and of classes that are gone."""
        images, names = set(image_ids), classes.names
        self.waiting &= images
        self._means = {
            class_id: {i: mean for i, mean in shots.items() if i in images}
            for class_id, shots in self._means.items()
            if class_id in names
        }

    def rebuild(self, lambda_novel: float) -> None:
        """Compute the rule from the shots; classes with a trained head need no prototype."""
        self.lambda_novel = lambda_novel
        trained = {h.class_id for h in self._header.heads}
        means = {c: shots for c, shots in self._means.items() if c not in trained}
        self.rule = Rule(prototypes(means), self.lambda_novel, self._header.prototype_length)
        base = self._header.heads[0].hash
        self.key = occurrence_key(base, self.rule.prototypes, lambda_novel, self.trained_heads)
        self.read_occurrences()

    def read_occurrences(self) -> None:
        """Read from the project in how many images the rule found each class."""
        self.occurrences = self._project.occurrences.image_counts(self.key)

    @property
    def trained_heads(self) -> list[tuple[int, str]]:
        """Class id and hash of each PLM head of the model."""
        heads = self._header.heads[1:]
        return [(head.class_id, head.hash) for head in heads if head.class_id is not None]

    def images(self, class_id: int) -> list[int]:
        """Return the ids of the images that are shots of a class, sorted."""
        return sorted(self._means.get(class_id, {}))

    def count(self, class_id: int) -> int:
        """Return the number of shots of a novel class."""
        return len(self._means.get(class_id, {}))

    def store(self) -> None:
        """Write new means to the database, so that the next session can reuse them."""
        base = self._header.heads[0].hash
        with suppress(ProjectError):  # a full disk is reported by the next act of the annotator
            while self._unstored:
                revision_id, means = self._unstored.popitem()
                self._project.shot_means.store(revision_id, base, means)
