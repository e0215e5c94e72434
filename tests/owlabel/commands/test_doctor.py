"""What `owlabel doctor` says of this installation and of a project."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from owlabel.cli import app
from owlabel.commands import doctor
from owlabel.commands.doctor import Finding

run = CliRunner().invoke
GOOD = 'print("1.2")'


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask no slow process for OpenGL and torch."""
    monkeypatch.setattr(doctor, "OPENGL", GOOD)
    monkeypatch.setattr(doctor, "TORCH", GOOD)


@pytest.mark.usefixtures("quick")
def test_a_line_each_and_no_torch(toy: Any) -> None:
    toy.project.close()
    done = run(app, ["doctor", str(toy.images)])
    lines = done.stdout.splitlines()
    what = [line[5:].split(":")[0] for line in lines]
    assert what == [
        "Python", "Qt", "napari", "OpenGL", "torch", "database", "sample model",
        "project's database", "images", "cache", "model 'toy'",
    ]  # fmt: skip
    assert done.exit_code == 0, done.output
    assert all(line.startswith(("ok ", "note")) for line in lines), lines


def test_what_dies_is_told_with_its_remedy() -> None:
    found = doctor._run_check("torch", "import os; os.kill(os.getpid(), 11)", "do this")
    assert found == Finding("torch", False, "the process ended with status -11", "do this")
    found = doctor._run_check("torch", "raise ImportError('no such thing')", "do this")
    assert (found.good, found.detail) == (False, "ImportError: no such thing")


@pytest.mark.parametrize(
    ("installed", "good", "remedy"),
    [
        ({}, False, "owlabel[pyqt5]"),
        ({"napari": "0.8.1", "PyQt5": "5.15"}, False, "napari>=0.9.2"),
        ({"napari": "0.9.2", "PyQt5": "5.15"}, True, ""),
        ({"napari": "0.10.0rc1", "PyQt5": "5.15"}, False, "owlabel[pyqt6]"),
        ({"napari": "0.10.0", "PyQt5": "5.15", "PySide6": "6.9"}, True, ""),
    ],
)
def test_versions_of_napari(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], good: bool, remedy: str
) -> None:
    monkeypatch.setattr(doctor, "_installed", installed.get)
    found = doctor.napari()
    assert found.good is good
    assert remedy in found.remedy


def test_a_binding_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", {"PyQt6": "6.9"}.get)
    monkeypatch.setenv("QT_API", "pyqt5")
    assert doctor.qt().remedy == "unset QT_API"
    monkeypatch.delenv("QT_API")
    assert doctor.qt().good


@pytest.mark.usefixtures("quick")
def test_a_damaged_database_and_a_changed_model_are_bad(toy: Any) -> None:
    folder, model = toy.project.folder, toy.project.active_model().path
    toy.project.close()
    model.write_bytes(model.read_bytes() + b"x")
    assert [f.what for f in doctor.project_findings(folder) if not f.good] == ["model 'toy'"]
    (folder / "project.db").write_bytes(b"no database" * 1000)
    done = run(app, ["doctor", str(folder)])
    assert done.exit_code == 1
    assert "restore a copy" in done.stdout.splitlines()[-1]


def test_a_newer_project_is_left_alone(toy: Any) -> None:
    path = toy.project.folder / "project.db"
    toy.project.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    (found,) = doctor.project_findings(path.parent)
    assert (found.good, found.remedy) == (False, "update OWLabel")


def test_a_folder_without_a_project_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="owlabel new"):
        doctor._project(tmp_path)
    assert not list(tmp_path.iterdir())


def test_this_process_stays_without_torch_and_qt() -> None:
    code = (
        "import sys; from owlabel.commands import doctor\n"
        "doctor.TORCH = doctor.OPENGL = 'print(1)'\n"
        "list(doctor.findings()); print({'torch', 'napari', 'qtpy'} & set(sys.modules))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "set()"


def test_the_limit_of_the_cache_is_shown_and_set(toy: Any) -> None:
    toy.project.close()
    folder = str(toy.images)
    assert "0.00 GiB of 20" in run(app, ["cache", folder]).stdout
    done = run(app, ["cache", folder, "--limit", "1e-9"])
    assert "the model in use needs them" in done.stdout.replace("\n", " ")
    assert run(app, ["undo", folder]).stdout.strip() == "undone: set cache_limit_gib"
    assert "must be above 0 GiB" in run(app, ["cache", folder, "--limit", "0"]).stderr


def test_a_project_with_a_hash_in_its_name(toy: Any, tmp_path: Path) -> None:
    toy.project.close()
    other = toy.project.folder.rename(tmp_path / "pics #2.owlabel")
    (other / "project.db").write_bytes(b"no database" * 1000)
    found = doctor._database(other / "project.db")
    assert not found.good
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("pics")] == [other.name]
