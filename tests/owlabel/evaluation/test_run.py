from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from owlabel.evaluation import report
from owlabel.evaluation.cases import BINARY, Case, DataSet, LabelRule
from owlabel.evaluation.passes import (
    FirstPass,
    best_f1_threshold,
    default_thresholds,
    recall_threshold,
)
from owlabel.evaluation.predictions import Predictions, class_lookup, find_maps, no_classes
from owlabel.evaluation.run import Options, ScoreResult, evaluate
from owlabel.metrics import PixelOod, exact_ood

SHAPE = (6, 10)
CLASSES = LabelRule.of("toy", {0: "sky", 1: "road"}, [9], [255])
SCORES = arrays.arrays(np.float16, (3, *SHAPE), elements=st.sampled_from([0, 0.25, 0.5, 1]))
TRUTHS = arrays.arrays(np.uint8, (3, *SHAPE), elements=st.sampled_from([0, 0, 1, 9, 255]))


def saved(
    folder: Path, truths: np.ndarray, scores: np.ndarray, rule: LabelRule = CLASSES
) -> tuple[DataSet, Predictions]:
    """Write masks, score maps and a class map that says sky everywhere."""
    cases, maps, classes = [], {}, {}
    for i, (truth, score) in enumerate(zip(truths, scores, strict=True)):
        name = f"image{i}"
        Image.fromarray(truth).save(folder / f"{name}.png")
        np.save(folder / f"{name}.npy", score)
        Image.fromarray(np.zeros(truth.shape, np.uint8)).save(folder / f"{name}_classes.png")
        cases.append(Case(name, None, folder / f"{name}.png"))
        maps[name], classes[name] = folder / f"{name}.npy", folder / f"{name}_classes.png"
    lookup = class_lookup(rule.names, rule.names)
    known = {} if lookup is None else classes
    table = no_classes() if lookup is None else lookup
    return DataSet("toy", rule, tuple(cases)), Predictions("toy_score", maps, known, table)


def rounded(result: ScoreResult) -> dict[str, Any]:
    """Sums in another order differ in the last digit."""
    text = json.dumps(result.to_json())
    return dict(json.loads(text, parse_float=lambda number: round(float(number), 10)))


def toy(folder: Path) -> tuple[DataSet, Predictions]:
    """10 sky pixels predicted right, 2 OoD pixels predicted as sky: open-mIoU 10 / 12."""
    truth = np.full((1, *SHAPE), 255, np.uint8)
    truth[0, 0, :10], truth[0, 1, :2] = 0, 9
    return saved(folder, truth, np.zeros((1, *SHAPE), np.float32))


def test_open_miou_worked_by_hand(tmp_path: Path) -> None:
    dataset, predictions = toy(tmp_path)
    result = evaluate(dataset, predictions, Options((0.5,), open_threshold=0.5))
    assert (result.closed_miou, result.open_miou) == (1, pytest.approx(10 / 12))
    assert result.open_calibrated
    assert result.rows[0].miou == 1


def test_alarms_lower_the_miou_with_an_ood_output(tmp_path: Path) -> None:
    truth = np.zeros((1, *SHAPE), np.uint8)
    score = np.zeros((1, *SHAPE), np.float32)
    score[0, 0, :6] = 0.7
    result = evaluate(*saved(tmp_path, truth, score), Options((0.3, 0.7, 0.8)))
    assert [row.miou for row in result.rows] == [0.9, 0.9, 1]
    assert [row.errors.epsilon for row in result.rows] == [0.1, 0.1, 0]
    assert math.isnan(result.pooled.auroc)
    assert math.isnan(result.open_miou)


@settings(max_examples=15, deadline=None)
@given(TRUTHS, SCORES)
def test_the_whole_equals_slow_counts(tmp_path_factory, truths, scores) -> None:
    dataset, predictions = saved(tmp_path_factory.mktemp("toy"), truths, scores)
    result = evaluate(dataset, predictions, Options((0.25, 0.5)))
    ood = CLASSES.ood[truths]
    assert str(result.pooled) == str(exact_ood(scores, ood))
    for row in result.rows:
        seen = ood == 0
        want = (scores[seen] >= row.t).mean() if seen.any() else math.nan
        assert row.errors.epsilon == pytest.approx(want, nan_ok=True)
        claimed = np.where(scores >= row.t, 9, 0)[seen]
        ious = [
            ((claimed == c) & (truths[seen] == c)).sum() / union
            for c in (0, 1)
            if (union := ((claimed == c) | (truths[seen] == c)).sum())
        ]
        assert row.miou == pytest.approx(np.mean(ious) if ious else math.nan, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(TRUTHS, SCORES, st.permutations(range(3)))
def test_the_order_of_images_changes_nothing(tmp_path_factory, truths, scores, order) -> None:
    one = evaluate(*saved(tmp_path_factory.mktemp("a"), truths, scores), Options())
    other = evaluate(*saved(tmp_path_factory.mktemp("b"), truths[order], scores[order]), Options())
    assert {**rounded(one), "worst": 0} == {**rounded(other), "worst": 0}


def test_workers_find_the_same_as_one_process(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truths = rng.choice(np.array([0, 1, 9, 255], np.uint8), (3, *SHAPE))
    source = saved(tmp_path, truths, rng.random((3, *SHAPE), np.float32))
    alone = evaluate(*source, Options())
    shared = evaluate(*source, Options(workers=2))
    assert rounded(shared) == rounded(alone)
    assert shared.images == alone.images


@pytest.mark.parametrize("fill", [0, 9, 255])
def test_images_of_one_kind_have_a_report(tmp_path: Path, fill: int) -> None:
    scores = np.linspace(0, 1, 60, dtype=np.float32).reshape(1, *SHAPE)
    dataset, predictions = saved(tmp_path, np.full((1, *SHAPE), fill, np.uint8), scores)
    result = evaluate(dataset, predictions, Options())
    report.write(tmp_path / "out", dataset, [(result, predictions)], {})
    content = json.loads((tmp_path / "out" / report.RESULTS).read_text())
    assert content["scores"][0]["pooled"]["auroc"] is None


@pytest.mark.parametrize("value", [np.inf, -np.inf, 0.0])
def test_scores_without_a_range_have_a_report(tmp_path: Path, value: float) -> None:
    truth = np.zeros((1, *SHAPE), np.uint8)
    truth[0, 2] = 9
    dataset, predictions = saved(tmp_path, truth, np.full((1, *SHAPE), value, np.float32))
    result = evaluate(dataset, predictions, Options())
    assert result.pooled.auroc == 0.5
    report.write(tmp_path / "out", dataset, [(result, predictions)], {})


def test_nan_in_void_is_allowed_and_elsewhere_named(tmp_path: Path) -> None:
    truth = np.zeros((1, *SHAPE), np.uint8)
    truth[0, 0] = 255
    score = np.zeros((1, *SHAPE), np.float32)
    score[0, 0] = np.nan
    evaluate(*saved(tmp_path, truth, score), Options())
    score[0, 1, 3] = np.nan
    with pytest.raises(ValueError, match=r"image0\.npy: scores must be numbers, got 1 NaN"):
        evaluate(*saved(tmp_path, truth, score), Options())


def test_a_data_set_without_classes_has_no_miou(tmp_path: Path) -> None:
    truth = np.zeros((1, *SHAPE), np.uint8)
    truth[0, 3] = 1
    score = truth.astype(np.float32)
    result = evaluate(*saved(tmp_path, truth, score, BINARY), Options())
    assert result.pooled.ap == 1
    assert result.components["mean_f1"] == 1
    assert math.isnan(result.closed_miou)
    assert result.per_image == result.pooled


def pixels(scores: list[float], labels: list[int]) -> PixelOod:
    stream = PixelOod()
    stream.update(np.array(scores), np.array(labels))
    return stream


def test_thresholds_from_the_scores() -> None:
    seen = pixels([0.9, 0.8, 0.7, 0.5, 0.4, -1], [1, 0, 1, 1, 0, 0])
    threshold, f1 = best_f1_threshold(seen)
    assert (threshold, f1) == (pytest.approx(0.5, rel=1e-3), pytest.approx(6 / 7))
    assert threshold <= 0.5
    assert recall_threshold(seen) == threshold
    assert math.isnan(recall_threshold(pixels([1.0], [0])))
    assert default_thresholds(pixels([0, 1], [0, 1]), (0.5,)) == (0.5,)
    many = pixels(np.arange(-2000, 0).tolist(), [0] * 2000)
    np.testing.assert_allclose(default_thresholds(many, (0.5,))[0], -201, rtol=1e-3)


def test_passes_of_nothing() -> None:
    assert FirstPass.empty(2).images == []


def test_options_and_data_sets_are_checked() -> None:
    for wrong in ({"track": "lunar"}, {"workers": 0}, {"thresholds": (math.nan,)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Options(**wrong)
    case = Case("a", None, Path("a.png"))
    with pytest.raises(ValueError, match="several images are named a"):
        DataSet("x", BINARY, (case, case))


def test_maps_are_found_and_checked(tmp_path: Path) -> None:
    dataset, _ = toy(tmp_path)
    maps = tmp_path / "maps"
    maps.mkdir()
    with pytest.raises(ValueError, match=r"neither image0\.npy nor image0\.png"):
        find_maps(maps, dataset, {"image0": SHAPE})
    np.save(maps / "image0.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"is 3 x 3, its mask is 6 x 10"):
        find_maps(maps, dataset, {"image0": SHAPE})
    np.save(maps / "image0.npy", np.array([object()] * 2), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        find_maps(maps, dataset, {"image0": SHAPE})
    np.save(maps / "image0.npy", np.zeros(SHAPE, np.complex64))
    with pytest.raises(ValueError, match="complex64"):
        find_maps(maps, dataset, {"image0": SHAPE})
    (maps / "image0.npy").unlink()
    grey = Image.fromarray(np.full(SHAPE, 51, np.uint8))
    grey.save(maps / "image0.png")
    found = find_maps(maps, dataset, {"image0": SHAPE})
    values = Predictions("x", found, {}, no_classes()).read("image0", SHAPE)
    np.testing.assert_allclose(values, 0.2)


def test_classes_are_matched_by_name() -> None:
    lookup = class_lookup(["Road", "tree", "sky"], ["sky", "road"])
    assert lookup is not None
    assert lookup[:4].tolist() == [1, 255, 0, 255]
    assert class_lookup(["road"], ["sky", "road"]) is None
    assert class_lookup(["road"], []) is None


def full(tmp_path: Path) -> tuple[DataSet, ScoreResult, Predictions]:
    rng = np.random.default_rng(0)
    truths = rng.choice(np.array([0, 1, 9, 255], np.uint8), (3, *SHAPE))
    dataset, predictions = saved(tmp_path, truths, rng.random((3, *SHAPE), np.float32))
    cases = tuple(replace(c, name=c.name) for c in dataset.cases)
    return DataSet("<b>toy", CLASSES, cases), evaluate(dataset, predictions, Options()), predictions


def test_the_report_needs_nothing_else(tmp_path: Path) -> None:
    dataset, result, predictions = full(tmp_path)
    out = tmp_path / "out"
    report.write(out, dataset, [(result, predictions)], {"command": "<script>x</script>"})
    page = (out / report.PAGE).read_text()
    assert "<script" not in page
    assert "&lt;b&gt;toy" in page
    rest = page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in rest.replace("http-equiv", "")
    assert page.count("<svg") == 3
    assert page.count("data:image/png;base64,") == 3
    lines = (out / report.IMAGES).read_text().splitlines()
    assert len(lines) == 4
    assert (out / report.THRESHOLDS).read_text().startswith("score,t,fp,fn,sum,epsilon")


def test_an_existing_folder_is_not_written_over(tmp_path: Path) -> None:
    dataset, result, predictions = full(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="choose another folder"):
            report.write(out, dataset, [(result, predictions)], {}, overwrite)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    out.rmdir()
    for _ in range(2):
        report.write(out, dataset, [(result, predictions)], {}, overwrite=True)
    assert not list(tmp_path.glob(".out*"))
