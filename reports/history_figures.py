"""A picture a series: its points with their intervals, the level of each segment, and where it changed."""

from itertools import pairwise

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.change_points import FEWEST_POINTS
from bench.history import History, Series
from reports.figures import Picture
from reports.history import number, ordered, revisions, short_name, size
from reports.svg import INK, MUTED, canvas, scenario_colour, style, to_svg
from reports.text import plural, printable

MOST_PICTURES = 24
"""Drawn, those to be read first; the table has all."""
SLOWER, FASTER, POINTS = 2, 3, 1
"""Colours."""


def history_pictures(history: History, recent: int) -> tuple[Picture, ...]:
    """The first series in the order of the table."""
    shown = ordered(history, recent)[:MOST_PICTURES]
    return tuple(_picture(series, f"history-{number}") for number, series in enumerate(shown))


def _picture(series: Series, name: str) -> Picture:
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(230, [1])
        _draw(ax, series)
        alt = printable(_alt(series))
        return Picture(
            name=name,
            title=_title(series),
            caption=f"{series.setting}; {series.machine}. "
            f"{'Lower' if series.larger_is_slower else 'Higher'} is faster. Dots and thin lines: runs with "
            "their 95 % intervals, in order of time. Thick lines: the median between changes.",
            alt=alt,
            svg=to_svg(figure, name=name, alt=alt),
        )


def _title(series: Series) -> str:
    last = series.last_change
    if last is not None:
        return f"{short_name(series)}: {size(series, last)} at {revisions(series, last)}"
    steady = "no change" if len(series.points) >= FEWEST_POINTS else "too few to tell a change"
    return f"{short_name(series)}: {steady} in {plural(len(series.points), 'point')}"


def _alt(series: Series) -> str:
    first, last = series.points[0], series.points[-1]
    text = (
        f"{series.case}, {series.unit}: {plural(len(series.points), 'point')} from {number(first.value)} on "
        f"{first.run.time:%Y-%m-%d} to {number(last.value)} on {last.run.time:%Y-%m-%d}"
    )
    changes = "; ".join(f"{size(series, found)} at {revisions(series, found)}" for found in series.changes)
    return f"{text}. Changes: {changes or 'none'}"


def _draw(ax: Axes, series: Series) -> None:
    points = series.points
    places = range(len(points))
    colour = scenario_colour(POINTS)
    values = [point.value for point in points]
    ax.vlines(places, [p.low for p in points], [p.high for p in points], color=colour, lw=1, alpha=0.45)
    ax.plot(places, values, "o", ms=4 if len(points) < 60 else 2.5, color=colour, zorder=4)
    edges = [0, *(found.index for found in series.changes), len(points)]
    for (start, end), found in zip(pairwise(edges), (None, *series.changes), strict=True):
        level = sorted(values[start:end])
        middle = (level[(len(level) - 1) // 2] + level[len(level) // 2]) / 2
        hue = INK if found is None else scenario_colour(SLOWER if series.slower(found) else FASTER)
        ax.plot([start - 0.4, end - 0.6], [middle, middle], color=hue, lw=2.4, zorder=3)
        if found is not None:
            ax.axvline(start - 0.5, color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=1)
    _span(ax, series)
    ax.set_xlim(-0.8, len(points) - 0.2)
    ticks = sorted({0, (len(points) - 1) // 2, len(points) - 1})
    ax.set_xticks(ticks, [f"{points[tick].run.time:%Y-%m-%d}" for tick in ticks])
    ax.get_xticklabels()[0].set_horizontalalignment("left")
    ax.get_xticklabels()[-1].set_horizontalalignment("right")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    ax.set_ylabel(series.unit)
    ax.grid(visible=True, axis="y")


def _span(ax: Axes, series: Series) -> None:
    """An axis on which noise looks like noise: a tenth of the median at least from bottom to top."""
    lows, highs = [point.low for point in series.points], [point.high for point in series.points]
    values = sorted(point.value for point in series.points)
    middle = values[len(values) // 2]
    # A single wide interval must not flatten all else.
    low = max(min(lows), 0.5 * values[0])
    high = min(max(highs), 2 * values[-1])
    room = max(high - low, 0.1 * middle)
    centre = (high + low) / 2
    ax.set_ylim(centre - 0.58 * room, centre + 0.58 * room)
