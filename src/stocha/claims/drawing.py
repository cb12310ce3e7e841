"""Small plots as SVG text: they take their page's colours, and a README shows them too."""

import math
from html import escape

from matplotlib.ticker import MaxNLocator

from stocha.base.statistics import number

WIDTH, HEIGHT = 420, 290
_LEFT, _TOP, _BOTTOM = 52, 14, 46

STYLE = """<style>
svg{--ink:#1d1f21;--muted:#55595e;--paper:#fff;--relu:#0072b2;--silu:#b34d00;--stocha:#007a5a;\
color:var(--ink);background:var(--paper)}
@media(prefers-color-scheme:dark){svg{--ink:#dcdcd8;--muted:#a2a5a9;--paper:#121212;\
--relu:#56b4e9;--silu:#f0904c;--stocha:#3ecf9f}}
text{font:14px system-ui,sans-serif;fill:currentColor;paint-order:stroke;stroke:var(--paper);\
stroke-width:4px;stroke-linejoin:round}
.axis{fill:var(--muted);font-size:13px}
</style>"""
"""For a plot that stands alone; in the book its style sheet says the same."""


class Plot:
    """Axes, and what is drawn on them in the order it is called for.

    Parameters: `xs` and `ys`, the ranges shown; `axes`, what they are called; `right`, the room at
    the right edge in pixels; `percent`, x is a share and written as a percentage.
    """

    def __init__(
        self,
        xs: tuple[float, float],
        ys: tuple[float, float],
        axes: tuple[str, str],
        right: int = 22,
        percent: bool = True,
    ) -> None:
        self.xs, self.ys, self.right = xs, ys, right
        self.parts: list[str] = []
        bottom = HEIGHT - _BOTTOM
        for tick in _ticks(xs):
            shown = f"{tick:.0%}".replace("%", " %") if percent else number(tick, "g")
            self.text(self.x(tick), bottom + 18, shown, "middle", "axis")
        for tick in _ticks(ys):
            y = self.y(tick)
            width = 1.2 if tick == 0 else 0.3
            self.line([(_LEFT, y), (WIDTH - right, y)], "muted", width)
            self.text(_LEFT - 6, y + 4, number(tick, "g"), "end", "axis")
        self.text((_LEFT + WIDTH - right) / 2, HEIGHT - 8, axes[0], "middle", "axis")
        self.text(8, _TOP - 2, axes[1], "start", "axis")
        self.frame = ""
        self.keep()

    def keep(self) -> None:
        """What is drawn so far stays when a script draws the rest anew."""
        self.frame += "".join(self.parts)
        self.parts = []

    def x(self, value: float) -> float:
        """Pixels from the left edge."""
        low, high = self.xs
        return _LEFT + (value - low) / (high - low) * (WIDTH - self.right - _LEFT)

    def y(self, value: float) -> float:
        """Pixels from the upper edge."""
        low, high = self.ys
        top = _TOP + 12
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _BOTTOM - top)

    def text(self, x: float, y: float, text: str, anchor: str = "start", name: str = "") -> None:
        """Write at a place in pixels."""
        kind = f' class="{name}"' if name else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'
        )

    def line(self, points: list[tuple[float, float]], colour: str, width: float = 2) -> None:
        """Join places in pixels."""
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(
            f'<path d="M{path}" fill="none" stroke="var(--{colour})" stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 5) -> None:
        """Mark a place in pixels."""
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="var(--{colour})"/>'
        )

    def span(self, low: float, high: float, colour: str) -> None:
        """Shade a range of x."""
        left, right = self.x(low), self.x(high)
        top = _TOP + 12
        self.parts.append(
            f'<rect x="{left:.1f}" y="{top}" width="{right - left:.1f}" '
            f'height="{HEIGHT - _BOTTOM - top}" fill="var(--{colour})" fill-opacity="0.12"/>'
        )

    def svg(self, label: str, style: str = "") -> str:
        """The picture; `label` is what it says to whom cannot see it.

        What was drawn is a group that a script can draw anew: it has the pixels of x = 0 and 1, of
        y = 0 and 1, and of the upper edge.
        """
        places = (self.x(0), self.x(1), self.y(0), self.y(1), _TOP + 12)
        scale = " ".join(f"{place:.2f}" for place in places)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'class="drawn" aria-label="{escape(label)}">{style}{self.frame}'
            f'<g class="live" data-scale="{scale}">{"".join(self.parts)}</g></svg>'
        )


def _ticks(ends: tuple[float, float]) -> list[float]:
    """Round numbers between the two ends."""
    return [
        round(float(tick), 10) + 0.0
        for tick in MaxNLocator(5).tick_values(*ends)
        if ends[0] <= tick <= ends[1] and math.isfinite(tick)
    ]
