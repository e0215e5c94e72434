import pytest

from owlabel_training import bench_metrics


def test_all_ways_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_metrics, "PIXELS", 20_000)
    rows = {way: bench_metrics.one(way, 2) for way in bench_metrics.WAYS}
    for key in ("auroc", "ap", "fpr95"):
        assert rows["exact"][key] == pytest.approx(rows["plain"][key], abs=1e-12)
        assert rows["bins"][key] == pytest.approx(rows["plain"][key], abs=2e-3)
