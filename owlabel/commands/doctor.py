"""``owlabel doctor``: check this installation, one line a check, with the remedy."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from owlabel.checkpoints.header import CheckpointError, read_header
from owlabel.commands.console import one_line_errors, out
from owlabel.project.cache_eviction import cache_limit
from owlabel.project.model_versions import file_sha256
from owlabel.project.storage import migrate
from owlabel.project.storage.feature_cache import GIB, FeatureCache
from owlabel.project.storage.schema import REVISION
from owlabel.project.store import Project
from owlabel.view.open_project import DATABASE, project_folder, sample_checkpoint

OLDEST_PYTHON = (3, 11)
OLDEST_NAPARI = (0, 9, 2)
PYQT5_UP_TO = (0, 10)
BINDINGS = {"PyQt5": "pyqt5", "PyQt6": "pyqt6", "PySide6": "pyside6"}
"""Name of a Qt distribution to the extra of OWLabel that installs it."""
SECONDS = 120
FREE_GIB = 2.0
OPENGL = """
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
app = QGuiApplication([])
surface, context = QOffscreenSurface(), QOpenGLContext()
surface.create()
assert context.create() and context.makeCurrent(surface), "no context"
from vispy.gloo import gl
print("OpenGL", gl.glGetParameter(gl.GL_VERSION), "on", gl.glGetParameter(gl.GL_RENDERER))
"""
TORCH = """
import torch
from owlabel.models.device import chosen_device
device = chosen_device()
name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor"
print(torch.__version__, "on", name)
"""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    what : str
        What was checked.
    good : bool or None
        None: it works, but something should be changed.
    detail, remedy : str
    """

    what: str
    good: bool | None
    detail: str
    remedy: str = ""


def doctor(
    folder: Annotated[
        Path | None, typer.Argument(help="Also check this project, or the project of a folder.")
    ] = None,
) -> None:
    """Check Python, Qt, OpenGL, napari, torch, database, cache and models; change nothing."""
    bad = 0
    with one_line_errors():
        for finding in findings(folder):
            bad += finding.good is False
            mark = {True: "ok  ", None: "note", False: "BAD "}[finding.good]
            remedy = f"  ->  {finding.remedy}" if finding.remedy else ""
            line = f"{mark} {finding.what}: {finding.detail}{remedy}"
            out.print(line)
    if bad:
        raise typer.Exit(1)


def findings(folder: Path | None = None) -> Iterator[Finding]:
    """Yield the results for this installation, then for a project."""
    for check in (python, qt, napari, opengl, torch, sqlite, sample_model):
        yield check()
    if folder is not None:
        yield from project_findings(_project(folder))


def python() -> Finding:
    """Check the version of Python."""
    now = sys.version_info[:3]
    return Finding(
        "Python", now >= OLDEST_PYTHON, _dotted(now), "" if now >= OLDEST_PYTHON else
        f"create a virtual environment with Python {_dotted(OLDEST_PYTHON)} or newer",
    )  # fmt: skip


def qt() -> Finding:
    """Check that one Qt binding is installed, and that QT_API names it."""
    installed = {name: number for name in BINDINGS if (number := _installed(name)) is not None}
    detail = ", ".join(f"{name} {number}" for name, number in installed.items()) or "none"
    wanted = os.environ.get("QT_API")
    if not installed:
        return Finding("Qt", False, detail, 'pip install "owlabel[pyqt5]"')
    if wanted and wanted.lower() not in {BINDINGS[name] for name in installed}:
        return Finding("Qt", False, f"{detail}, but QT_API is {wanted}", "unset QT_API")
    if len(installed) > 1 and not wanted:
        return Finding("Qt", None, detail, "set QT_API to the binding that napari should use")
    return Finding("Qt", True, detail)


def napari() -> Finding:
    """Check the version of napari, which supports PyQt5 up to 0.9."""
    napari_version = _installed("napari")
    if napari_version is None:
        return Finding("napari", False, "not installed", 'pip install "owlabel[pyqt5]"')
    number = _numbers(napari_version)
    if number < OLDEST_NAPARI:
        remedy = f'pip install "napari>={_dotted(OLDEST_NAPARI)}"'
        return Finding("napari", False, napari_version, remedy)
    qt6 = any(_installed(name) for name in ("PyQt6", "PySide6"))
    if number >= PYQT5_UP_TO and not qt6:
        detail = f"{napari_version} without Qt 6"
        return Finding("napari", False, detail, 'pip install "owlabel[pyqt6]"')
    return Finding("napari", True, napari_version)


def opengl() -> Finding:
    """Check in a separate process that a canvas can be drawn."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        remedy = "commands work without a window; to open the window: xvfb-run -a owlabel ..."
        return Finding("OpenGL", None, "there is no display", remedy)
    return _run_check(
        "OpenGL", OPENGL, "install the packages listed in docs/reference/system_packages.md"
    )


def torch() -> Finding:
    """Check in a separate process that models can run."""
    return _run_check("torch", TORCH, 'pip install "torch>=2.10" "torchvision>=0.25"')


def sqlite() -> Finding:
    """Check that SQLite can write a database with a write-ahead log."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            connection = sqlite3.connect(Path(folder) / DATABASE)
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.close()
    except (OSError, sqlite3.Error) as error:
        return Finding("database", False, str(error), "free space in the temporary folder (TMPDIR)")
    if mode != "wal":
        return Finding("database", False, f"SQLite {sqlite3.sqlite_version}", "use a local disk")
    return Finding("database", True, f"SQLite {sqlite3.sqlite_version}")


def sample_model() -> Finding:
    """Check that the sample model can be read."""
    try:
        return Finding("sample model", True, read_header(sample_checkpoint()).name)
    except (ValueError, OSError) as error:
        return Finding("sample model", False, str(error), "pip install --force-reinstall owlabel")


def project_findings(project: Path) -> Iterator[Finding]:
    """Yield the results for a project, which is not migrated or changed."""
    path = project / DATABASE
    yield (base := _database(path))
    if base.good is not True:
        return
    with Project.open(project) as opened:
        root = opened.images_root
        yield Finding(
            "images", root.is_dir(), str(root), "" if root.is_dir() else
            "move the folder back to this path",
        )  # fmt: skip
        yield _cache(opened)
        yield from (_model(m.name, m.path, m.hash) for m in opened.models())


def _database(path: Path) -> Finding:
    what = "project's database"
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        verdict = str(connection.execute("PRAGMA quick_check").fetchone()[0])
        connection.close()
        revision = migrate.found_revision(path)
    except (sqlite3.Error, ValueError) as error:
        return Finding(what, False, f"{path}: {error}", "restore a copy of the project's folder")
    if verdict != "ok":
        return Finding(what, False, f"{path}: {verdict}", "restore a copy of the project's folder")
    if revision != REVISION:
        known = revision in migrate.known_revisions()
        remedy = "the project is migrated when it is opened" if known else "update OWLabel"
        return Finding(what, None if known else False, f"revision {revision}", remedy)
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        return Finding(
            what, False, f"{path} cannot be written", "change the permissions of the folder"
        )
    return Finding(what, True, f"{path}, revision {revision}")


def _cache(project: Project) -> Finding:
    cache: FeatureCache = project.cache
    size, limit = cache.size() / GIB, cache_limit(project)
    free = shutil.disk_usage(project.folder).free / GIB
    detail = f"{size:.2f} GiB of {limit:g}, {free:.1f} GiB free on the disk"
    if free < FREE_GIB:
        return Finding(
            "cache",
            False,
            detail,
            "free some space: the folder `cache` of the project may be deleted",
        )
    if size > limit:
        return Finding("cache", None, detail, "owlabel cache DIR --limit GIB")
    return Finding("cache", True, detail)


def _model(name: str, path: Path, digest: str) -> Finding:
    what = f"model {name!r}"
    try:
        if file_sha256(path) != digest:
            return Finding(
                what, False, f"{path} was changed", "restore the file, or use another model"
            )
        return Finding(what, True, path.name)
    except (CheckpointError, OSError) as error:
        return Finding(what, False, str(error), "restore the file, or use another model")


def _project(folder: Path) -> Path:
    """Return the project of a folder; raises ValueError if there is none."""
    folder = folder.expanduser().resolve()
    for candidate in (folder, project_folder(folder)):
        if (candidate / DATABASE).is_file():
            return candidate
    raise ValueError(
        f"{folder} is not a project and has none beside it: create one with `owlabel new`"
    )


def _run_check(what: str, code: str, remedy: str) -> Finding:
    """Run some code in a separate process, which may crash."""
    try:
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding(what, False, f"no answer within {SECONDS} s", remedy)
    good = process.returncode == 0
    lines = (process.stdout if good else process.stderr).strip().splitlines()
    last = lines[-1] if lines else f"the process ended with status {process.returncode}"
    return Finding(what, good, last, "" if good else remedy)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: "0.10.0rc1" is (0, 10, 0)."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
