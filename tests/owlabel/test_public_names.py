"""What ``import owlabel`` offers, and what it does not load."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import owlabel

NEW_PROCESS = """
import json, sys, time
began = time.perf_counter()
import owlabel
seconds = time.perf_counter() - began
print(json.dumps([seconds, sorted(sys.modules)]))
"""


def test_the_import_is_light() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS], capture_output=True, text=True, check=True
    )
    seconds, modules = json.loads(done.stdout)
    assert [name for name in modules if name.startswith("owlabel")] == ["owlabel"]
    assert not {"torch", "numpy", "qtpy", "napari"} & set(modules)
    assert seconds < 0.3


@pytest.mark.parametrize("name", owlabel.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(owlabel, name) is getattr(owlabel, name)
    assert name in dir(owlabel)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sitting'"):
        owlabel.Sitting  # noqa: B018


def test_loading_all_names_leaves_torch_and_qt_out() -> None:
    code = (
        "import sys; from owlabel import *; print({'torch', 'qtpy', 'napari'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
