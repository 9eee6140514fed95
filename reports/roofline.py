"""The roofline: what each scenario computes a second, under what its machine's products and memory allow.

Williams, Waterman and Patterson, Roofline: an insightful visual performance model (CACM 52:4, 2009). Upwards
are model FLOPs a second; to the right are model FLOPs for each byte that the operators of the step read and
write, as counted on its eager form. The roof is min(products' ceiling, bytes/s of copies · FLOPs a byte).
"""

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.loss_record import Ceiling
from reports.drawing import LABEL, Picture, finished, named
from reports.limits import Limit, flops, limits
from reports.summary import Summary
from reports.svg import INK, MUTED, PAPER, canvas, scenario_colour, style
from reports.text import amount, percent, shortened

UNITS = (("PFLOP/s", 1e15), ("TFLOP/s", 1e12), ("GFLOP/s", 1e9), ("MFLOP/s", 1e6), ("FLOP/s", 1.0))
LEGEND_COLUMNS = 3
SHARED_LABEL = 1.5
"""Levels closer than so many times would have their labels over each other."""


def roofline_picture(summary: Summary) -> Picture | None:
    """None where no step was counted and timed beside a ceiling."""
    found = limits(summary)
    if not found:
        return None
    ceilings = {limit.ceiling.dtype: limit.ceiling for limit in found}
    names = list(dict.fromkeys(limit.scenario for limit in found))
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(330 + 22 * ((len(names) - 1) // LEGEND_COLUMNS), [1])
        unit, size = _unit(max(ceiling.flops_per_second for ceiling in ceilings.values()))
        left, right = _across(found)
        _roofs(ax, list(ceilings.values()), left, right, size)
        for name in names:
            mine = [limit for limit in found if limit.scenario == name]
            _points(ax, mine, scenario_colour(summary.colour(name)), size)
        levels = [ceiling.flops_per_second for ceiling in ceilings.values()]
        levels += [limit.flops_per_second for limit in found]
        lowest, highest = min(levels), max(levels)
        _axes(ax, (left, right), (lowest / size / 3, highest / size * 3), unit)
        figure.legend(
            loc="outside upper left",
            ncols=min(LEGEND_COLUMNS, len(names)),
            frameon=False,
            handlelength=1,
            columnspacing=1,
        )
        caption = "Line: the most that this machine reached, by copies on the slope and by products on the "
        caption += "level. Filled: compute only; hollow: end to end. Both axes are logarithmic; higher is "
        caption += "faster. Caches and fused operators move less than was counted, so a point may lie above "
        caption += "the slope."
        return finished(
            figure, name="roofline", title=_title(summary, found), caption=caption, alt=_alt(found)
        )


def _title(summary: Summary, found: tuple[Limit, ...]) -> str:
    plan = summary.plan
    shown = []
    for name in dict.fromkeys((plan.contender, plan.baseline)):
        mine = [limit for limit in found if limit.scenario == name]
        best = next((limit for limit in mine if limit.mode == "compute-only"), mine[0] if mine else None)
        if best is not None:
            shown.append((named(name), best))
    if not shown:
        return "How close each step comes to what its machine can do"
    name, best = shown[0]
    where = "on compute alone" if best.mode == "compute-only" else "end to end"
    text = (
        f"{name} reaches {percent(best.utilisation)} of this machine's {best.ceiling.dtype} products {where}"
    )
    if len(shown) > 1:
        other, theirs = shown[1]
        text += f", {other} {percent(theirs.utilisation)}"
        text += f" of the {theirs.ceiling.dtype} ones" if theirs.ceiling.dtype != best.ceiling.dtype else ""
    return text


def _alt(found: tuple[Limit, ...]) -> str:
    ceilings = {limit.ceiling.dtype: limit.ceiling for limit in found}.values()
    roofs = "; ".join(
        f"{ceiling.dtype}: {flops(ceiling.flops_per_second)}/s of products, "
        f"{amount(ceiling.bytes_per_second / 1e9)} GB/s of copies"
        for ceiling in ceilings
    )
    points = "; ".join(
        f"{limit.scenario}, {limit.mode.replace('-', ' ')}: {flops(limit.flops_per_second)}/s at "
        f"{amount(_intensity(limit))} FLOPs a byte, {percent(limit.utilisation)} of the ceiling"
        for limit in found
    )
    return f"Model FLOPs a second against FLOPs a byte. Ceilings: {roofs}. Steps: {points}."


def _intensity(limit: Limit) -> float:
    return limit.work.model_flops / limit.work.operator_bytes


def _ridge(ceiling: Ceiling) -> float:
    """FLOPs a byte where the slope meets the level."""
    return ceiling.flops_per_second / ceiling.bytes_per_second


def _across(found: tuple[Limit, ...]) -> tuple[float, float]:
    """The ends of the horizontal axis: every point and every bend, with room beside them."""
    places = [_intensity(limit) for limit in found] + [_ridge(limit.ceiling) for limit in found]
    return min(places) / 12, max(places) * 8


def _roofs(ax: Axes, ceilings: list[Ceiling], left: float, right: float, size: float) -> None:
    """One slope, and a level for each dtype; levels that nearly meet share a label."""
    rate = ceilings[0].bytes_per_second / size  # the same in all: `best_ceiling` takes the fastest copy
    over: dict[str, Any] = {
        "textcoords": "offset points",
        "va": "center",
        "annotation_clip": False,
        "bbox": {"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        "zorder": 3,
    }
    labels: list[list[Ceiling]] = []
    for ceiling in sorted(ceilings, key=lambda one: one.flops_per_second):
        ridge, level = _ridge(ceiling), ceiling.flops_per_second / size
        ax.plot([left, ridge, right], [left * rate, level, level], color=INK, lw=1.6, zorder=2)
        if labels and ceiling.flops_per_second < SHARED_LABEL * labels[-1][-1].flops_per_second:
            labels[-1].append(ceiling)
        else:
            labels.append([ceiling])
    for shared in labels:
        text = ", ".join(f"{one.dtype} {flops(one.flops_per_second)}/s" for one in shared)
        at = (right, shared[-1].flops_per_second / size)
        ax.annotate(text, at, xytext=(-2, 10), ha="right", **over)
    # Above the slope, where no point is expected, and far enough to the right to stay within the axes.
    at = left * (min(map(_ridge, ceilings)) / left) ** 0.85
    text = f"copies {amount(ceilings[0].bytes_per_second / 1e9)} GB/s"
    ax.annotate(text, (at, at * rate), xytext=(-8, 8), ha="right", **over)


def _points(ax: Axes, mine: list[Limit], colour: str, size: float) -> None:
    heights = [limit.flops_per_second / size for limit in mine]
    across = [_intensity(limit) for limit in mine]
    ax.plot(across, heights, color=colour, lw=1.4, zorder=4)
    for place, (limit, height) in enumerate(zip(mine, heights, strict=True)):
        filled = limit.mode == "compute-only"
        # A space before, because matplotlib leaves names that begin with "_" out of a legend.
        label = f" {shortened(limit.scenario, LABEL)}" if place == len(mine) - 1 else None
        ax.plot(
            [across[place]],
            [height],
            "o",
            ms=8,
            mfc=colour if filled else PAPER,
            mec=colour,
            mew=1.8,
            label=label,
            zorder=5,
        )


def _axes(ax: Axes, across: tuple[float, float], up: tuple[float, float], unit: str) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(across)
    ax.set_ylim(up)
    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        few = high < 1000 * low
        axis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0) if few else (1.0,), numticks=6))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    ax.grid(visible=True, color=MUTED, alpha=0.35)
    ax.set_xlabel("model FLOPs for each byte moved")
    ax.set_ylabel(unit)


def _unit(most: float) -> tuple[str, float]:
    return next((name, size) for name, size in UNITS if most >= size or size == 1.0)
