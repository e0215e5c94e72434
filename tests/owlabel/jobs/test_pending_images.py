"""Which image comes next: the nearest to the one in focus, also where the focus moves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from owlabel.jobs.pending_images import nearest_first, thinned
from owlabel.project.storage.records import ImageRecord


def record(number: int) -> ImageRecord:
    return ImageRecord(number, Path(f"{number}.png"), "", "", (1, 1), None, "new", None)


class Moving:
    """A project whose annotator moves on after every image."""

    def __init__(self, ids: list[int], course: list[int | None]) -> None:
        self.ids, self.course = ids, iter(course)

    def images(self) -> list[Any]:
        return [SimpleNamespace(id=i) for i in self.ids]

    def focus(self) -> int | None:
        return next(self.course, None)


def one_by_one(ids: list[int], waiting: list[int], course: list[int | None]) -> list[int]:
    """The plain way: look at all that are left; of two as near the earlier one."""
    left, foci, found = sorted(waiting, key=ids.index), iter(course), []
    while left:
        focus = next(foci, None)
        at = ids.index(focus) if focus in ids else 0
        found.append(min(left, key=lambda i: abs(ids.index(i) - at)))
        left.remove(found[-1])
    return found


@given(st.data(), st.lists(st.integers(1, 60), unique=True, min_size=1, max_size=40))
def test_the_nearest_to_a_moving_focus_comes_first(data: st.DataObject, ids: list[int]) -> None:
    waiting = data.draw(st.lists(st.sampled_from(ids), unique=True))
    somewhere = st.sampled_from([*ids, None, 99])  # 99: an image that is not there
    course = data.draw(st.lists(somewhere, max_size=len(waiting)))
    project: Any = Moving(ids, course)
    found = [r.id for r in nearest_first([record(i) for i in waiting], project)]
    assert found == one_by_one(ids, waiting, course)


def test_thinned_records_are_spread_and_keep_both_ends() -> None:
    records = [record(i) for i in range(10)]
    assert thinned(records, 20) is records
    assert [r.id for r in thinned(records, 4)] == [0, 3, 6, 9]
