"""The folder of an export: written completely or not at all, and never outside its path."""

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
"""Every export holds this file.  Only a folder that is empty or holds it may be replaced."""
LONGEST_NAME = 255


class ExportError(ValueError):
    """An export cannot be written or read; the message names the file or folder."""


def checked_name(name: str) -> PurePosixPath:
    """Return `name` as a relative path that cannot lead out of a folder.

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
        raise ExportError(f"an image name must not contain empty parts, '.' or '..', got {name!r}")
    if any(ord(letter) < 32 for letter in name):
        raise ExportError(f"an image name must not contain control characters, got {name!r}")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in parts):
        raise ExportError(
            f"each part of an image name may have at most {LONGEST_NAME} bytes, got {name!r}"
        )
    return PurePosixPath(name)


class Stems:
    """Gives every image its own path without suffix, even where the file system ignores case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """Return `name` without its suffix, or with the suffix if that path is already taken.

        Raises
        ------
        ExportError
            If the name is unsafe or was taken before.
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
    """Yield an empty sibling folder that replaces `folder` if no error occurs.

    All files are flushed to disk before the rename.  After an error, or if the caller stops early,
    `folder` is unchanged and no temporary files remain.

    Raises
    ------
    ExportError
        If `folder` exists and `overwrite` is False, if it holds anything but an export, or if
        writing fails.
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
    """Raise ExportError if `folder` exists and must not be replaced."""
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise ExportError(f"{folder} already exists: choose another folder or allow overwriting")
    if folder.is_symlink() or not folder.is_dir():
        raise ExportError(f"{folder} is not a folder: choose another path")
    if any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise ExportError(
            f"{folder} holds files that are not an OWLabel export: choose another folder"
        )


def _tidy(folder: Path, previous: Path) -> None:
    """Clean up beside `folder` after an export that was killed."""
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
    """Rename `temporary` to `folder`; only then delete the previous folder."""
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
    """Flush every file and folder below `folder` to disk."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync_one(Path(root, name))
        _sync_one(Path(root))


def _sync_one(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # only POSIX systems can open folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` with one entry per line, in pure ASCII so that any name survives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="ascii")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises ExportError with its path."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error


class ArrayFile:
    """A JSON array that grows on disk and is never held in memory as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("[", encoding="ascii")
        self._first = True

    def add(self, values: list[dict[str, Any]]) -> None:
        """Append entries."""
        with self.path.open("a", encoding="ascii") as file:
            for value in values:
                file.write(("\n" if self._first else ",\n") + json.dumps(value))
                self._first = False


def join_json(path: Path, arrays: dict[str, ArrayFile], rest: dict[str, Any]) -> None:
    """Write `rest` and `arrays` as one JSON object, then delete the arrays' own files."""
    with path.open("w", encoding="ascii") as file:
        file.write("{\n")
        for name, value in rest.items():
            file.write(f"{json.dumps(name)}: {json.dumps(value)},\n")
        for index, (name, array) in enumerate(arrays.items()):
            file.write(("" if index == 0 else ",\n") + f"{json.dumps(name)}: ")
            with array.path.open(encoding="ascii") as entries:
                shutil.copyfileobj(entries, file)
            file.write("\n]")
            array.path.unlink()
        file.write("\n}\n")
