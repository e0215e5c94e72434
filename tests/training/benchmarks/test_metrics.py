import pytest

from benchmarks import metrics


def test_all_ways_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PIXELS", 20_000)
    rows = {way: metrics.one(way, 2) for way in metrics.WAYS}
    for key in ("auroc", "ap", "fpr95"):
        assert rows["exact"][key] == pytest.approx(rows["plain"][key], abs=1e-12)
        assert rows["bins"][key] == pytest.approx(rows["plain"][key], abs=2e-3)
