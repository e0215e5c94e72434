"""One image with its score map and its errors side by side, for the report."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from owlabel.evaluation.cases import Case, DataSet, truth_of
from owlabel.evaluation.predictions import Predictions
from owlabel.images import files as images

Pixels = NDArray[np.uint8]
HIT, MISSED, FALSE_ALARM = (0, 160, 0), (255, 32, 32), (32, 96, 255)
_WIDTH = 350


def strip_of(case: Case, dataset: DataSet, predictions: Predictions, threshold: float) -> str:
    """Return a base64 PNG of an image, its score map and its errors at a threshold.

    Parameters
    ----------
    case : Case
    dataset : DataSet
    predictions : Predictions
    threshold : float
        A pixel is predicted OoD if its score is at least this.
    """
    ood, _ = truth_of(case, dataset.rule)
    score = predictions.read(case.name, (ood.shape[0], ood.shape[1]))
    picture = images.read(case.image) if case.image else np.full((*ood.shape, 3), 90, np.uint8)
    views = (picture, _heat(score), _errors(picture, score >= threshold, ood))
    strip = np.concatenate([_scaled(view) for view in views], axis=1)
    coded = cv2.imencode(".png", strip[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    return base64.b64encode(coded.tobytes()).decode("ascii")


def _scaled(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    method = cv2.INTER_AREA if width > _WIDTH else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _heat(score: NDArray[np.float32]) -> Pixels:
    finite = score[np.isfinite(score)]
    low, high = np.quantile(finite, [0.01, 0.999]) if finite.size else (0.0, 1.0)
    scaled = np.clip((np.nan_to_num(score, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    colours = cv2.applyColorMap((255 * scaled).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(colours[:, :, ::-1], np.uint8)


def _errors(picture: Pixels, predicted: NDArray[np.bool_], ood: Pixels) -> Pixels:
    """Return the image in grey with void darkened, and hits, misses and false alarms in colour."""
    grey: Pixels = (picture.mean(2) * 0.7 + 40).astype(np.uint8)[..., None]
    view = np.repeat(grey, 3, axis=2)
    view[ood > 1] //= 3
    view[predicted & (ood == 1)] = HIT
    view[~predicted & (ood == 1)] = MISSED
    view[predicted & (ood == 0)] = FALSE_ALARM
    return view
