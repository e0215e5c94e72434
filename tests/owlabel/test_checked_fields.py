"""What every request promises: strict types, ranges in words, and records that still parse."""

from __future__ import annotations

import re
from typing import Any

import pytest

from owlabel.checked_fields import CheckedFields, bounds, choices, shown
from owlabel.classes import LabelClass
from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.jobs.requests.ood import OodRequest
from owlabel.jobs.requests.plm import PlmRequest
from owlabel.jobs.requests.pretraining import PretrainRequest
from owlabel.jobs.requests.weak_shot import WeakShotRequest

REQUESTS = (ClusterRequest, OodRequest, PlmRequest, PretrainRequest, WeakShotRequest)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1 and at most 1,000,000, got 0"),
        ({"iterations": True}, "iterations must be a whole number, got True"),
        ({"iterations": "3"}, "iterations must be a whole number, got '3'"),
        ({"iterations": 3.0}, "iterations must be a whole number, got 3.0"),
        ({"minutes": float("nan")}, "minutes must be a finite number, got nan"),
        ({"minutes": False}, "minutes must be a number, got False"),
        (
            {"speed": 3},
            "unknown field 'speed': choose from iterations, minutes, retrain, seed",
        ),
        (
            {"iterations": 0, "seed": -1},
            "iterations must be at least 1 and at most 1,000,000, got 0; "
            "seed must be at least 0 and less than 4,294,967,296, got -1",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_range_in_one_line(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        WeakShotRequest(**values)
    assert str(refused.value) == message


def test_messages_name_choices_gaps_and_what_does_not_fit_together() -> None:
    wrong: list[tuple[type[CheckedFields], dict[str, Any], str]] = [
        (OodRequest, {"method": "magic"}, "method must be one of rpl, rpl_corocl, entropy, got"),
        (OodRequest, {"source": "coco"}, "choose where the OoD objects come from"),
        (PlmRequest, {}, "class_name is missing"),
        (PlmRequest, {"class_name": ""}, "class_name must be a text that is not empty, got ''"),
        (PretrainRequest, {"clusters": {"kinds": 201}}, "kinds must be at least 0 and at most 200"),
    ]
    for request, values, message in wrong:
        with pytest.raises(ValueError, match=message):
            request(**values)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError, match="method must be") as refused:
        OodRequest(**{"method": "x" * 10_000})
    assert len(str(refused.value)) < 200


def test_a_request_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        OodRequest().epochs = 3  # type: ignore[misc]


def test_events_that_older_versions_recorded_still_parse() -> None:
    clusters = {
        "extractor": "model", "weights": "", "network": "resnet50", "classes": 0,
        "clusters_per_class": 1.5, "superpixels": 200, "outliers": 0.05, "algorithm": "kmeans",
        "samples": 200_000, "kinds": 8,
    }  # fmt: skip
    pretrain = {"clusters": clusters, "iterations": 300, "tuning": 200, "start": "model"}
    train_ood = {
        "method": "rpl", "source": "folder", "path": "/gone", "use": "pasted", "ratio": 1,
        "lambda_ood": 0.9, "averaging": "joint", "epochs": 5, "steps_per_epoch": 40,
    }  # fmt: skip
    assert PretrainRequest(**pretrain).model_dump() == pretrain
    assert OodRequest(**train_ood).model_dump() == train_ood


@pytest.mark.parametrize("request_class", REQUESTS)
def test_every_field_has_words_a_range_and_a_name_for_each_choice(
    request_class: type[CheckedFields],
) -> None:
    for name, info in request_class.model_fields.items():
        assert info.title, name
        assert info.description, name
        assert info.description.endswith("."), name
        if info.annotation in (int, float):
            assert {"ge", "gt"} & bounds(info).keys(), name
            assert {"le", "lt"} & bounds(info).keys(), name
        words = shown(info).words
        assert not words or set(words) == set(choices(info)), name


def test_the_payload_of_a_plm_job_is_what_the_worker_reads() -> None:
    deer = LabelClass(7, "deer", (1, 2, 3), novel=True)
    shots = [{"image_id": 1, "revision_id": 4}]
    payload = PlmRequest(class_name="deer").payload("models/a.safetensors", "toy", deer, shots)
    assert payload == {
        "checkpoint": "models/a.safetensors", "class_id": 7, "class_name": "deer",
        "color": [1, 2, 3], "shots": shots, "iterations": 500, "lr": None, "seed": 0,
        "name": "toy + deer",
    }  # fmt: skip


def test_only_entropy_maximisation_gets_its_own_settings() -> None:
    course = {"epochs": 5, "steps_per_epoch": 40}
    assert OodRequest().payload("m")["course"] == course
    entropy = OodRequest(method="entropy").payload("m")["course"]
    assert entropy == course | {"lambda_ood": 0.9, "averaging": "joint"}
