"""A command's options come from the fields of its request."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from owlabel.checked_fields import CheckedFields, Shown
from owlabel.commands.options import MakeRequest, request_options


class Inner(CheckedFields):
    kinds: Annotated[int, Field(ge=0, le=9, description="Number of groups.")] = 2


class Outer(CheckedFields):
    name: Annotated[str, Field(description="Name of the class.")]
    inner: Annotated[Inner, Field(strict=False)] = Inner()
    clusters_per_class: Annotated[
        float, Field(gt=0, description="Clusters of each class."), Shown(option="--factor")
    ] = 1.5
    left_out: Annotated[str, Field(description="Set by the command.")] = ""


def run(*words: str) -> tuple[Any, list[Outer]]:
    asked: list[Outer] = []
    app = typer.Typer()

    @app.command()
    @request_options(Outer, leave=("left_out",))
    def command(folder: str, make: MakeRequest[Outer], loud: bool = False) -> None:
        """Do it."""
        asked.append(make(left_out=f"{folder} {loud}"))

    return CliRunner().invoke(app, list(words)), asked


def test_fields_become_arguments_and_options_of_all_requests_inside() -> None:
    done, asked = run("here", "deer", "--factor", "2", "--kinds", "3", "--loud")
    assert done.exit_code == 0, done.output
    (request,) = asked
    assert request == Outer(
        name="deer", inner=Inner(kinds=3), clusters_per_class=2.0, left_out="here True"
    )


def test_without_options_the_request_has_its_own_defaults() -> None:
    _, (request,) = run("here", "deer")
    assert request == Outer(name="deer", left_out="here False")


def test_help_shows_description_range_and_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done, _ = run("--help")
    assert "Number of groups." in done.output
    assert "0<=x<=9" in done.output
    assert "default: 1.5" in done.output
    assert "left" not in done.output


def test_a_value_out_of_range_builds_no_request() -> None:
    for words in (("--kinds", "10"), ("--factor", "0")):
        done, asked = run("here", "deer", *words)
        assert done.exit_code != 0
        assert asked == []
