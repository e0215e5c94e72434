"""Where an export goes: whole or not at all, and never outside its folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

MARKER = "owlabel-export.json"
"""Stands in every export; only a folder that holds it, or is empty, is ever replaced."""
LONGEST_NAME = 255


class ExportError(ValueError):
    """An export that cannot be written or read; the message names the file or folder."""


def checked_name(name: str) -> PurePosixPath:
    """Return the relative path `name` if it cannot lead out of a folder.

    Raises
    ------
    ExportError
        If it is empty or absolute, has a drive letter, a backslash, a control character, or a
        part that is ``.``, ``..`` or longer than 255 bytes.
    """
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\\" in name:
        raise ExportError(f"an image name must be relative, with / between folders, got {name!r}")
    if any(part in ("", ".", "..") for part in parts):
        raise ExportError(f"an image name must not hold empty parts, '.' or '..', got {name!r}")
    if any(ord(letter) < 32 for letter in name):
        raise ExportError(f"an image name must not hold control characters, got {name!r}")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
        raise ExportError(
            f"a part of an image name must not pass {LONGEST_NAME} bytes, got {name!r}"
        )
    return PurePosixPath(name)


class Stems:
    """Give every image a path without suffix that differs even where case does not count."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """Return `name` without its suffix, or with it where that path is taken already.

        Raises
        ------
        ExportError
            If the name is hostile, or came before.
        """
        path = checked_name(name)
        for stem in (path.with_suffix("").as_posix(), path.as_posix()):
            key = unicodedata.normalize("NFC", stem).casefold()
            if key not in self._taken:
                self._taken.add(key)
                return stem
        raise ExportError(f"two images would be exported under the name {name!r}")


@contextmanager
def replacing(folder: Path, overwrite: bool) -> Generator[Path, None, None]:
    """Give an empty sibling folder that takes the place of `folder` if all goes well.

    The files reach the disk before the folder gets its name.  After an error, or when the caller
    stops half way, `folder` is as it was and nothing else is left.

    Raises
    ------
    ExportError
        If `folder` exists and `overwrite` is False; if it holds something that is no export; if
        the disk refuses.
    """
    folder = Path(os.path.abspath(folder))
    previous = folder.with_name(f".{folder.name}.previous")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _tidy(folder, previous)
        refuse_existing(folder, overwrite)
        partial = tempfile.mkdtemp(
            prefix=f".{folder.name}.partial-{os.getpid()}-", dir=folder.parent
        )
        temporary = Path(partial)
    except OSError as error:
        raise ExportError(f"cannot export to {folder}: {error}") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        _sync(temporary)
        refuse_existing(folder, overwrite)
        _swap(temporary, folder, previous)
    except OSError as error:
        raise ExportError(f"the export to {folder} failed: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Raise where something stands at `folder` that must stay."""
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise ExportError(f"{folder} exists: choose another folder, or allow to overwrite it")
    if folder.is_symlink() or not folder.is_dir():
        raise ExportError(f"{folder} is no folder: choose another")
    if any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise ExportError(f"{folder} holds files that are no export of ours: choose another folder")


def _tidy(folder: Path, previous: Path) -> None:
    """Put right what an export that was killed has left beside `folder`."""
    if previous.is_dir() and not folder.exists():
        previous.rename(folder)
    for path in folder.parent.glob(f"{_literal('.' + folder.name)}.partial-*"):
        owner = re.match(r"(\d+)-", path.name.removeprefix(f".{folder.name}.partial-"))
        if owner and os.name == "posix" and not _alive(int(owner[1])):
            shutil.rmtree(path, ignore_errors=True)


def _literal(name: str) -> str:
    """Return a glob pattern that matches `name` only."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _swap(temporary: Path, folder: Path, previous: Path) -> None:
    """Rename `temporary` to `folder`; what was there is deleted only after that."""
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
        try:
            temporary.rename(folder)
        except OSError:
            previous.rename(folder)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    else:
        temporary.rename(folder)
    _sync_one(folder.parent)


def _sync(folder: Path) -> None:
    """Bring every file and folder below `folder` to the disk."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync_one(Path(root, name))
        _sync_one(Path(root))


def _sync_one(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # only POSIX opens folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` with one entry a line; pure ASCII, so that any name survives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises ExportError naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error


class ArrayFile:
    """A JSON array that grows on disk, so that it never stands in memory as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("[", encoding="ascii")
        self._first = True

    def add(self, values: list[dict[str, Any]]) -> None:
        """Append some entries."""
        with self.path.open("a", encoding="ascii") as file:
            for value in values:
                file.write(("\n" if self._first else ",\n") + json.dumps(value))
                self._first = False


def join_json(path: Path, arrays: dict[str, ArrayFile], rest: dict[str, Any]) -> None:
    """Write one JSON object of `rest` and of `arrays`, whose own files are removed."""
    with path.open("w", encoding="ascii") as file:
        file.write("{\n")
        for name, value in rest.items():
            file.write(f"{json.dumps(name)}: {json.dumps(value)},\n")
        for index, (name, array) in enumerate(arrays.items()):
            file.write(("" if index == 0 else ",\n") + f"{json.dumps(name)}: ")
            with array.path.open(encoding="ascii") as part:
                shutil.copyfileobj(part, file)
            file.write("\n]")
            array.path.unlink()
        file.write("\n}\n")
