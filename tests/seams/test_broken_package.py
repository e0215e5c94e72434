"""A package that is broken costs a line; all that is built in works on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from owlabel.ood.registry import SCORES

GROUPS = ("owlabel.scores", "owlabel.formats", "owlabel.jobs")


def test_a_package_that_cannot_be_imported_costs_one_line_a_table(
    install: Any, command: Any, toy: Any, tmp_path: Path
) -> None:
    install(
        {"broken.py": "raise RuntimeError('not on this machine')"},
        {group: {"theirs": "broken:X", "entropy": "broken:X"} for group in GROUPS},
        "broken",
    )
    folder = str(toy.project.folder)
    toy.project.close()
    done = command("scores", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert [row["score"] for row in json.loads(done.stdout)] == list(SCORES)
    lines = [line for line in done.stderr.splitlines() if "owlabel.scores" in line]
    assert lines == [
        "owlabel.scores 'entropy' of the package broken is left out: the name is taken by owlabel",
        "owlabel.scores 'theirs' of the package broken is left out: "
        "RuntimeError: not on this machine",
    ]
    assert "Traceback" not in done.stderr
    done = command("export", folder, str(tmp_path / "out"), "--which", "all")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "masks").is_dir()
