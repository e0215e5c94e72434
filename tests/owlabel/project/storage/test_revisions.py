"""Label maps come back bit by bit, or not at all."""

from __future__ import annotations

import io
import sqlite3
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from owlabel.project.storage import revisions
from owlabel.project.store import Project, ProjectError

label_maps = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(label_maps)
@settings(max_examples=60, deadline=None)
def test_any_map_survives_png(labels: np.ndarray) -> None:
    png = revisions.encode_png(labels)
    np.testing.assert_array_equal(revisions.decode_png(png, labels.shape), labels)


def test_the_png_is_one_that_others_read() -> None:
    labels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    with Image.open(io.BytesIO(revisions.encode_png(labels))) as image:
        image.verify()
    with Image.open(io.BytesIO(revisions.encode_png(labels))) as image:
        np.testing.assert_array_equal(np.array(image), labels)


@pytest.mark.parametrize("mode", ["RGB", "P", "1"])
def test_a_png_of_another_kind_is_refused(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (7, 5)).save(buffer, "png")
    with pytest.raises(ProjectError, match=mode):
        revisions.decode_png(buffer.getvalue(), (5, 7))


@pytest.mark.parametrize("limit", [30, 399])  # Pillow warns above it and refuses twice as many
def test_a_map_larger_than_pillow_likes_is_read(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(revisions, "_PILLOWS_LIMIT", limit)
    labels = np.arange(400, dtype=np.uint8).reshape(20, 20)
    png = revisions.encode_png(labels)
    np.testing.assert_array_equal(revisions.decode_png(png, (20, 20)), labels)
    with pytest.raises(ProjectError):
        revisions.decode_png(png, (2, 2))


def test_a_cut_png_is_refused() -> None:
    png = revisions.encode_png(np.random.default_rng(0).integers(0, 9, (50, 50), dtype=np.uint8))
    for end in (0, 10, 40, len(png) // 2):
        with pytest.raises(ProjectError, match="damaged"):
            revisions.decode_png(png[:end], (50, 50))


@given(label_maps, st.data())
@settings(max_examples=40, deadline=None)
def test_the_box_is_the_smallest_that_holds_all_changes(labels: np.ndarray, data: Any) -> None:
    after = data.draw(arrays(np.uint8, labels.shape))
    row0, col0, row1, col1 = revisions.changed_box(labels, after)
    patched = labels.copy()
    patched[row0:row1, col0:col1] = after[row0:row1, col0:col1]
    np.testing.assert_array_equal(patched, after)
    if (labels != after).any():
        rows, cols = np.nonzero(labels != after)
        assert (row0, col0, row1, col1) == (
            rows.min(),
            cols.min(),
            rows.max() + 1,
            cols.max() + 1,
        )


def _paint_often(project: Project, times: int) -> list[tuple[int, np.ndarray]]:
    rng = np.random.default_rng(3)
    labels = project.human_labels(1)
    written = []
    for _ in range(times):
        row, col = rng.integers(0, 20), rng.integers(0, 30)
        labels[row : row + 4, col : col + 6] = rng.integers(0, 12)
        with project.action("paint") as action:
            written.append((action.set_labels(1, labels), labels.copy()))
    return written


def test_every_revision_of_a_long_chain_reads_back(project: Project) -> None:
    written = _paint_often(project, 3 * revisions.MAX_DEPTH)
    with Project.open(project.folder) as fresh:
        for revision_id, labels in written[::-1]:
            np.testing.assert_array_equal(fresh.revision(revision_id), labels)


def _rows(project: Project, query: str) -> list[Any]:
    connection = sqlite3.connect(project.folder / "project.db")
    try:
        with connection:
            return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_chains_are_short_and_patches_small(project: Project) -> None:
    _paint_often(project, 3 * revisions.MAX_DEPTH)
    assert max(d for (d,) in _rows(project, "SELECT depth FROM revision")) < revisions.MAX_DEPTH


def test_labels_that_did_not_change_make_no_revision(project: Project) -> None:
    (first, labels), *_ = _paint_often(project, 1)
    with project.action("paint") as action:
        assert action.set_labels(1, labels) == first


@pytest.mark.parametrize(
    "harm",
    [
        "png = CAST(substr(png, 1, length(png) - 1) || x'00' AS BLOB)",
        "row = row + 1",
        "parent_id = NULL",
        "sha256 = replace(sha256, 'a', 'b')",
        "png = zeroblob(20)",
    ],
)
def test_a_revision_that_was_altered_is_named_not_shown(project: Project, harm: str) -> None:
    written = _paint_often(project, 4)
    victim = written[2][0]
    _rows(project, f"UPDATE revision SET {harm} WHERE id = {victim}")
    with Project.open(project.folder) as fresh:
        np.testing.assert_array_equal(fresh.revision(written[1][0]), written[1][1])
        with pytest.raises(ProjectError, match=rf"revision {victim} .*damaged"):
            fresh.human_labels(1)
