"""Somebody else's package, installed in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ADDS = {
    "owlabel.scores": {"surprise": "stranger.scores:SURPRISE"},
    "owlabel.formats": {"numbers": "stranger.formats:NUMBERS"},
    "owlabel.models": {"tinynet": "stranger.models:TinyNet"},
    "owlabel.jobs": {"greet": "stranger.kinds:GREET"},
}
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def package(install: Callable[..., Path]) -> Path:
    """The package of `stranger`, visible to this process and to those that it starts."""
    source = Path(__file__).parent / "stranger"
    return install({f"stranger/{p.name}": p.read_text() for p in source.glob("*.py")}, ADDS)


@pytest.fixture
def command() -> Command:
    """Run ``owlabel`` in a process of its own, as the console script does."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        code = "from owlabel.cli import app; app()"
        path = os.pathsep.join(entry for entry in sys.path if entry)
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "300", "NO_COLOR": "1"},
        )  # fmt: skip

    return run
