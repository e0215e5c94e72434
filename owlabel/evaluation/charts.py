"""Line charts and violins as SVG text.  The report needs only these two, so no plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from owlabel.evaluation.curves import Floats, Spread

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The colours of Okabe and Ito, which colour-blind readers can distinguish."""
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 14, 12, 40


def line_chart(
    lines: Mapping[str, Floats], labels: tuple[str, str], size: tuple[int, int] = (380, 300)
) -> str:
    """Return a chart of curves in the unit square.

    Parameters
    ----------
    lines : mapping of str to ndarray, shape (2, n)
        x and y in 0 .. 1, by name.
    labels : tuple of str
        Labels of the x and the y axis.
    size : tuple of int
        Width and height in pixels.
    """
    frame = _Frame(size, (0.0, 1.0), (0.0, 1.0))
    parts = [frame.grid(np.linspace(0, 1, 6), np.linspace(0, 1, 6)), frame.titles(*labels)]
    for i, (name, line) in enumerate(lines.items()):
        points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in line.T)
        colour = COLOURS[i % len(COLOURS)]
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8">'
            f"<title>{escape(name)}</title></polyline>"
        )
    return frame.svg("".join(parts), f"{labels[1]} over {labels[0]}")


def violin_chart(spreads: Mapping[str, Spread], label: str, height: int = 320) -> str:
    """Return violins of score distributions side by side; the box spans the quartiles.

    Parameters
    ----------
    spreads : mapping of str to Spread
        All on one scale of values; each violin is scaled to its own densest step.
    label : str
        Label of the value axis.
    height : int
        Height in pixels.
    """
    if not spreads:
        return ""
    values = next(iter(spreads.values())).values
    step = (values[1] - values[0]) / 2
    low, high = float(values[0] - step), float(values[-1] + step)
    width = _LEFT + _RIGHT + 62 * len(spreads)
    frame = _Frame((width, height + 60), (0.0, float(len(spreads))), (low, high), bottom=100)
    parts = [frame.grid((), _ticks(low, high)), frame.titles("", label)]
    for i, (name, spread) in enumerate(spreads.items()):
        parts.append(_violin(frame, i + 0.5, name, spread, COLOURS[1 if name == "OoD" else 0]))
    return frame.svg("".join(parts), f"{label} by kind of pixel")


def _violin(frame: _Frame, centre: float, name: str, spread: Spread, colour: str) -> str:
    wide = 0.42 * spread.density / max(float(spread.density.max()), 1e-12)
    edge = [(centre + w, v) for w, v in zip(wide, spread.values, strict=True)]
    edge += [(centre - w, v) for w, v in zip(wide[::-1], spread.values[::-1], strict=True)]
    points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in edge)
    q5, q25, q50, q75, q95 = (frame.y(frame.inside(q)) for q in spread.quantiles)
    x = frame.x(centre)
    quantiles = ", ".join(f"{q:.4g}" for q in spread.quantiles)
    tip = f"{name}: {spread.pixels} pixels; 5, 25, 50, 75, 95 %: {quantiles}"
    return (
        f"<g><title>{escape(tip)}</title>"
        f'<polygon points="{points}" fill="{colour}" fill-opacity="0.35" stroke="{colour}"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{q5:.1f}" y2="{q95:.1f}" stroke="#333"/>'
        f'<rect x="{x - 4:.1f}" width="8" y="{q75:.1f}" height="{max(q25 - q75, 1):.1f}" '
        f'fill="#333"/><circle cx="{x:.1f}" cy="{q50:.1f}" r="3" fill="#fff"/>'
        f'<text x="{x:.1f}" y="{frame.bottom + 14}" text-anchor="end" '
        f'transform="rotate(-40 {x:.1f} {frame.bottom + 14})">{escape(name[:24])}</text></g>'
    )


class _Frame:
    """The position of the axes in a chart."""

    def __init__(
        self,
        size: tuple[int, int],
        across: tuple[float, float],
        up: tuple[float, float],
        bottom: int = _BOTTOM,
    ) -> None:
        self.size, self.across, self.up = size, across, up
        self.right, self.bottom = size[0] - _RIGHT, size[1] - bottom

    def x(self, value: float) -> float:
        low, high = self.across
        return _LEFT + (value - low) / (high - low) * (self.right - _LEFT)

    def y(self, value: float) -> float:
        low, high = self.up
        return self.bottom - (value - low) / (high - low) * (self.bottom - _TOP)

    def inside(self, value: float) -> float:
        return float(np.clip(value, *self.up))

    def grid(self, columns: Sequence[float] | Floats, rows: Sequence[float] | Floats) -> str:
        parts = []
        for v in columns:
            x = f"{self.x(v):.1f}"
            parts.append(f'<line class="g" x1="{x}" x2="{x}" y1="{_TOP}" y2="{self.bottom}"/>')
            parts.append(
                f'<text x="{x}" y="{self.bottom + 14}" text-anchor="middle">{v:.3g}</text>'
            )
        for v in rows:
            y = f"{self.y(v):.1f}"
            parts.append(f'<line class="g" y1="{y}" y2="{y}" x1="{_LEFT}" x2="{self.right}"/>')
            parts.append(
                f'<text x="{_LEFT - 5}" y="{float(y) + 4:.1f}" text-anchor="end">{v:.3g}</text>'
            )
        return "".join(parts)

    def titles(self, across: str, up: str) -> str:
        middle = (_TOP + self.bottom) / 2
        return (
            f'<text x="{(_LEFT + self.right) / 2:.0f}" y="{self.size[1] - 6}" '
            f'text-anchor="middle">{escape(across)}</text>'
            f'<text x="13" y="{middle:.0f}" text-anchor="middle" '
            f'transform="rotate(-90 13 {middle:.0f})">{escape(up)}</text>'
        )

    def svg(self, content: str, title: str) -> str:
        width, height = self.size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" font-size="11">'
            f"<title>{escape(title)}</title><style>.g{{stroke:#ddd}}</style>{content}</svg>"
        )


def _ticks(low: float, high: float) -> Floats:
    """Return about five round values in [low, high]."""
    raw = max((high - low) / 5, 1e-30)
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    return np.asarray(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)
