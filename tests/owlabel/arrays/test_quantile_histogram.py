import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from owlabel.arrays.quantile_histogram import OrderedHistogram, bin_floors, bin_values, ordered_keys

HALVES = arrays.arrays(
    np.float16, st.integers(1, 40), elements=st.integers(-2000, 2000).map(lambda n: n / 32)
)
QUICK = settings(max_examples=60, deadline=None)


def counted(values: np.ndarray) -> OrderedHistogram:
    histogram = OrderedHistogram()
    histogram.update(values)
    return histogram


def test_bins_are_in_the_order_of_their_numbers() -> None:
    values = bin_values()
    order = values[np.isfinite(values)]
    assert (np.diff(order) >= 0).all()
    np.testing.assert_array_equal(
        ordered_keys(order[order != 0]), np.flatnonzero(np.isfinite(values) & (values != 0))
    )


@QUICK
@given(HALVES, st.floats(0, 1))
def test_quantiles_of_half_precision_numbers_are_exact(values: np.ndarray, q: float) -> None:
    wide = values.astype(np.float32)
    assert counted(wide).quantile(q) == np.quantile(wide, q, method="inverted_cdf")


@QUICK
@given(HALVES, HALVES)
def test_parts_add_up_to_the_whole_and_survive_storage(a: np.ndarray, b: np.ndarray) -> None:
    merged = counted(a) + counted(b)
    whole = OrderedHistogram.from_arrays(counted(np.concatenate([a, b])).arrays())
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert merged.total == a.size + b.size


def test_quantiles_of_many_numbers_are_right_to_the_width_of_a_bin() -> None:
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    shares = np.array([0, 0.5, 0.999, 1])
    want = np.quantile(values, shares, method="inverted_cdf")
    np.testing.assert_allclose(counted(values).quantile(shares), want, rtol=1 / 2048)


def test_what_cannot_be_counted_or_asked_is_refused() -> None:
    with pytest.raises(ValueError, match="1 NaN"):
        counted(np.array([0, np.nan]))
    with pytest.raises(ValueError, match="no number"):
        OrderedHistogram().quantile(0.5)
    with pytest.raises(ValueError, match=r"\[0, 1\], got 2"):
        counted(np.zeros(2)).quantile(2)
    with pytest.raises(ValueError, match="same length"):
        OrderedHistogram.from_arrays({"bins": np.zeros(2, np.uint32)})
    with pytest.raises(ValueError, match="must lie in"):
        OrderedHistogram.from_arrays({"bins": np.array([1 << 20]), "counts": np.array([1])})
    with pytest.raises(ValueError, match="16 and of 20"):
        OrderedHistogram(16) + OrderedHistogram()
    with pytest.raises(ValueError, match="bits"):
        OrderedHistogram(21)


@pytest.mark.parametrize("bits", [16, 20])
def test_the_floor_of_a_bin_is_the_lowest_number_in_it(bits: int) -> None:
    values = np.random.default_rng(1).normal(size=2000).astype(np.float32)
    values[:2] = -np.inf, np.inf
    keys = ordered_keys(values, bits)
    floors = bin_floors(bits)[keys]
    assert (floors <= values).all()
    np.testing.assert_array_equal(ordered_keys(floors, bits), keys)
    below = np.nextafter(floors[2:], np.float32(-np.inf))
    assert (ordered_keys(below, bits) < keys[2:]).all()
