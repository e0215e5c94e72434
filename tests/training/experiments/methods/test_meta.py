"""Both tables of meta classification, from made-up frames."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from experiments.methods import meta
from experiments.methods.meta import Frame, Rows
from owlabel.ood.segment_features import segment_features


def scene(frames: int = 12) -> tuple[list[Frame], Rows]:
    """In each frame one large unknown object that is found, and three certain specks."""
    rng = np.random.default_rng(0)
    found, rows = [], Rows()
    for i in range(frames):
        p = np.zeros((3, 30, 40), np.float32)
        p[0], p[1:] = 0.98, 0.01
        truth = np.zeros((30, 40), np.uint8)
        truth[10:20, 10:25] = 1
        truth[:2] = 255
        p[:, 9:20, 10:25] = 1 / 3
        for _ in range(3):
            row, col = rng.integers(22, 29), rng.integers(2, 38)
            p[:, row, col] = (0.8, 0.15, 0.05)
        entropy = meta.probability_entropy(p)
        frame = Frame(entropy, truth, "a" if i % 2 else "b")
        segments, _ = meta.predicted_segments(entropy, truth, 0.5)
        rows.values.append(segment_features(p, segments).values)
        rows.false.append(meta.false_segments(segments, truth))
        found.append(frame)
    return found, rows


def test_dropping_what_is_called_false_removes_the_false_segments_only() -> None:
    frames, rows = scene()
    line = meta.at_threshold(rows, frames, 0.5, 3)
    assert line["plain"]["fp"] == sum(int(f.sum()) for f in rows.false) > 20
    assert line["plain"]["fn"] == 0
    for way in ("meta_segment", "meta_image", "meta_drive"):
        assert (line[way]["fp"], line[way]["fn"], line[way]["auroc"]) == (0, 0, 1)
        assert line[way]["epsilon_percent"] < line["plain"]["epsilon_percent"]
    text = meta.markdown({"plain": {"0.5": line}})
    assert "| 0.5 | " in text
    best = meta.summary({"plain": {"0.5": line}})
    assert best["plain meta_image"]["against_the_best_plain_percent"] == -100
    worse = {"plain": {"0.1": {w: {"sum": 0, "epsilon_percent": 60} for w in best_ways(best)}}}
    assert meta.summary(worse, 5.0)["plain plain"] is None


def test_a_threshold_is_chosen_on_other_frames() -> None:
    def table(sums: dict[str, int]) -> dict[str, object]:
        ways = {"plain": 1, "meta_image": 2}
        return {
            t: {way: {"sum": of // by, "epsilon_percent": 1.0} for way, by in ways.items()}
            for t, of in sums.items()
        }

    val, test = {"m": table({"0.1": 30, "0.2": 10})}, {"m": table({"0.1": 4, "0.2": 20})}
    found = meta.chosen_elsewhere(test, val)
    assert found["m plain"] == {
        "t": 0.2, "sum": 20, "epsilon_percent": 1.0, "against_the_best_plain_percent": 0.0
    }  # fmt: skip
    assert found["m meta_image"]["against_the_best_plain_percent"] == -50
    assert meta.chosen_elsewhere(test, val, 0.5) == {}
    val["m"]["0.2"]["plain"]["epsilon_percent"] = 9.0
    found = meta.chosen_elsewhere(test, val, 5.0)
    assert (found["m plain"]["t"], found["m meta_image"]["t"]) == (0.1, 0.2)
    with pytest.raises(ValueError, match="no model"):
        meta.chosen_elsewhere(test, {})


def test_models_of_several_seeds_are_told_together() -> None:
    rows = {
        name: {"sum": errors, "epsilon_percent": 1.0, "t": 0.5}
        for name, errors in {"m plain": 4, "m_seed_1 plain": 8, "m meta_image": 1, "n x": 7}.items()
    }
    told = meta.over_seeds({**rows, "m_seed_2 plain": None})
    assert told == {
        "m plain": {
            "sum": [4, 8], "epsilon_percent": [1, 1], "t": [0.5, 0.5], "mean": 6, "std": 2
        }
    }  # fmt: skip


def best_ways(best: dict[str, object]) -> list[str]:
    return [key.split(" ", 1)[1] for key in best]


def test_void_and_known_pixels_of_the_truth() -> None:
    from types import SimpleNamespace

    setting = SimpleNamespace(n=2, truth=lambda label: label)
    truth = meta.ood_truth(np.array([[0, 1, 2, 255]], np.uint8), setting)
    assert truth.tolist() == [[0, 0, 1, 255]]


def test_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").touch()
    assert meta.named_file(f"a={tmp_path / 'm'}")[0] == "a"
    for wrong in ("m", f"a={tmp_path / 'n'}"):
        with pytest.raises(argparse.ArgumentTypeError):
            meta.named_file(wrong)
