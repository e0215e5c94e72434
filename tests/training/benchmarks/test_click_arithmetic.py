import numpy as np

from benchmarks import click_arithmetic
from owlabel.arrays import embedding_grid
from owlabel.novel import prototypes as fewshot


def test_both_ways_of_the_bench_compute_the_same_claim() -> None:
    scene = click_arithmetic.make_scene((120, 160), 7)
    base = embedding_grid.argmax_upsampled(scene.embedding, scene.shape)
    vector = fewshot.image_mean(scene.embedding, scene.objects)
    prototype = fewshot.NovelPrototype(click_arithmetic.NOVEL, vector, 1)
    ours = fewshot.claim_novel(scene.embedding, base, [prototype])
    plain = click_arithmetic.plain_claim(scene.embedding, scene.shape, base, vector)
    assert (ours == click_arithmetic.NOVEL).any()
    assert (ours == plain).mean() > 0.999  # rounding at the threshold


def test_each_bench_reports_both_ways() -> None:
    scene = click_arithmetic.make_scene((120, 160), 7)
    for bench in click_arithmetic.BENCHES.values():
        result = bench(scene, 1)
        assert set(result) >= {"ms", "plain_ms", "ratio"}
        assert all(np.isfinite(value) for value in result.values())
