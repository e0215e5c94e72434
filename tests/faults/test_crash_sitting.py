"""A short run of the kill battery; the long one is a command, see `crash_sitting`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = Path(__file__).with_name("crash_sitting.py")
KILLS = 5


def test_a_killed_sitting_loses_nothing_acknowledged(toy: Any, tmp_path: Path) -> None:
    toy.project.close()
    done = subprocess.run(
        [sys.executable, COMMAND, "--kills", str(KILLS), "--project", str(toy.project.folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["kills"] == KILLS
    assert summary["acts"] > KILLS, "the sitting did something before it was killed"
    assert summary["acknowledged_lost"] == 0
    assert summary["half_written_files"] == 0
