"""Old databases are brought up to date after a backup; newer ones are left alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from owlabel.project import store
from owlabel.project.storage import migrate
from owlabel.project.storage.schema import REVISION, Base
from owlabel.project.store import Project, ProjectError

SECOND = '''"""A later release."""
import sqlalchemy as sa
from alembic import op

revision = "0099"
down_revision = "0004"


def upgrade():
    op.add_column("meta", sa.Column("note", sa.String(), nullable=True))
    op.execute("UPDATE meta SET note = 'migrated'")
    {ending}
'''


def _query(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program as it will be one release later: one more migration."""
    scripts = Path(shutil.copytree(migrate.SCRIPTS, tmp_path / "mi%rations"))
    (scripts / "versions" / "0099_later.py").write_text(SECOND.format(ending=""))
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(migrate, "REVISION", "0099")
    monkeypatch.setattr(store, "REVISION", "0099")
    return scripts


def test_the_migrated_schema_is_the_one_of_the_tables(project: Project) -> None:
    with project.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_program_knows_its_newest_revision() -> None:
    assert ScriptDirectory(str(migrate.SCRIPTS)).get_current_head() == REVISION


def test_opening_an_up_to_date_project_makes_no_backup(project: Project) -> None:
    Project.open(project.folder).close()
    assert list(project.folder.glob("*.backup")) == []


def test_an_older_project_is_backed_up_and_migrated(project: Project, later: Path) -> None:
    with project.action("set") as action:
        action.set_setting("a", 5)
    project.close()
    path = project.folder / "project.db"
    with Project.open(project.folder) as again:
        assert again.setting("a") == 5
        assert again.can_undo == "set"
    assert migrate.found_revision(path) == "0099"
    assert {row[0] for row in _query(path, "SELECT note FROM meta")} == {"migrated"}
    backup = project.folder / "project-0004.backup"
    assert _query(backup, "SELECT value FROM setting") == [("5",)]
    assert migrate.found_revision(backup) == "0004"


def test_a_migration_that_fails_leaves_the_old_database(project: Project, later: Path) -> None:
    project.close()
    ending = 'op.execute("INSERT INTO missing VALUES (1)")'
    (later / "versions" / "0099_later.py").write_text(SECOND.format(ending=ending))
    with pytest.raises(ProjectError, match="missing"):
        Project.open(project.folder)
    path = project.folder / "project.db"
    assert migrate.found_revision(path) == "0004"
    assert "note" not in [row[1] for row in _query(path, "PRAGMA table_info(meta)")]


def test_a_newer_project_is_refused_and_not_touched(project: Project) -> None:
    project.close()
    path = project.folder / "project.db"
    _query(path, "UPDATE alembic_version SET version_num = '9999'")
    before, names = path.read_bytes(), sorted(project.folder.rglob("*"))
    with pytest.raises(ProjectError, match="newer"):
        Project.open(project.folder)
    assert path.read_bytes() == before
    assert [
        n for n in sorted(project.folder.rglob("*")) if n.suffix not in (".db-shm", ".db-wal")
    ] == names


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    _query(tmp_path / "project.db", "CREATE TABLE recipe (name TEXT)")
    with pytest.raises(ProjectError, match="not the database"):
        Project.open(tmp_path)


def test_a_project_from_before_tags_keeps_everything(project: Project) -> None:
    with project.action("name") as action:
        deer = action.add_class("deer").id
        labels = project.human_labels(1)
        labels[2:5] = deer
        action.set_labels(1, labels)
    project.close()
    path = project.folder / "project.db"
    before_tags = """
        DROP TABLE tag; DROP TABLE proposal; DROP INDEX ix_candidate_open;
        UPDATE alembic_version SET version_num = {}
    """
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(before_tags.format("'0002'"))
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    kept = {str(name) for (name,) in _query(path, tables)} - {"alembic_version"}
    was = {name: _query(path, f"SELECT * FROM {name}") for name in kept}
    with Project.open(project.folder) as again:
        assert again.can_undo == "name"
        assert again.tags.all() == {}
        np.testing.assert_array_equal(again.human_labels(1), labels)
        with again.action("tag") as action:
            action.set_tags(deer, {1: "present"})
        assert again.tags.of(1) == {deer: "present"}
        again.undo()
    assert (project.folder / "project-0002.backup").is_file()
    now = {name: _query(path, f"SELECT * FROM {name}") for name in kept}
    for name in kept - {"event", "change"}:
        assert now[name] == was[name]
