"""The feature cache: one safetensors file per head and image.  Lost files can be recomputed.

The modification time of a file is the time of its last use: `read` updates it.
"""

from __future__ import annotations

import json
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

_NAME = re.compile(r"[0-9A-Za-z_-]{1,80}")
_HEADER_LIMIT = 1 << 20
GIB = 1 << 30
TRIM_TO = 0.9
"""Share of the limit that is left after trimming, so that not every new file trims again."""


@dataclass(frozen=True)
class Trimmed:
    """Result of `FeatureCache.trim`.

    Attributes
    ----------
    files, freed : int
        Files and bytes that were deleted.
    left, kept : int
        Bytes and files that remain.
    """

    files: int
    freed: int
    left: int
    kept: int


class FeatureCache:
    """Arrays that a model computed for an image, keyed by the hashes of head and image.

    Parameters
    ----------
    folder : Path
        Contains ``<head hash>/<image hash>.safetensors``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, head_hash: str, image_hash: str) -> Path:
        """Return the file's path; raises ValueError if a key is not a plain name."""
        for key in (head_hash, image_hash):
            if not _NAME.fullmatch(key):
                raise ValueError(
                    f"a cache key may only have letters, digits, - and _ (at most 80), got {key!r}"
                )
        return self.folder / head_hash / f"{image_hash}.safetensors"

    def has(self, head_hash: str, image_hash: str) -> bool:
        """Return whether the file exists; only `read` checks that it is complete."""
        return bool(image_hash) and self.path(head_hash, image_hash).is_file()

    def read(self, head_hash: str, image_hash: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays, or None if there are none; a damaged file is deleted."""
        content = self._load(head_hash, image_hash)
        return None if content is None else content[0]

    def metadata(self, head_hash: str, image_hash: str) -> dict[str, str] | None:
        """Return the metadata of the arrays, or None if the file is missing or damaged."""
        content = self._load(head_hash, image_hash)
        return None if content is None else content[1]

    def _load(
        self, head_hash: str, image_hash: str
    ) -> tuple[dict[str, NDArray[Any]], dict[str, str]] | None:
        path = self.path(head_hash, image_hash)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            metadata = _checked_metadata(data)
            arrays = load(data)
        except (ValueError, KeyError, TypeError, SafetensorError):
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # deleted meanwhile, or a read-only disk
            os.utime(path)
        return arrays, metadata

    def write(
        self,
        head_hash: str,
        image_hash: str,
        arrays: Mapping[str, NDArray[Any]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write the arrays under a temporary name, then rename: a reader sees all or nothing.

        Raises
        ------
        OSError
            If the disk is full or cannot be written; no partial file remains.
        """
        path = self.path(head_hash, image_hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = _with_checksum(dict(arrays), dict(metadata or {}))
        partial = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    def bytes_of(self, head_hash: str, image_hash: str) -> int:
        """Return the size of the file in bytes, 0 if it does not exist."""
        try:
            return self.path(head_hash, image_hash).stat().st_size
        except OSError:
            return 0

    def size(self) -> int:
        """Return the size of the cache on disk in bytes."""
        return sum(size for _, size, _ in self._files())

    def trim(self, limit: int, may_go: Callable[[str, str], bool]) -> Trimmed:
        """Delete the least recently used files if the cache is larger than `limit` bytes.

        Parameters
        ----------
        limit : int
            In bytes; a cache of at most this size is not changed.
        may_go : callable
            ``may_go(head hash, image hash) -> bool``: False for files in use.

        Returns
        -------
        Trimmed
            `left` is above `limit` if the files in use need more.
        """
        files = list(self._files())
        left = sum(size for _, size, _ in files)
        count, freed, goal = 0, 0, TRIM_TO * limit
        for _, size, path in sorted(files) if left > limit else ():
            if left - freed <= goal:
                break
            if may_go(path.parent.name, path.stem):
                path.unlink(missing_ok=True)
                count, freed = count + 1, freed + size
        return Trimmed(count, freed, left - freed, len(files) - count)

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time of last use, size in bytes and path of every file."""
        for path in self.folder.glob("*/*.safetensors"):
            with suppress(OSError):  # deleted meanwhile
                facts = path.lstat()
                yield facts.st_mtime, facts.st_size, path


def _with_checksum(arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    body = save(plain)
    start = 8 + int.from_bytes(body[:8], "little")
    return save(plain, {**metadata, "crc32": str(zlib.crc32(memoryview(body)[start:]))})


def _checked_metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a complete file; raises ValueError or KeyError if it is damaged."""
    size = int.from_bytes(data[:8], "little")
    if not 0 < size <= min(_HEADER_LIMIT, len(data)):
        raise ValueError("the header is truncated")
    metadata = dict(json.loads(data[8 : 8 + size])["__metadata__"])
    if int(metadata.pop("crc32")) != zlib.crc32(memoryview(data)[8 + size :]):
        raise ValueError("the checksum differs")
    return metadata
