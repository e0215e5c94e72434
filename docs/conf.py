"""Build the documentation: ``make docs`` writes it to build/docs.  Needs no network."""

from __future__ import annotations

import html
import subprocess
import sys
from pathlib import Path

from owlabel import SCORES, __version__
from owlabel.ood.registry import OVERLAYS

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
exclude_patterns = ["reference/generated/scores.md"]  # included by concepts/scores.md
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
    """Return the reference of a Typer application as Markdown."""
    command = [sys.executable, "-m", "typer", module, "utils", "docs", "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return html.unescape(done.stdout)


def score_table() -> str:
    """Return the registered scores as a Markdown table."""
    rows = [
        "| name | in the window | formula | range | needs | source |",
        "|---|---|---|---|---|---|",
    ]
    for score in OVERLAYS.values():
        needs = "" if score.name in SCORES and score.needs == "logits" else score.need
        cells = (f"`{score.name}`", score.label, f"`{score.formula}`", score.range, needs,
                 score.source)  # fmt: skip
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


GENERATED.mkdir(exist_ok=True)
PAGES = {
    "owlabel.md": command_page("owlabel.cli", "owlabel"),
    "owlabel-train.md": command_page("owlabel_training.main", "owlabel-train"),
    "scores.md": score_table(),
}
for file, text in PAGES.items():
    (GENERATED / file).write_text(text, encoding="utf-8")
