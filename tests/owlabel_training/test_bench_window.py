import numpy as np

from owlabel import fewshot, grid
from owlabel_training import bench_window


def test_both_ways_of_the_bench_compute_the_same_claim() -> None:
    scene = bench_window.make_scene((120, 160), 7)
    base = grid.argmax_upsampled(scene.embedding, scene.shape)
    vector = fewshot.image_mean(scene.embedding, scene.objects)
    prototype = fewshot.NovelPrototype(bench_window.NOVEL, vector, 1)
    ours = fewshot.claim_novel(scene.embedding, base, [prototype])
    plain = bench_window.plain_claim(scene.embedding, scene.shape, base, vector)
    assert (ours == bench_window.NOVEL).any()
    assert (ours == plain).mean() > 0.999  # rounding at the threshold


def test_each_bench_reports_both_ways() -> None:
    scene = bench_window.make_scene((120, 160), 7)
    for bench in bench_window.BENCHES.values():
        result = bench(scene, 1)
        assert set(result) >= {"ms", "plain_ms", "ratio"}
        assert all(np.isfinite(value) for value in result.values())
