"""Figures of the study as SVG, legible on light and dark pages: lines over a parameter, bars of effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STYLE = (
    "text{font:12px sans-serif;fill:#444}.t{font-weight:bold}.a{stroke:#999;fill:none}.g{stroke:#ddd}"
    ".l{stroke:#2a6fb0;fill:none;stroke-width:2}.e{stroke:#2a6fb0;stroke-width:1.5}.p{fill:#2a6fb0}"
    "@media (prefers-color-scheme:dark){text{fill:#ccc}.g{stroke:#444}.l,.e{stroke:#7db8ee}.p{fill:#7db8ee}}"
)
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 220, 170, 44, 28, 36


@dataclass(frozen=True)
class Point:
    """A value with its interval over a place on the x axis; `x` also names the place."""

    x: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """A titled plot; zero: draw the line of 0 and keep it in view (for differences)."""

    title: str
    points: Sequence[Point]
    zero: bool = False


def _scale(panel: Panel) -> tuple[float, float]:
    """The range of the y axis: all intervals and a tenth of room on both sides."""
    low, high = min(p.low for p in panel.points), max(p.high for p in panel.points)
    if panel.zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.1 * ((high - low) or 1.0)
    return low - room, high + room


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{text}</text>'


def _panel(panel: Panel, *, joined: bool) -> list[str]:
    """The elements of one panel, its upper left corner at 0, 0."""
    low, high = _scale(panel)
    floor = HEIGHT - BOTTOM

    def y(value: float) -> float:
        return floor - (value - low) / (high - low) * (floor - TOP)

    step = (WIDTH - LEFT - 12) / len(panel.points)
    xs = [LEFT + step * (i + 0.5) for i in range(len(panel.points))]
    drawn = [_text(LEFT, 16, panel.title, "start", "t")]
    for tick in (low + (high - low) * share for share in (0.1, 0.5, 0.9)):
        drawn.append(f'<path class="g" d="M{LEFT} {y(tick):.1f}H{WIDTH - 12}"/>')
        drawn.append(_text(LEFT - 5, y(tick) + 4, f"{tick:.2f}" if high < 20 else f"{tick:.0f}", "end"))
    if panel.zero:
        drawn.append(f'<path class="a" d="M{LEFT} {y(0):.1f}H{WIDTH - 12}"/>')
    drawn.append(f'<path class="a" d="M{LEFT} {TOP}V{floor}H{WIDTH - 12}"/>')
    if joined:
        path = "L".join(f"{x:.1f} {y(p.value):.1f}" for x, p in zip(xs, panel.points, strict=True))
        drawn.append(f'<path class="l" d="M{path}"/>')
    for x, point in zip(xs, panel.points, strict=True):
        drawn.append(f'<path class="e" d="M{x:.1f} {y(point.low):.1f}V{y(point.high):.1f}"/>')
        drawn.append(f'<circle class="p" cx="{x:.1f}" cy="{y(point.value):.1f}" r="3.5"/>')
        drawn.append(_text(x, floor + 15, point.x, "middle"))
    return drawn


def draw(panels: Sequence[Panel], *, label: str, joined: bool) -> str:
    """An SVG with the panels side by side; joined: a line through the points; label: what x is."""
    width = WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" role="img">',
        f"<title>{label}</title><style>{STYLE}</style>",
    ]
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate({index * WIDTH} 0)">', *_panel(panel, joined=joined)]
        parts += [_text((LEFT + WIDTH) / 2, HEIGHT - 4, label, "middle"), "</g>"]
    return "\n".join([*parts, "</svg>", ""])
