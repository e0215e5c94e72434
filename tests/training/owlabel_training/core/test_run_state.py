from __future__ import annotations

from pathlib import Path

import pytest
import torch

from owlabel_training.core import run_state


def test_an_optimiser_comes_back_as_it_was(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimiser.step()
    run_state.write({"optimiser": optimiser.state_dict(), "step": 1, "best": None}, tmp_path / "s")
    again = run_state.read(tmp_path / "s")
    assert (again["step"], again["best"]) == (1, None)
    saved = optimiser.state_dict()["state"][0]
    for name, value in again["optimiser"]["state"][0].items():
        assert torch.as_tensor(value).equal(torch.as_tensor(saved[name]))
    torch.optim.AdamW([weight]).load_state_dict(again["optimiser"])


def test_only_plain_things_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot hold set"):
        run_state.write({"a": {1, 2}}, tmp_path / "s")


@pytest.mark.parametrize("content", [b"", b"no state"])
def test_another_file_is_no_state(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(ValueError, match="no state of a run"):
        run_state.read(tmp_path / "s")


def test_a_run_about_something_else_begins_anew(tmp_path: Path) -> None:
    work = tmp_path / "7"
    run_state.keep_or_begin_anew(work, [10, 11])
    (work / "state.safetensors").touch()
    run_state.keep_or_begin_anew(work, [10, 11])
    assert (work / "state.safetensors").exists()
    run_state.keep_or_begin_anew(work, [11])
    assert [p.name for p in work.iterdir()] == ["about.json"]
