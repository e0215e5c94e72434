from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.methods import ood_training_table

MEASURED = {"ap": 0.25, "auroc": 0.5, "fpr95": 0.75}
ROW = {"epoch": 0, "step": 0, "miou": 0.5, **MEASURED}


def write(folder: Path, name: str, results: dict[str, Any]) -> None:
    budget = {"steps": 8, "batch": 4, "crop": [240, 240], "seeds": [0]}
    content = {
        "command": "python -m x", "cpu_minutes": 1.5, "minutes": 3, "machine": "2 CPU cores",
        "commit": "a" * 40, "note": "said", "results": {**results, "budget": budget},
    }  # fmt: skip
    (folder / f"ood_training_{name}.json").write_text(json.dumps(content))


def test_a_part_without_a_file_is_left_out(tmp_path: Path) -> None:
    assert "##" not in ood_training_table.page(tmp_path)


def test_before_after_course_and_budget_are_told(tmp_path: Path) -> None:
    first = {"pasted": {"entropy": MEASURED}, "miou": 0.5}
    after = {"pasted": {"entropy": {**MEASURED, "ap": 0.5}}, "miou": 0.48}
    runs = {"0": {**after, "course": [ROW, {**ROW, "step": 8}], "kept": 1}}
    write(tmp_path, "entropy", {"before": first, "seeds": runs})
    page = ood_training_table.page(tmp_path)
    assert "| unseen pasted objects | entropy | after | 50.0 | 50.0 | 75.0 |" in page
    assert "changes by +100 %" in page
    assert "50.0 before, 48.0 after" in page
    assert "| 8 (kept) | 50.0 | 25.0 | 50.0 | 75.0 |" in page
    assert "8 steps of 4 crops of 240 x 240 a run, 1 seed(s), 3 minutes" in page


def test_a_class_map_that_changed_is_shouted(tmp_path: Path) -> None:
    run = {"pasted": {"rpl_energy": MEASURED}, "course": [ROW], "kept": 0}
    methods = {
        "RPL": {"0": {**run, "class_map_identical": False}},
        "RPL + CoroCL": {"0": {**run, "class_map_identical": True}},
    }
    first = {"pasted": {"energy": MEASURED}, "miou": 0.5}
    write(tmp_path, "rpl", {"before": first, "methods": methods})
    assert "in all runs: NO." in ood_training_table.page(tmp_path)


def test_lambda_is_chosen_on_validation_among_what_kept_the_miou(tmp_path: Path) -> None:
    def run(kept: int, val_ap: float, test_ap: float) -> dict[str, Any]:
        course = [ROW, {**ROW, "step": 8, "ap": val_ap}]
        return {"pasted": {"entropy": {**MEASURED, "ap": test_ap}}, "miou": 0.4, "course": course,
                "kept": kept}  # fmt: skip

    table = {
        "joint 0.5 1e-4": {"0": run(1, 0.3, 0.9)},
        "joint 0.9 1e-4": {"0": run(1, 0.4, 0.2)},
        "joint 0.9 1e-3": {"0": run(0, 0.9, 0.9)},
    }
    first = {"pasted": {"entropy": MEASURED}, "miou": 0.5}
    write(tmp_path, "lambda", {"before": first, "lambda": table})
    page = ood_training_table.page(tmp_path)
    assert "Chosen by the validation AP: joint 0.9 1e-4." in page
    assert "| joint | 0.9 | 1e-3 | refused (1 of 1) |  | 90.0 |" in page


def test_the_default_of_corocl_stands_in_both_ablations(tmp_path: Path) -> None:
    run = {"0": {"pasted": {"rpl_energy": MEASURED}, "course": [ROW], "kept": 0}}
    write(tmp_path, "ablation", {"ablation": {"contexts both": run, "projector two": run}})
    page = ood_training_table.page(tmp_path)
    assert all(f"| {name} | 25.0" in page for name in ("both", "one", "two"))
