"""Line charts as SVG, without a library: a few points over a logarithmic axis is all that is ever drawn; pure."""

from collections.abc import Sequence
from html import escape
from math import log10

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 34, 34
"""Margins, in pixels."""

GRID = 4
"""Lines between the axis and the top."""

Point = tuple[float, float]


def svg(charts: Sequence[str]) -> str:
    """A picture of some charts side by side."""
    width = WIDTH * len(charts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif">'
    placed = [f'<g transform="translate({WIDTH * number} 0)">\n{chart}\n</g>' for number, chart in enumerate(charts)]
    return "\n".join([head, f'<rect width="{width}" height="{HEIGHT}" fill="white"/>', *placed, "</svg>", ""])


def line_chart(title: str, points: Sequence[Point]) -> str:
    """A chart of one line.

    Args:
        title: what it shows, and in which unit.
        points: x above 0, on a logarithmic axis, ascending; y from 0 on.
    """
    top = _round_above(max(y for _, y in points))
    places = [(_across(x, points[0][0], points[-1][0]), _down(y, top)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1f5fa8"/>' for x, y in places]
    below = [_text(x, HEIGHT - 12, _short(count), "middle") for (x, _), (count, _) in zip(places, points, strict=True)]
    values = [_text(x, y - 8, f"{value:.3g}", "middle") for (x, y), (_, value) in zip(places, points, strict=True)]
    name = _text(LEFT, 18, title, "start", size=13)
    line = f'<polyline points="{path}" fill="none" stroke="#1f5fa8" stroke-width="2"/>'
    return "\n".join([name, *_grid(top), line, *marks, *values, *below])


def _grid(top: float) -> list[str]:
    drawn = []
    for step in range(GRID + 1):
        value = top * step / GRID
        y = _down(value, top)
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        drawn.append(_text(LEFT - 8, y + 4, f"{value:g}", "end"))
    return drawn


def _across(x: float, least: float, most: float) -> float:
    share = log10(x / least) / log10(most / least) if most > least else 0.5
    return LEFT + 20 + share * (WIDTH - LEFT - RIGHT - 40)


def _down(y: float, top: float) -> float:
    return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)


def _round_above(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten, so that the grid has round figures."""
    power = 10.0 ** int(log10(value) - (value < 1)) if value > 0 else 1.0
    return next(power * step for step in (1, 2, 4, 8, 10, 20) if power * step >= value)


def _short(count: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return f"{count:g}"


def _text(x: float, y: float, content: str, anchor: str, size: int = 11) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222"'
    return f"<text {place}>{escape(content)}</text>"
