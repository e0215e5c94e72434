"""A process that edits labels without pause and says when each edit is acknowledged.

``python writer.py PROJECT IMAGE COUNT``: prints one line per acknowledged action.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from owlabel.project.store import Project


def main(folder: str, image_id: int, count: int) -> None:
    rng = np.random.default_rng(image_id)
    with Project.open(folder) as project:
        print("ready", flush=True)
        labels = project.human_labels(image_id)
        for number in range(count):
            row, col = rng.integers(0, labels.shape[0]), rng.integers(0, labels.shape[1])
            labels[row : row + 6, col : col + 9] = rng.integers(0, 12)
            digest = hashlib.sha256(labels.tobytes()).hexdigest()
            payload = {"image_id": image_id, "number": number, "sha256": digest}
            with project.action("paint", payload) as action:
                action.set_labels(image_id, labels)
                action.set_state(image_id, "edited")
            print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
