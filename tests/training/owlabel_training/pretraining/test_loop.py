"""Views, anchors and the loop of contrastive pre-training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from owlabel.jobs.job import run_to_end
from owlabel.models.weights import load
from owlabel_training.core import run_state
from owlabel_training.core.base_run import new_segmenter
from owlabel_training.core.recipe import ModelRecipe, read
from owlabel_training.main import app
from owlabel_training.pretraining.batches import Labelled, ViewSampler, anchors
from owlabel_training.pretraining.recipe import PretrainingRecipe, PretrainRecipe
from owlabel_training.pretraining.run import PretrainingRun, folder_pictures
from owlabel_training.pretraining.views import NONE, Place, places, recoloured, two_views, view

SMALL = PretrainingRecipe(crop=(64, 80), cutout=20, anchors=64, images_per_batch=2)
RECIPE = """
name = "tiny"
[model]
architecture = "mobilenet_v3_small"
settings = { width = 16, low_width = 8, rates = [1, 2, 3] }
[data]
train = "train.txt"
val = "val.txt"
[labels]
classes = 3
samples = 2000
superpixels = 30
[pretraining]
iterations = 3
images_per_batch = 2
crop = [64, 80]
cutout = 20
anchors = 64
"""


def checkerboard(side: int = 12, shape: tuple[int, int] = (120, 160)) -> Any:
    """An image whose colour tells the label, and the labels."""
    rows, cols = (np.arange(n) // side for n in shape)
    labels = (rows[:, None] + 3 * cols) % 5
    image = np.stack([40 * labels, 10 * labels**2, 10 * labels], axis=-1)
    return image.astype(np.uint8), labels.astype(np.int64)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.5, 2.5), st.floats(-3.2, 3.2), st.booleans(), st.floats(30, 90), st.floats(40, 120)
)
@example(1.0, 0.0, False, 30.0, 40.0)  # half a pixel off: colours blend at every border
def test_labels_go_where_the_picture_goes(
    zoom: float, angle: float, mirrored: bool, row: float, col: float
) -> None:
    image, labels = checkerboard()
    picture, seen = view(image, labels, Place((row, col), zoom, angle, mirrored), 64)
    inner = seen != NONE
    colour = picture[..., 0].astype(int) // 40
    clear = inner & (picture[..., 0] % 40 == 0) & (picture[..., 1] == 10 * colour**2)
    agree = colour == seen
    assert clear.mean() > 0.2
    assert agree[clear].mean() > 0.97, "but for rounding at borders"


def test_the_plain_place_is_a_crop() -> None:
    image, labels = checkerboard()
    picture, seen = view(image, labels, Place((59.5, 79.5), 1.0, 0.0, False), 64)
    assert np.array_equal(picture, image[28:92, 48:112])
    assert np.array_equal(seen, labels[28:92, 48:112])
    mirrored, turned = view(image, labels, Place((59.5, 79.5), 1.0, 0.0, True), 64)
    assert np.array_equal(mirrored, picture[:, ::-1])
    assert np.array_equal(turned, seen[:, ::-1])


def test_what_lies_outside_has_no_label() -> None:
    image, labels = checkerboard(shape=(40, 50))
    _, seen = view(image, labels, Place((19.5, 24.5), 1.0, 0.0, False), 64)
    assert (seen != NONE).sum() == 40 * 50


def test_cut_out_squares_have_no_label_and_views_are_of_the_same_size() -> None:
    image, labels = checkerboard()
    for seed in range(8):
        for picture, seen in two_views(image, labels, np.random.default_rng(seed), 64, SMALL):
            assert picture.shape == (64, 64, 3)
            assert picture.dtype == np.float32
            assert picture.min() >= 0
            assert picture.max() <= 1
            assert seen.shape == (64, 64)


def test_both_views_overlap() -> None:
    for seed in range(20):
        one, two = places(np.random.default_rng(seed), (120, 160), 64, SMALL)
        apart = np.abs(np.subtract(one.centre, two.centre)).max()
        assert apart <= 0.25 * 64 / two.zoom + 1e-6


def test_grey_views_have_no_colour() -> None:
    image, _ = checkerboard()
    recipe = PretrainingRecipe(grey=1.0)
    made = recoloured(image, np.random.default_rng(0), recipe)
    assert np.allclose(made[..., 0], made[..., 2])


# -- anchors -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_anchors_are_labelled_few_and_shared_out(seed: int, kinds: int, both: bool) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.integers(-1, kinds, (6, 9, 9))
    recipe = PretrainingRecipe(anchors=60, per_label=7, images_per_batch=3)
    chosen = anchors(grid, recipe, rng, both_views=both)
    labels, image = grid.ravel()[chosen], chosen // (2 * 81)
    assert (labels >= 0).all(), "255 never enters"
    assert len(set(chosen.tolist())) == chosen.size <= 60
    for one in range(3):
        counts = np.bincount(labels[image == one], minlength=kinds)
        assert counts.max() <= 7
        assert (counts != 1).all(), "who is chosen has a positive"


def test_the_same_pixel_is_looked_for_in_both_views() -> None:
    grid = np.full((2, 4, 4), NONE)
    grid[0, 0, 0] = grid[1, 3, 3] = 5
    grid[0, 1, :] = 6  # one view alone
    recipe = PretrainingRecipe(anchors=32, images_per_batch=2)
    chosen = anchors(
        np.concatenate([grid, grid]), recipe, np.random.default_rng(0), both_views=True
    )
    assert sorted(chosen.tolist()) == [0, 31, 32, 63]


def test_where_nothing_belongs_together_nothing_is_chosen() -> None:
    chosen = anchors(np.full((4, 5, 5), NONE), SMALL, np.random.default_rng(0))
    assert chosen.size == 0


# -- recipes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"positives": "magic"}, "got 'magic'"),
        ({"images_per_batch": 1}, "images_per_batch must be at least 2"),
        ({"crop": (65, 70)}, "a multiple of 16"),
        ({"crop": (32, 64)}, "crop.0 must be greater than or equal to 64"),
        ({"anchors": 3}, "at least 4 for each image"),
        ({"scale": (2.0, 1.0)}, "positive and rising"),
        ({"rotation": 200.0}, "rotation must be at least 0 and at most 180"),
        ({"cutout": 400}, "cutout must be less than 192"),
        ({"precision": "half"}, "got 'half'"),
        ({"tau": 0.0}, "tau must be greater than 0"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PretrainingRecipe(**changes)


def test_the_recipes_of_the_repository_can_be_read() -> None:
    folder = Path(__file__).parents[4] / "training" / "recipes"
    for name in ("camvid_pretrain", "sample_pretrain"):
        assert read(PretrainRecipe, folder / f"{name}.toml").name == name


# -- runs --------------------------------------------------------------------------------------


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path / "tiny.toml"


def run(recipe: Path, data: Path, out: Path, *changes: str) -> dict[str, Any]:
    return run_to_end(PretrainingRun(read(PretrainRecipe, recipe, changes), data, out).run())


@pytest.mark.parametrize("positives", ["auxiliary", "superpixel", "pixel"])
def test_a_run_ends_in_a_checkpoint_that_a_base_recipe_starts_from(
    recipe_file: Path, data: Path, tmp_path: Path, positives: str
) -> None:
    told = run(recipe_file, data, tmp_path / "o", f'pretraining.positives = "{positives}"')
    assert np.isfinite(told["loss"])
    settings_ = {"width": 16, "low_width": 8, "rates": [1, 2, 3]}
    model = ModelRecipe(
        architecture="mobilenet_v3_small", settings=settings_, initial=told["checkpoint"]
    )
    started, pretrained = new_segmenter(model, 3), load(Path(told["checkpoint"]))[0]
    for key, value in pretrained.backbone.state_dict().items():
        torch.testing.assert_close(started.backbone.state_dict()[key], value)
    if positives == "auxiliary":
        assert 0 < told["pmiou"]["pmiou_hungarian"] <= told["pmiou"]["pmiou_max"] <= 1


def test_an_interrupted_run_goes_on_to_the_same_weights(
    recipe_file: Path, data: Path, tmp_path: Path
) -> None:
    run(recipe_file, data, tmp_path / "whole")
    steps = PretrainingRun(read(PretrainRecipe, recipe_file), data, tmp_path / "cut").run()
    for progress in steps:
        if progress.message.startswith("contrastive") and progress.done == 2:
            break
    steps.close()
    assert not (tmp_path / "cut" / "tiny.safetensors").exists()
    run(recipe_file, data, tmp_path / "cut")
    one, two = (load(tmp_path / f / "tiny.safetensors")[0] for f in ("whole", "cut"))
    for key, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[key], value)


def test_a_state_that_was_saved_is_read_again(
    recipe_file: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owlabel_training.core.steps.SAVE_EVERY_S", 0.0)
    steps = PretrainingRun(read(PretrainRecipe, recipe_file), data, tmp_path / "cut").run()
    while (progress := next(steps)).message[:4] != "cont" or progress.done < 2:
        pass
    steps.close()
    assert run_state.read(tmp_path / "cut" / "state.safetensors")["step"] == 2
    seen: list[int] = []
    run_to_end(
        PretrainingRun(read(PretrainRecipe, recipe_file), data, tmp_path / "cut").run(),
        lambda p: seen.append(p.done) if p.message[:4] == "cont" else None,
    )
    assert seen == [3]


def test_batches_follow_the_seed_and_the_step(data: Path, tmp_path: Path) -> None:
    pictures = folder_pictures(data, "train.txt")
    from owlabel.project.storage.feature_cache import FeatureCache

    source = Labelled(pictures, FeatureCache(tmp_path), "", "superpixel", 30)
    sampler = ViewSampler(source, SMALL)
    one, again, other = sampler.batch(4), sampler.batch(4), sampler.batch(5)
    assert all(a.equal(b) for a, b in zip(one, again, strict=True))
    assert one[0].shape[0] == 4
    assert one[0].shape != other[0].shape or not one[0].equal(other[0])
    images = one[1] // (one[0].shape[2] // 4) ** 2 // 2
    for label in one[2].unique():
        assert len(images[one[2] == label].unique()) == 1, "superpixels are of one image"


def test_auxiliary_labels_cross_images(recipe_file: Path, data: Path, tmp_path: Path) -> None:
    run(recipe_file, data, tmp_path / "o")
    made = PretrainingRun(read(PretrainRecipe, recipe_file), data, tmp_path / "o")
    pictures = folder_pictures(data, "train.txt")
    key = made.recipe.labels.key("handmade")
    _, places_, labels = ViewSampler(
        Labelled(pictures, made.cache, key, "auxiliary", 30), made.recipe.pretraining
    ).batch(0)
    assert labels.min() >= 0
    assert labels.max() < made.recipe.labels.clusters
    assert len(places_.unique()) == len(places_)


def test_images_of_different_sizes_are_no_matter(
    recipe_file: Path, data: Path, tmp_path: Path
) -> None:
    for path in sorted((data / "images").glob("*.png"))[:6]:
        image = Image.open(path)
        image.resize((image.width * 2, image.height + 7)).save(path)
    with pytest.raises(ValueError, match="make them equal"):
        run(recipe_file, data, tmp_path / "o")
    shutil.rmtree(data / "labels")
    told = run(recipe_file, data, tmp_path / "o")
    assert np.isfinite(told["loss"])
    assert told["pmiou"] is None


def test_bad_folders_and_settings_end_in_one_line(
    recipe_file: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    one = tmp_path / "one"
    (one / "images").mkdir(parents=True)
    shutil.copy(next((data / "images").iterdir()), one / "images")
    anyone = ("--set", 'data.train=""', "--set", 'data.val=""')
    for words, reason in (
        ((*anyone, "--data", str(tmp_path / "empty")), "holds no image"),
        ((*anyone, "--data", str(tmp_path / "nowhere")), "there is no data folder"),
        ((*anyone, "--data", str(one)), "there is only 1: add images"),
        (("--set", "labels.classes=200", "--data", str(data)), "2 .. 254 clusters"),
        (("--set", "labels.samples=3", "--data", str(data)), "samples must be at least 5"),
        (("--set", 'labels.extractor="model"', "--set", 'labels.weights="no"', "--data", str(data)),
         "no"),
        (("--set", "pretraining.magic=1", "--data", str(data)), "pretraining: unknown field"),
    ):  # fmt: skip
        done = CliRunner().invoke(app, [str(recipe_file), *words, "--out", str(tmp_path / "o")])
        assert done.exit_code == 2, done.output
        assert reason in " ".join(done.output.split())
        assert "Traceback" not in done.output
