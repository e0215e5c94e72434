"""A clustering job checks its payload as the request did: a database may come from elsewhere."""

from __future__ import annotations

from typing import Any, cast

import pytest

from owlabel.jobs.kinds.clusters import AuxiliaryLabelsJob
from owlabel.jobs.requests.clusters import ClusterRequest


def chosen(settings: dict[str, Any], kinds: Any = 8) -> Any:
    return AuxiliaryLabelsJob("models/a.safetensors", settings, kinds).chosen(cast(Any, None))


def test_the_payload_of_a_request_gives_its_settings() -> None:
    settings = chosen(ClusterRequest(extractor="handmade", superpixels=7).settings(11))
    assert (settings.extractor, settings.superpixels, settings.classes) == ("handmade", 7, 11)


@pytest.mark.parametrize(
    ("settings", "kinds", "message"),
    [
        ({"samples": "3"}, 8, "samples must be a whole number, got '3'"),
        ({"magic": 1}, 8, "unknown field 'magic'"),
        ({}, 201, "kinds must be at least 0 and at most 200, got 201"),
        (
            {"extractor": "imagenet", "weights": "/gone.pth"},
            8,
            "the weights file /gone.pth does not exist",
        ),
    ],
)
def test_a_wrong_payload_is_refused_in_words(
    settings: dict[str, Any], kinds: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(settings, kinds)
