from __future__ import annotations

import pytest
import torch
from torch import Tensor

from owlabel.models.segmenter import Segmenter, build


@torch.no_grad()
def test_the_embedding_lies_on_a_grid_of_stride_four(segmenter: Segmenter, images: Tensor) -> None:
    assert segmenter(images).shape == (1, 3, 16, 24)


@torch.no_grad()
def test_odd_sizes_are_embedded_too(segmenter: Segmenter) -> None:
    assert segmenter(torch.rand(1, 3, 67, 81)).shape == (1, 3, 17, 21)


def test_prototypes_are_buffers_of_length_t(segmenter: Segmenter) -> None:
    prototypes = segmenter.head(0).prototypes
    torch.testing.assert_close(prototypes, 3 * torch.eye(3))
    assert not prototypes.requires_grad
    assert not any("prototypes" in name for name, _ in segmenter.named_parameters())


def test_a_softmax_head_gives_logits_over_two_t(images: Tensor) -> None:
    torch.manual_seed(0)
    segmenter = Segmenter("mobilenet_v3_small", {"width": 8}, 3, kind="softmax").eval()
    with torch.no_grad():
        features = segmenter.features(images)
        logits = segmenter.heads[0](features)
        torch.testing.assert_close(6 * segmenter.embed(features), logits)


def test_a_new_head_has_one_output_more_and_changes_nothing(
    segmenter: Segmenter, images: Tensor
) -> None:
    with torch.no_grad():
        before = segmenter(images)
        segmenter.add_head(3)
        segmenter.add_head(7)
        features = segmenter.features(images)
        assert [segmenter.embed(features, i).shape[1] for i in range(3)] == [3, 4, 5]
        assert segmenter.head(2).prototypes.shape == (5, 5)
        assert segmenter(images).equal(before)
    assert segmenter.novel_ids == [3, 7]


def test_a_head_shares_no_weight_with_another(segmenter: Segmenter) -> None:
    segmenter.add_head(3)
    first = {p.data_ptr() for p in segmenter.head(0).parameters()}
    assert first.isdisjoint(p.data_ptr() for p in segmenter.head(1).parameters())


def test_a_renewed_head_keeps_its_place(segmenter: Segmenter) -> None:
    segmenter.add_head(3)
    later = segmenter.add_head(4)
    renewed = segmenter.renew_head(3)
    assert segmenter.novel_ids == [3, 4]
    assert segmenter.head(1) is renewed
    assert segmenter.head(2) is later
    assert renewed.outputs == 4


@pytest.mark.parametrize("class_id", [0, 2, 5])
def test_a_taken_class_gets_no_second_head(segmenter: Segmenter, class_id: int) -> None:
    segmenter.add_head(5)
    with pytest.raises(ValueError, match=f"class id {class_id} is taken"):
        segmenter.add_head(class_id)


@pytest.mark.parametrize(
    ("architecture", "settings", "n", "reason"),
    [
        ("vgg", {}, 3, "unknown architecture"),
        ("resnet18", {"widht": 3}, 3, "unknown model settings"),
        ("resnet18", {"output_stride": 7}, 3, "output_stride"),
        ("resnet18", {"rates": [1, 2]}, 3, "rates"),
        ("resnet18", {}, 1, "at least two classes"),
    ],
)
def test_what_cannot_be_built_is_refused(
    architecture: str, settings: dict[str, object], n: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        build(architecture, settings, n)


def test_images_must_be_batches_of_rgb(segmenter: Segmenter) -> None:
    with pytest.raises(ValueError, match=r"\(3, 64, 96\)"):
        segmenter.features(torch.rand(3, 64, 96))


def test_dilated_taps_that_crops_may_never_see_start_at_zero(segmenter: Segmenter) -> None:
    weight = segmenter.head(0).aspp.convs[3][0][0].weight  # (C, 1, 3, 3)
    assert (weight[:, :, 1, 1] != 0).all()
    assert weight.count_nonzero() == len(weight)
