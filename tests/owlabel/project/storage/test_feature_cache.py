"""The feature cache gives back what was written, or nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from owlabel.project import cache_eviction
from owlabel.project.cache_eviction import SETTING, trim_cache, trim_message
from owlabel.project.storage.feature_cache import GIB, FeatureCache, Trimmed
from owlabel.project.store import Project


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


def _fill(cache: FeatureCache, names: str, head: str = "head") -> int:
    """Write one file for each letter, used one second after another; return the bytes of each."""
    for second, name in enumerate(names):
        cache.write(head, name, {"embedding": _embedding()})
        os.utime(cache.path(head, name), (second, second))
    return cache.path(head, names[0]).stat().st_size


def _kept(cache: FeatureCache, head: str = "head") -> str:
    return "".join(sorted(path.stem for path in (cache.folder / head).glob("*.safetensors")))


def test_what_was_used_longest_ago_goes_first(cache: FeatureCache) -> None:
    size = _fill(cache, "abcdefghij")
    cache.read("head", "a")  # used again
    assert cache.size() == 10 * size
    assert cache.trim(10 * size, lambda *_: True) == Trimmed(0, 0, 10 * size, 10)
    assert cache.trim(9 * size, lambda *_: True) == Trimmed(2, 2 * size, 8 * size, 8)
    assert _kept(cache) == "adefghij"


def test_what_is_in_use_stays_however_large_it_is(cache: FeatureCache) -> None:
    size = _fill(cache, "abcd")
    done = cache.trim(1, lambda _head, image: image not in "ab")
    assert (_kept(cache), done.left) == ("ab", 2 * size)


def test_a_cache_is_looked_at_again_when_half_of_its_room_is_filled(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = project.images()[0]
    project.cache.write("head", record.content_hash, {"embedding": _embedding()})
    each = project.cache.bytes_of("head", record.content_hash)
    monkeypatch.setattr(cache_eviction, "cache_limit", lambda _: 1000 * each / GIB)

    def images(left: int, kept: int) -> int:
        return cache_eviction.until_full(
            project, Trimmed(0, 0, left, kept), ["head", "none"], record
        )

    assert images(400 * each, 400) == 300
    assert images(999 * each, 999) == 64  # not at every image
    assert images(2000 * each, 32_000) == 2000  # nothing may go: looking more often is in vain
    monkeypatch.setattr(cache_eviction, "cache_limit", lambda _: 1e9)
    assert images(0, 0) == 4096  # the limit may be lowered meanwhile


def test_a_trimmed_cache_is_told() -> None:
    assert trim_message(Trimmed(0, 0, 100, 1), 1) is None
    assert trim_message(Trimmed(3, GIB, 100, 1), 1) == (
        "info", "Removed 3 cached embeddings of models not in use (1.0 GiB) to stay under 1 GiB."
    )  # fmt: skip
    level, text = trim_message(Trimmed(0, 0, 3 * GIB, 9), 1) or ("", "")
    assert (level, text[:43]) == ("warning", "The cache has 3.0 GiB, more than its limit ")


def test_a_project_keeps_the_model_in_use_and_the_current_image(
    project: Project, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = {"old": {"base", "first"}, "new": {"base", "second"}}
    monkeypatch.setattr(cache_eviction, "_heads", lambda path: heads[path.stem])
    for name in heads:
        copy = Path(shutil.copyfile(checkpoint, tmp_path / f"{name}.safetensors"))
        new = project.add_model(copy, name, "plm")
    with project.action("setting", {}, "use") as action:
        action.set_setting("active_model", new.id)
        action.set_setting(SETTING, 1e-9)
    hashes = [record.content_hash for record in project.images()]
    for head in ("base", "first", "second", "calibration"):
        for image_hash in hashes:
            project.cache.write(head, image_hash, {"embedding": _embedding()})
    project.set_focus(project.images()[1].id)
    done = trim_cache(project)
    assert done.files == 2
    assert [project.cache.has("first", h) for h in hashes] == [False, True, False]
    assert all(project.cache.has(h, i) for h in ("base", "second", "calibration") for i in hashes)
    assert trim_cache(project, ["first"]).files == 0
