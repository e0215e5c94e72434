"""Who may import whom, checked with `ast`; and what must stay true of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "owlabel": ROOT / "owlabel",
    "owlabel_training": ROOT / "training" / "owlabel_training",
    "owlabel_napari": ROOT / "plugins" / "owlabel_napari",
    "owlabel_samples": ROOT / "sample_data" / "owlabel_samples",
}
OUTSIDE_THE_WHEEL = {
    "experiments": ROOT / "training" / "experiments",
    "benchmarks": ROOT / "training" / "benchmarks",
}
EVERYTHING = PACKAGES | OUTSIDE_THE_WHEEL
MAY_IMPORT = {
    "owlabel": set(),
    "owlabel_training": {"owlabel"},
    "owlabel_napari": {"owlabel", "owlabel_samples"},
    "owlabel_samples": set(),
    "experiments": {"owlabel", "owlabel_training", "owlabel_samples"},
    "benchmarks": {"owlabel", "owlabel_training", "owlabel_samples", "experiments"},
}
TORCH = {"torch", "torchvision", "lightning_fabric", "segmentation_models_pytorch", "timm"}
WINDOW = {
    "napari",
    "qtpy",
    "PyQt5",
    "PyQt6",
    "PySide6",
    "magicgui",
    "superqt",
    "pyqtgraph",
    "vispy",
}
# A folder, or a file beside the folders, imports from its own floor or from floors before it.
FLOORS: dict[str, list[set[str]]] = {
    "owlabel": [
        {"__init__", "classes", "registry", "checked_fields"},
        {"arrays", "images", "metrics"},
        {"formats", "checkpoints", "clusters"},
        {"ood"},
        {"novel"},
        {"project", "models", "evaluation"},
        {"view"},
        {"jobs"},
        {"session"},
        {"commands"},
        {"cli"},
    ],
    "owlabel_training": [
        {"__init__"},
        {"core"},
        {"fewshot", "ood", "pretraining", "weak_shot"},
        {"main"},
    ],
    "owlabel_napari": [
        {"__init__"},
        {"events"},
        {"canvas"},
        {"widgets"},
        {"window"},
        {"entry"},
    ],
}
MOST_FILES = 12
"""In one folder, beside its ``__init__.py``."""


def files(package: str) -> list[Path]:
    return sorted(EVERYTHING[package].rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", EVERYTHING)
def test_packages_import_only_their_friends(package: str) -> None:
    forbidden = set(EVERYTHING) - {package} - MAY_IMPORT[package]
    wrong = [
        (path.name, name)
        for path in files(package)
        for name in imports(path)
        if name.split(".")[0] in forbidden
    ]
    assert not wrong


def test_torch_is_imported_in_models_and_training_only() -> None:
    wrong = [
        path.relative_to(ROOT).as_posix()
        for package in ("owlabel", "owlabel_napari", "owlabel_samples")
        for path in files(package)
        if "models" not in path.parts and any(n.split(".")[0] in TORCH for n in imports(path))
    ]
    assert not wrong


def test_the_window_toolkit_is_imported_in_the_plugin_only() -> None:
    wrong = [
        path.relative_to(ROOT).as_posix()
        for package in ("owlabel", "owlabel_training", "owlabel_samples")
        for path in files(package)
        if any(n.split(".")[0] in WINDOW for n in imports(path))
    ]
    assert not wrong


def module_of(package: str, path: Path) -> str:
    parts = path.relative_to(EVERYTHING[package]).with_suffix("").parts
    return ".".join((package, *parts)).removesuffix(".__init__")


def _floor(module: str) -> int:
    package, _, rest = module.partition(".")
    room = rest.partition(".")[0] or "__init__"
    floors = FLOORS[package]
    return next((index for index, floor in enumerate(floors) if room in floor), -1)


@pytest.mark.parametrize("package", FLOORS)
def test_a_package_is_built_in_floors(package: str) -> None:
    wrong = []
    for path in files(package):
        here = _floor(module_of(package, path))
        assert here >= 0, f"{path} has no floor: add its folder to FLOORS"
        if module_of(package, path) == package:
            continue  # hands on public names, which it loads on first use
        for name in imports(path):
            if name.startswith(f"{package}.") and _floor(name) > here:
                wrong.append((path.relative_to(ROOT).as_posix(), name))
    assert not wrong


def arrows(package: str) -> dict[str, set[str]]:
    """Return each module of a package with those it imports from the same package."""
    modules = {module_of(package, path): path for path in files(package)}
    return {
        module: {name for name in imports(path) if name in modules and name != module}
        for module, path in modules.items()
        if module != package  # hands on public names, which it loads on first use
    } | {package: set()}


def ring(graph: dict[str, set[str]]) -> list[str]:
    """Return the nodes of a directed graph that lie on a ring, or lead to or from one only."""
    left = {node: set(targets) for node, targets in graph.items()}
    while True:
        used = set().union(*left.values()) if left else set()
        ends = [n for n, targets in left.items() if not targets & left.keys() or n not in used]
        if not ends:
            return sorted(left)
        for node in ends:
            del left[node]


def test_a_ring_is_found() -> None:
    assert ring({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert not ring({"a": {"b"}, "b": {"c"}, "c": set()})


@pytest.mark.parametrize("package", EVERYTHING)
def test_no_files_import_each_other_in_a_ring(package: str) -> None:
    assert not ring(arrows(package))


@pytest.mark.parametrize("package", EVERYTHING)
def test_no_folders_import_each_other_in_a_ring(package: str) -> None:
    top = EVERYTHING[package]  # a file beside the folders counts as a room of its own
    folder = {
        module_of(package, path): (path if path.parent == top else path.parent).as_posix()
        for path in files(package)
        if path.name != "__init__.py"
    }
    graph: dict[str, set[str]] = {name: set() for name in folder.values()}
    for module, targets in arrows(package).items():
        if module in folder:
            here = folder[module]
            graph[here] |= {folder[t] for t in targets if t in folder} - {here}
    assert not ring(graph)


@pytest.mark.parametrize("package", sorted(EVERYTHING.keys() - {"owlabel_samples"}))
def test_folders_are_small(package: str) -> None:
    counts: dict[str, int] = {}
    for path in files(package):
        if path.name != "__init__.py":
            name = path.parent.relative_to(ROOT).as_posix()
            counts[name] = counts.get(name, 0) + 1
    assert not {name: n for name, n in counts.items() if n > MOST_FILES}


@pytest.mark.parametrize("package", EVERYTHING)
def test_files_are_short(package: str) -> None:
    long = [p.name for p in files(package) if len(p.read_text().splitlines()) > 400]
    assert not long


@pytest.mark.parametrize(
    "module", ["owlabel.session.session", "owlabel.cli", "owlabel.jobs.worker"]
)
def test_importing_leaves_torch_and_qt_out(module: str) -> None:
    code = f"import sys, {module}; print(sorted({TORCH | WINDOW!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


MOST_NAMES = 45
"""Public names of one class, inherited ones included."""
MOST_LEVELS = 2
"""Own base classes above a class, one above the other."""


def classes() -> dict[str, tuple[list[str], set[str]]]:
    """Return each class by its full name: its own base classes, and the public names it defines."""
    result: dict[str, tuple[list[str], set[str]]] = {}
    for package in EVERYTHING:
        for path in files(package):
            module, tree = module_of(package, path), ast.parse(path.read_text(encoding="utf-8"))
            known = {n.name: f"{module}.{n.name}" for n in tree.body if isinstance(n, ast.ClassDef)}
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module:
                    known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    bases = [known.get(ast.unparse(base), "") for base in node.bases]
                    result[known[node.name]] = ([b for b in bases if b], _public_names(node))
    return result


def _public_names(node: ast.ClassDef) -> set[str]:
    """Return what a class defines: methods, class attributes, and attributes set on self."""
    names: set[str] = set()
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            names.add(part.name)
        elif isinstance(part, ast.AnnAssign | ast.Assign):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            names |= {t.id for t in targets if isinstance(t, ast.Name)}
    for part in ast.walk(node):
        stored = isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store)
        if stored and isinstance(part.value, ast.Name) and part.value.id == "self":
            names.add(part.attr)
    return {name for name in names if not name.startswith("_")}


def lineage(name: str, table: dict[str, tuple[list[str], set[str]]]) -> Iterator[list[str]]:
    """Yield the own base classes of a class, level by level."""
    level = [base for base in table[name][0] if base in table]
    while level:
        yield level
        level = [base for above in level for base in table[above][0] if base in table]


def test_no_class_is_wide_or_inherits_over_more_than_two_levels() -> None:
    table = classes()
    levels = {name: list(lineage(name, table)) for name in table}
    wide, deep = [], []
    for name, above in levels.items():
        names = set().union(table[name][1], *(table[base][1] for level in above for base in level))
        if len(names) > MOST_NAMES:
            wide.append((name, len(names)))
        if len(above) > MOST_LEVELS:
            deep.append((name, above))
    assert not wide
    assert not deep


def test_a_session_holds_its_parts() -> None:
    bases, names = classes()["owlabel.session.session.Session"]
    assert not bases
    assert len(names) <= MOST_NAMES
    assert {"labels", "tags", "proposals", "clusters", "models", "training", "worker"} <= names
