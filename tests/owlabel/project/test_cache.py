"""The feature cache gives back what was written, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from owlabel.project.cache import FeatureCache


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


def _embedding(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 6, 9)).astype(np.float16)


def test_arrays_and_metadata_come_back(cache: FeatureCache) -> None:
    assert not cache.has("head", "image")
    assert cache.read("head", "image") is None
    cache.write("head", "image", {"embedding": _embedding()}, {"height": "24"})
    assert cache.has("head", "image")
    arrays = cache.read("head", "image")
    assert arrays is not None
    assert arrays["embedding"].dtype == np.float16
    np.testing.assert_array_equal(arrays["embedding"], _embedding())
    assert cache.metadata("head", "image") == {"height": "24"}


def test_an_array_that_is_a_view_is_written_as_it_looks(cache: FeatureCache) -> None:
    cache.write("head", "image", {"embedding": _embedding().transpose(2, 0, 1)})
    arrays = cache.read("head", "image")
    assert arrays is not None
    np.testing.assert_array_equal(arrays["embedding"], _embedding().transpose(2, 0, 1))


@pytest.mark.parametrize("place", [0, 9, 60, -1, -100])
def test_a_flipped_byte_is_a_miss_and_the_file_goes(cache: FeatureCache, place: int) -> None:
    cache.write("head", "image", {"embedding": _embedding()}, {"height": "24"})
    path = cache.path("head", "image")
    data = bytearray(path.read_bytes())
    data[place] ^= 0x21
    path.write_bytes(data)
    assert cache.read("head", "image") is None
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 5, 40, 300])
def test_a_cut_file_is_a_miss(cache: FeatureCache, size: int) -> None:
    cache.write("head", "image", {"embedding": _embedding()})
    path = cache.path("head", "image")
    path.write_bytes(path.read_bytes()[:size])
    assert cache.read("head", "image") is None


def test_a_header_that_claims_much_asks_for_no_memory(cache: FeatureCache) -> None:
    path = cache.path("head", "image")
    path.parent.mkdir(parents=True)
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    assert cache.read("head", "image") is None


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write("head", "image", {"embedding": _embedding(0)})

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        cache.write("head", "image", {"embedding": _embedding(1)})
    arrays = cache.read("head", "image")
    assert arrays is not None
    np.testing.assert_array_equal(arrays["embedding"], _embedding(0))
    assert len(list(cache.folder.rglob("*.*"))) == 1


@pytest.mark.parametrize("key", ["../up", "a/b", "", "a" * 81, "."])
def test_keys_that_are_no_plain_names_are_refused(cache: FeatureCache, key: str) -> None:
    with pytest.raises(ValueError, match="cache key"):
        cache.path(key, "image")
