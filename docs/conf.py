"""Build the documentation: ``make docs`` writes it to build/docs.  Needs no network."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

from owlabel import __version__
from owlabel.ood.registry import SCORES

HERE = Path(__file__).parent
GENERATED = HERE / "reference" / "generated"

project = "OWLabel"
author = "OWLabel developers"
copyright = "OWLabel developers"  # noqa: A001
release = version = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
]
exclude_patterns = [
    "reference/generated/scores.md",
    "reference/generated/how_to_add.md",
]  # included
html_theme = "furo"
html_title = f"OWLabel {__version__}"
html_show_copyright = False
html_copy_source = False
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False


def command_page(module: str, name: str) -> str:
    """Return the reference of a Typer application as Markdown.

    Typer's lists of commands cut their texts; the headings and the sidebar list them as well.
    """
    command = [sys.executable, "-m", "typer", module, "utils", "docs", "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    page = html.unescape(done.stdout)
    return re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", page)


def score_tables() -> str:
    """Return the registered scores as one Markdown table for each thing that they need."""
    lines: list[str] = []
    for need in dict.fromkeys(score.need for score in SCORES.values()):
        lines += [f"Scores that need {need}:", "", "| score | formula | range | source |"]
        lines += ["|---|---|---|---|"]
        for score in SCORES.values():
            if score.need == need:
                texts = (score.formula, score.range, score.source)
                cells = [re.sub(r"([|*_])", r"\\\1", text) for text in texts]
                lines += [f"| {score.title} (`{score.name}`) | " + " | ".join(cells) + " |"]
        lines += [""]
    return "\n".join(lines)


def how_to_add() -> str:
    """Return the section "How to add" of CONTRIBUTING, for a page in ``howto``."""
    text = (HERE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## How to add\n")[2].partition("\n## ")[0]
    return section.replace("](docs/", "](../")


GENERATED.mkdir(exist_ok=True)
PAGES = {
    "owlabel.md": command_page("owlabel.cli", "owlabel"),
    "owlabel-train.md": command_page("owlabel_training.main", "owlabel-train"),
    "scores.md": score_tables(),
    "how_to_add.md": how_to_add(),
}
for file, text in PAGES.items():
    (GENERATED / file).write_text(text, encoding="utf-8")
