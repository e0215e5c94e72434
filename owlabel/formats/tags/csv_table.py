"""Tags as CSV: ``image,class`` or ``image,class,state``, with or without a header line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from owlabel.formats.tags.statements import TagLine, read_text, state_of

TITLES = ("image", "class", "state")


def read(path: Path) -> Iterator[TagLine]:
    """Yield the statements of a CSV file with commas, semicolons or tabs.

    Raises
    ------
    ValueError
        If a line does not have two or three cells, has an empty image or class, or an unknown
        state.
    """
    text = read_text(path)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in rows:
            place = f"line {rows.line_num}"
            words = [cell.strip() for cell in cells]
            if not any(words) or (rows.line_num == 1 and _is_title(words)):
                continue
            if len(words) not in (2, 3) or not (words[0] and words[1]):
                raise ValueError(
                    f"{path}, {place}: a line must be image{delimiter}class or "
                    f"image{delimiter}class{delimiter}state, got {delimiter.join(cells)[:80]!r}"
                )
            state = state_of(words[2], path, place) if len(words) == 3 else "present"
            yield TagLine(words[0], words[1], state, place)
    except csv.Error as error:
        raise ValueError(f"{path}, line {rows.line_num}: not valid CSV ({error})") from error


def _is_title(words: list[str]) -> bool:
    return tuple(word.lower() for word in words) in (TITLES, TITLES[:2])


def text_of(tags: Iterable[tuple[str, str, str]]) -> str:
    """Return the text of a CSV file for (image, class, state)."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(TITLES)
    rows.writerows(tags)
    return text.getvalue()
