"""The ground of the charts: SVG elements, axes with round ticks, and the frame around the data."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field


def tag(name: str, *children: str, **attributes: object) -> str:
    """An SVG element. Children are markup; attribute values are escaped, `_` in names is `-`.

    The trailing underscore of `class_` goes; None leaves an attribute out.
    """
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return f"<{name}{''.join(words)}>{''.join(children)}</{name}>"


def text(content: object, **attributes: object) -> str:
    """A text element; its content is escaped."""
    return tag("text", html.escape(str(content)), **attributes)


def title(content: object) -> str:
    """What a browser shows when the pointer rests on the parent element."""
    return tag("title", html.escape(str(content)))


def _number(value: object) -> str:
    """Floats to a tenth of a pixel without trailing zeros: the same bytes on every machine."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) within low..high."""
    if not low < high:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.7)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten within low..high; without the 5s and 2s where many decades fit."""
    decades = math.log10(high / low)
    digits = (1, 2, 5) if decades < 3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]


def label(value: float) -> str:
    """A tick's label, as short as it can be."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


@dataclass(frozen=True)
class Scale:
    """Maps data low..high to pixels start..end, on a logarithm where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values along the scale."""
        return log_ticks(self.low, self.high) if self.log else round_ticks(self.low, self.high)


@dataclass(frozen=True)
class Frame:
    """Axes around a chart. Sizes in SVG units, which are pixels at full width."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    log_x: bool = False
    width: float = 440.0
    height: float = 270.0
    margins: tuple[float, float, float, float] = field(default=(14.0, 12.0, 44.0, 52.0))

    @property
    def across(self) -> Scale:
        """The horizontal scale."""
        return Scale(*self.x, self.margins[3], self.width - self.margins[1], self.log_x)

    @property
    def up(self) -> Scale:
        """The vertical scale."""
        return Scale(*self.y, self.height - self.margins[2], self.margins[0])

    def draw(self, name: str, *marks: str) -> str:
        """The chart: grid, axes, labels, then `marks`. `name` is what screen readers say."""
        return tag(
            "svg",
            *self._rows(),
            *self._columns(),
            *marks,
            viewBox=f"0 0 {self.width:g} {self.height:g}",
            role="img",
            aria_label=name,
            class_="chart",
        )

    def _rows(self) -> list[str]:
        left, right, up = self.across.start, self.across.end, self.up
        parts = []
        for value in up.ticks():
            parts.append(tag("line", x1=left, x2=right, y1=up(value), y2=up(value), class_="grid"))
            parts.append(text(label(value), x=left - 8, y=up(value) + 4, text_anchor="end"))
        middle = (up.start + up.end) / 2
        turned = f"rotate(-90 14 {middle:g})"
        return [*parts, text(self.y_label, x=14, y=middle, transform=turned, class_="name")]

    def _columns(self) -> list[str]:
        bottom, across = self.up.start, self.across
        parts = [tag("line", x1=across.start, x2=across.end, y1=bottom, y2=bottom, class_="axis")]
        for value in across.ticks():
            at = across(value)
            parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(text(label(value), x=at, y=bottom + 18, text_anchor="middle"))
        middle = (across.start + across.end) / 2
        return [*parts, text(self.x_label, x=middle, y=self.height - 6, class_="name")]


def extent(values: Sequence[float], *, zero: bool = False, room: float = 0.05) -> tuple[float, float]:
    """An axis range that holds all values, with a little room; `zero`: and 0, exactly at its end."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    space = (high - low) * room or abs(high) * room or 1.0
    return (low if zero and low == 0 else low - space, high + space)
