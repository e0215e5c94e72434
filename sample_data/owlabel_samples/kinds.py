"""The classes of the sample streets, and the four kinds that no training image shows."""

from __future__ import annotations

from typing import Any

ROAD, MARK, PAVEMENT, BUILDING, SKY, VEGETATION, POLE, SIGN, CAR, PERSON = range(10)
DEER, BALE, SOFA, TROLLEY = range(10, 14)

KNOWN: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("road", (128, 64, 128)),
    ("lane mark", (245, 222, 120)),
    ("pavement", (232, 100, 190)),
    ("building", (110, 90, 80)),
    ("sky", (90, 160, 220)),
    ("vegetation", (80, 150, 50)),
    ("pole", (170, 170, 160)),
    ("sign", (250, 170, 30)),
    ("car", (40, 60, 200)),
    ("person", (220, 30, 60)),
)
STRANGE: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("deer", (150, 80, 20)),
    ("hay bale", (255, 230, 0)),
    ("sofa", (0, 200, 180)),
    ("shopping trolley", (180, 0, 255)),
)


def rows(strange: bool) -> list[dict[str, Any]]:
    """Return the class table as JSON values; the strange kinds come last and are optional."""
    table = [(name, color, False) for name, color in KNOWN]
    if strange:
        table += [(name, color, True) for name, color in STRANGE]
    return [
        {"id": number, "name": name, "color": list(color), "novel": novel}
        for number, (name, color, novel) in enumerate(table)
    ]
