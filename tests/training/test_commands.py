"""Commands that the documentation names run modules that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = re.compile(r"python -m ((?:experiments|benchmarks|owlabel_samples)\.[a-z_.]*[a-z])")


def named_modules() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    return sorted({m for page in pages for m in MODULE.findall(page.read_text(encoding="utf-8"))})


def test_the_documentation_names_commands() -> None:
    assert len(named_modules()) > 10


@pytest.mark.parametrize("module", named_modules())
def test_a_command_of_the_documentation_exists(module: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert "__main__" in Path(spec.origin).read_text(encoding="utf-8")
