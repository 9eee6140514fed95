"""Long series as lines: thinned to the picture's columns so that no spike is lost, with limits and restarts
marked."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from reports.svg import INK, MUTED, PAPER, scenario_colour
from reports.text import amount

COLUMNS = 400
"""Of a picture's width: a series of more than twice as many numbers is thinned to one median, least and
greatest a column."""
MOST_MARKS = 60
"""Restarts drawn; more would be a grey wall, and are in the table."""
WIDE = 30
"""Greatest ÷ least from which on an axis is logarithmic."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Thinned:
    x: Values
    middle: Values
    """NaN where there is a gap."""
    low: Values | None = None
    """None where every number is drawn."""
    high: Values | None = None


def thinned(x: npt.NDArray[np.int64], y: Values) -> Thinned:
    """x: (L,) rising; y: (L,), NaN for gaps."""
    if len(x) <= 2 * COLUMNS:
        return Thinned(x=x.astype(np.float64), middle=y)
    column = np.minimum((x - x[0]) * COLUMNS // (x[-1] - x[0]), COLUMNS - 1)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    parts = [part[np.isfinite(part)] for part in np.split(y, starts[1:])]

    def of(reduce: Callable[[Values], float]) -> Values:
        return np.array([reduce(part) if len(part) else math.nan for part in parts])

    middles = (x[starts] + x[np.append(starts[1:], len(x)) - 1]) / 2
    return Thinned(x=middles, middle=of(np.median), low=of(np.min), high=of(np.max))


def is_thinned(x: npt.NDArray[np.int64]) -> bool:
    return len(x) > 2 * COLUMNS


def series(ax: Axes, x: npt.NDArray[np.int64], y: Values, colour: int, label: str | None = None) -> None:
    """A line, and where it is thinned a band from the least to the greatest number of each column."""
    line = thinned(x, y)
    ink = scenario_colour(colour)
    if line.low is not None and line.high is not None:
        ax.fill_between(line.x, line.low, line.high, color=ink, alpha=0.3, linewidth=0)
        for edge in (line.low, line.high):  # a spike of one column has no area to be seen by
            ax.plot(line.x, edge, color=ink, lw=0.7, alpha=0.7)
    ax.plot(line.x, line.middle, color=ink, lw=1.6, label=label)
    # A number with a gap on both sides has no line to be seen by.
    there = np.pad(np.isfinite(line.middle), 1)
    lonely = there[1:-1] & ~there[:-2] & ~there[2:]
    ax.plot(line.x[lonely], line.middle[lonely], "o", color=ink, ms=4)


def restarts(axes: Sequence[Axes], steps: Sequence[int]) -> None:
    for ax in axes:
        for step in steps[:MOST_MARKS]:
            ax.axvline(step, color=MUTED, lw=1, ls=(0, (1, 2)), zorder=1)


def limit(ax: Axes, at: float, text: str = "") -> None:
    """A dashed line across, with the text above its right end."""
    ax.axhline(at, color=INK, lw=1.2, ls=(0, (4, 3)), zorder=2)
    ax.annotate(
        text,
        (1, at),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.75},
    )


def steps_axis(axes: Sequence[Axes], steps: npt.NDArray[np.int64]) -> None:
    """The same steps below all of them, named under the last."""
    first, last = int(steps[0]), int(steps[-1])
    room = max(1.0, 0.02 * (last - first))
    for ax in axes:
        ax.set_xlim(first - room, last + room)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(_step))
        ax.grid(visible=True)
    axes[-1].set_xlabel("step")


def _step(value: float, _: object) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def fit_y(ax: Axes, drawn: Sequence[Values], *, logarithmic: bool | None = None) -> bool:
    """Scales the axis to the numbers; logarithmic where all are positive and far apart, unless it is said.
    Returns whether it is."""
    numbers = np.concatenate([values[np.isfinite(values)] for values in drawn])
    if logarithmic is None:
        logarithmic = len(numbers) > 0 and bool(0 < WIDE * numbers.min() < numbers.max())
    if logarithmic:
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    return logarithmic


def legend(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, handlelength=1.2, columnspacing=1.1)


def ends(values: Values) -> str:
    """`a to b`, the first and the last finite number."""
    found = values[np.isfinite(values)]
    return f"{amount(float(found[0]))} to {amount(float(found[-1]))}"


def spoken(series_by_name: Mapping[str, Values]) -> str:
    """Each series' first and last number, for an alternative text."""
    return "; ".join(f"{name}: {ends(values)}" for name, values in series_by_name.items())
