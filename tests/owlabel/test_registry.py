"""Tables that installed packages extend: laziness, order, and what a broken package costs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from owlabel.registry import Registry, instance_of


@dataclass(frozen=True)
class Fruit:
    name: str


Install = Callable[..., Path]


def as_fruit(name: str, item: object) -> Fruit:
    if not isinstance(item, str):
        raise ValueError(f"expected text, got {type(item).__name__}")
    return Fruit(item)


def fruits() -> Registry[Fruit]:
    return Registry("test.fruits", "fruit", {"apple": Fruit("apple")}, as_fruit)


def test_an_entry_point_follows_the_built_in_items(install: Install) -> None:
    install({"orchard.py": "PEAR = 'pear'"}, {"test.fruits": {"pear": "orchard:PEAR"}})
    table = fruits()
    assert table["apple"] == Fruit("apple")
    assert "orchard" not in sys.modules
    assert table["pear"] == Fruit("pear")
    assert list(table) == ["apple", "pear"]
    assert len(table) == 2
    assert "plum" not in table
    assert table.pick(["pear", "apple", "pear"]) == [Fruit("apple"), Fruit("pear")]
    with pytest.raises(ValueError, match="unknown fruit 'plum'; choose from apple, pear"):
        table.pick(["plum"])


@pytest.mark.parametrize(
    ("target", "text", "reason"),
    [
        ("absent:PEAR", "PEAR = 'x'", "ModuleNotFoundError: No module named 'absent'"),
        ("orchard:PEAR", "import sys; sys.exit(3)", "SystemExit: 3"),
        ("orchard:PLUM", "PEAR = 'x'", "AttributeError"),
        ("orchard:PEAR", "PEAR = 3", "ValueError: expected text, got int"),
        ("orchard:PEAR", "raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_a_broken_package_costs_one_line(
    install: Install, caplog: pytest.LogCaptureFixture, target: str, text: str, reason: str
) -> None:
    install({"orchard.py": text}, {"test.fruits": {"pear": target}}, name="grower")
    table = fruits()
    with caplog.at_level(logging.WARNING, "owlabel.plugins"):
        assert list(table) == ["apple"]
        assert "pear" not in table
        assert list(table) == ["apple"]
    (line,) = caplog.messages
    assert line.startswith("test.fruits 'pear' of the package grower is left out: ")
    assert reason in line
    assert "\n" not in line


def test_a_name_that_is_taken_is_refused(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install({"first.py": "A = 'a'"}, {"test.fruits": {"apple": "first:A", "fig": "first:A"}}, "a")
    install({"second.py": "B = 'b'"}, {"test.fruits": {"fig": "second:B"}}, "b")
    table = fruits()
    assert table["apple"] == Fruit("apple")
    assert table["fig"] == Fruit("a")
    assert [line.partition("left out: ")[2] for line in caplog.messages] == [
        "the name is taken by owlabel",
        "the name is taken by a",
    ]


def test_a_record_bears_the_name_of_its_entry_point() -> None:
    check = instance_of(Fruit)
    assert check("apple", Fruit("apple")) == Fruit("apple")
    with pytest.raises(ValueError, match="named 'apple'"):
        check("pear", Fruit("apple"))
    with pytest.raises(ValueError, match="expected a Fruit, got str"):
        check("pear", "pear")
