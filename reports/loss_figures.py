"""The pictures of a report of losses: speed beside the baseline, and memory, shape by shape."""

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.compare import Interval
from bench.loss_compare import Place
from reports.drawing import value_beside
from reports.figures import Picture
from reports.loss_load import BASELINE
from reports.loss_summary import BOTH, LossSummary
from reports.svg import INK, canvas, scenario_colour, style, to_svg
from reports.text import memory, printable, shortened, times

MIB = 2**20
STEP = 11
"""Height of one loss within its shape, in px."""
MARGIN = 18
LEGEND_COLUMNS = 3

Points = Mapping[Place, Mapping[str, Interval]]
"""Place to loss to its value, with the interval of it."""


def loss_pictures(summary: LossSummary) -> tuple[Picture, ...]:
    """Every picture that the records have the numbers for."""
    return tuple(picture for picture in (_speed(summary), _memory(summary)) if picture is not None)


def _speed(summary: LossSummary) -> Picture | None:
    points = {
        place: {row.provider: row.speedup for row in rows if row.speedup is not None}
        for place, rows in summary.rows.items()
    }
    ours = sorted(duel.speedup.estimate for duel in summary.duels if duel.rival == BASELINE)
    reach = "" if not ours else times(ours[0]) + (f" to {times(ours[-1])}" if len(ours) > 1 else "")
    title = f"Ours is {reach} as fast as {BASELINE}" if reach else f"Speed beside {BASELINE}"
    what = "forward and backward" if summary.phase == BOTH else f"{summary.phase} only"
    return _drawn(
        summary,
        points,
        name="loss-speed",
        title=title,
        label=f"times as fast as {BASELINE}, {what}",
        caption=f"Median of paired ratios with its 95 % interval, on a logarithmic axis; at 1: {BASELINE}. "
        "Diamonds are ours. Further right is faster.",
        shown=times,
        line=1.0,
    )


def _memory(summary: LossSummary) -> Picture | None:
    points = {
        place: {
            row.provider: Interval(estimate=size, low=size, high=size, samples=1)
            for row in rows
            if row.peak_bytes and (size := row.peak_bytes / MIB)
        }
        for place, rows in summary.rows.items()
    }
    shares = [
        (ours.estimate / base.estimate, place)
        for place, there in points.items()
        if (row := summary.ours_at(place)) is not None
        and (ours := there.get(row.provider)) is not None
        and (base := there.get(BASELINE)) is not None
    ]
    title = "Peak extra memory"
    if shares:
        least, place = min(shares)
        title = f"Ours holds {times(least)} the extra memory of {BASELINE} at {summary.label(place)}"
    return _drawn(
        summary,
        points,
        name="loss-memory",
        title=title,
        label="peak extra memory (MiB)",
        caption="The most that one forward and backward held beside the views, gradients included, on a "
        "logarithmic axis. Diamonds are ours. Further left is less.",
        shown=lambda mib: memory(mib * MIB),
        line=None,
    )


def _drawn(
    summary: LossSummary,
    points: Points,
    *,
    name: str,
    title: str,
    label: str,
    caption: str,
    shown: Callable[[float], str],
    line: float | None,
) -> Picture | None:
    points = {place: there for place, there in points.items() if there}
    if not points:
        return None
    losses = [loss for loss in summary.report.subjects if any(loss in there for there in points.values())]
    alt = printable(
        f"{label}. "
        + "; ".join(
            f"{summary.label(place)}: "
            + ", ".join(f"{loss} {shown(v.estimate)}" for loss, v in there.items())
            for place, there in points.items()
        )
    )
    rows = len(points) * (len(losses) * STEP + MARGIN)
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(rows + 60 + 20 * -(-len(losses) // LEGEND_COLUMNS), [1])
        _draw(ax, summary, points, losses)
        _label_ours(ax, summary, points, losses, shown)
        if line is not None:
            ax.axvline(line, color=INK, lw=1.2, zorder=1)
        ax.set_xlabel(label)
        figure.legend(
            loc="outside upper left", ncols=LEGEND_COLUMNS, frameon=False, handlelength=1, columnspacing=1
        )
        return Picture(
            name=name, title=title, caption=caption, alt=alt, svg=to_svg(figure, name=name, alt=alt)
        )


def _draw(ax: Axes, summary: LossSummary, points: Points, losses: Sequence[str]) -> None:
    """A band a place, a height a loss within it, the same in every band."""
    band = len(losses) * STEP + MARGIN
    for index, loss in enumerate(losses):
        colour = scenario_colour(summary.colour(loss))
        marker, size = ("D", 5.5) if summary.report.subjects[loss].ours else ("o", 6)
        heights = [row * band + MARGIN / 2 + (index + 0.5) * STEP for row in range(len(points))]
        found = [
            (height, there[loss])
            for height, there in zip(heights, points.values(), strict=True)
            if loss in there
        ]
        for height, value in found:
            ax.plot([value.low, value.high], [height, height], color=colour, lw=2)
        # A space before, because matplotlib leaves names that begin with "_" out of a legend.
        ax.plot(
            [value.estimate for _, value in found],
            [height for height, _ in found],
            marker,
            ms=size,
            color=colour,
            label=f" {shortened(loss, 18)}",
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0) if _decades(points) < 3 else (1.0,)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    ax.set_ylim(len(points) * band, 0)
    ax.set_yticks([(row + 0.5) * band for row in range(len(points))], [summary.label(p) for p in points])
    ax.grid(visible=True, axis="x")
    for row in range(1, len(points)):
        ax.axhline(row * band, color=scenario_colour(0), lw=0.6, alpha=0.4)


def _label_ours(
    ax: Axes, summary: LossSummary, points: Points, losses: Sequence[str], shown: Callable[[float], str]
) -> None:
    """The value of the one that stands for ours, beside its mark."""
    left, right = ax.get_xlim()
    ax.set_xlim(left, right * (right / left) ** 0.16)
    band = len(losses) * STEP + MARGIN
    for row, (place, there) in enumerate(points.items()):
        ours = summary.ours_at(place)
        if ours is not None and ours.provider in there:
            height = row * band + MARGIN / 2 + (losses.index(ours.provider) + 0.5) * STEP
            value = there[ours.provider]
            value_beside(ax, height, value.high, shown(value.estimate))


def _decades(points: Points) -> float:
    values = [value.estimate for there in points.values() for value in there.values()]
    return math.log10(max(values) / min(values))
