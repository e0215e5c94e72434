"""The README and the documentation: snippets run, commands exist, links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import owlabel_samples

ROOT = Path(__file__).parents[1]
OWN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [
    *OWN,
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in p.parts),
    ROOT / "examples" / "README.md",
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
GENERATED = "reference/generated/"


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return [code for name, code in FENCE.findall(page.read_text("utf-8")) if name == language]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# -- links and file names -------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8"))]
    relative = [link for link in links if link and "://" not in link and GENERATED not in link]
    assert not [link for link in relative if not (page.parent / link).exists()]


def test_comments_name_pages_that_exist() -> None:
    sources = [
        path
        for folder in ("owlabel", "plugins", "training", "sample_data", "scripts", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".toml", "")
        if path.is_file()
    ]
    named = {
        (name_of(path), word)
        for path in sources
        for word in re.findall(r"docs/[\w/+-]+\.md", path.read_text("utf-8"))
    }
    assert not [pair for pair in named if not (ROOT / pair[1]).exists()]


def test_pages_name_modules_that_exist() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        if page.name == "CHANGELOG.md":  # its first column holds names of before
            text = "\n".join(line.rpartition("| `owlabel")[2] for line in text.splitlines())
            text = "\n".join(f"`owlabel{line}" for line in text.splitlines() if line)
        for name in re.findall(r"`((?:owlabel(?:_\w+)?)(?:\.[a-z_]+)+)`", text):
            assert _is_there(name), f"{name_of(page)} names {name}"


def _is_there(name: str) -> bool:
    """Tell whether a module, or the module that holds an attribute, can be imported."""
    parent, _, last = name.rpartition(".")
    try:
        if find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass
    try:
        spec = find_spec(parent)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None and last in Path(spec.origin).read_text()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 80


# -- keys -----------------------------------------------------------------------------------------


def bound_keys() -> dict[str, str]:
    """Return the key table of the window, read without importing Qt."""
    tree = ast.parse((ROOT / "plugins/owlabel_napari/canvas/keys.py").read_text("utf-8"))
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "NAMES"
    )
    assert isinstance(table, ast.Dict)
    plain = zip(table.keys, table.values, strict=True)
    return {key.value: what.value for key, what in plain if isinstance(key, ast.Constant)}


def test_the_page_of_keys_lists_the_keys_of_the_window() -> None:
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \|$", (ROOT / "docs/reference/keys.md").read_text(), re.M
    )
    shown = {
        key.replace("Ctrl", "Control").replace("Esc", "Escape").replace("+", "-"): what
        for key, what in rows
        if ".." not in key and key not in ("key", "---")
    }
    assert shown == bound_keys()


# -- commands -------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each call of ``owlabel`` or ``owlabel-train`` in the shell snippets."""
    for code in blocks(page, "sh"):
        for line in code.splitlines():
            words = shlex.split(line, comments=True)
            call: list[str] = []
            for word in [*words, ";"]:
                end = word.endswith(";") or word in (">", "|", "&&")
                if not (call and call[-1] == ">"):
                    call.append(word.rstrip(";"))
                if end:
                    if call[:1] in (["owlabel"], ["owlabel-train"]):
                        yield [w for w in call if w not in ("", ">", "|", "&&")]
                    call = []


def app_of(name: str) -> typer.Typer:
    if name == "owlabel":
        from owlabel.cli import app
    else:
        from owlabel_training.main import app
    return app


def refusal(words: list[str]) -> str:
    """Return why a command line would be refused before anything runs, or nothing."""
    command: Any = get_command(app_of(words[0]))
    context: Any = None
    left = words[1:]
    while True:
        context = command.context_class(command, info_name=words[0], parent=context)
        try:
            options, left, _ = command.make_parser(context).parse_args(args=list(left))
        except Exception as error:  # noqa: BLE001 - Typer's parsers come from several packages
            return str(error)
        required = [p.name for p in command.params if p.required]
        if any(options.get(name) is None for name in required):
            return f"it lacks one of {required}"
        if not left:
            return ""
        inner = getattr(command, "commands", {}).get(left[0])
        if inner is None:
            return f"{left[0]!r} is no command"
        command, left = inner, left[1:]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page: Path) -> None:
    wrong = {" ".join(words): refusal(words) for words in commands(page)}
    assert not {line: why for line, why in wrong.items() if why}


def test_a_wrong_command_is_refused() -> None:
    assert "--nothing" in refusal(["owlabel", "embed", "DIR", "--nothing"])
    assert refusal(["owlabel", "clusters", "DIR", "dance"])
    assert refusal(["owlabel", "embed"])
    assert not refusal(["owlabel", "clusters", "DIR", "list"])


# -- Python ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``DIR``, three sample scenes, and its project with all images embedded."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "DIR").mkdir()
    for number in ("08", "20", "29"):
        shutil.copy(owlabel_samples.images() / f"street_{number}.jpg", folder / "DIR")
    subprocess.run(
        [sys.executable, "-m", "owlabel.cli", "embed", "DIR"], cwd=folder, check=True, timeout=300
    )
    return folder


SNIPPETS = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.slow
@pytest.mark.parametrize("page", SNIPPETS, ids=name_of)
def test_python_snippets_run(page: Path, embedded: Path, tmp_path: Path) -> None:
    shutil.copytree(embedded, tmp_path, dirs_exist_ok=True)
    script = tmp_path / "snippets.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
