"""The pictures of a report of a regression run: every case's change with its control, and the rounds behind
it.
"""

import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.compare import Interval
from bench.regression_judge import CaseJudgement, Status
from reports.drawing import value_beside
from reports.figures import Picture
from reports.regression_load import RegressionReport, RoundRatio, round_ratios
from reports.regression_words import change, ordered
from reports.svg import GRID, INK, MUTED, PAPER, canvas, scenario_colour, style, to_svg
from reports.text import plural, printable, shortened

ROW = 58
"""Height of one case with its name, in px."""
MOST_CHANGE = 1000.0
"""Drawn, as a ratio."""
MOST_CASES = 40
"""Drawn; the table has all."""
MARKERS: dict[Status, tuple[str, int]] = {
    "regressed": (">", 2),
    "faster": ("<", 3),
    "unchanged": ("o", 1),
    "inconclusive": ("s", 5),
}
"""Marker and colour: a case is told by its sign too, never by colour alone."""
TICKS = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    0.8,
    0.9,
    0.95,
    0.98,
    1,
    1.02,
    1.05,
    1.1,
    1.2,
    1.5,
    2,
    5,
    10,
    20,
    50,
    100,
)


def regression_pictures(report: RegressionReport) -> tuple[Picture, ...]:
    """Every picture that the records have the numbers for."""
    drawn = (_forest(report), _rounds(report))
    return tuple(picture for picture in drawn if picture is not None)


def _forest(report: RegressionReport) -> Picture | None:
    cases = [case for case in ordered(report.judgement.cases) if case.ratio is not None]
    if not cases:
        return None
    shown = cases[:MOST_CASES]
    alt = "Time of the head over the base's. " + "; ".join(_words(case) for case in shown)
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(70 + ROW * len(shown), [1])
        ends = [1.0]
        for row, case in enumerate(shown):
            ends += _draw_case(ax, row, case)
        _axis(ax, ends, [case.case for case in shown])
        for row, case in enumerate(shown):
            if case.ratio is not None:
                right = max(_within(case.ratio)[-1], 1 + (case.tau or 0))
                value_beside(ax, row, right, change(case.ratio.estimate))
        ax.set_xlabel("time ÷ base's, both ÷ the naive loss's")
        return _finished(
            figure,
            name="regression-cases",
            title=_forest_title(cases),
            caption="Mark and thick line: head ÷ base with the interval that decided; ▸ regressed, ◂ faster, "
            "■ inconclusive, ● unchanged. Thin line: the control, unchanged code against itself. Band: "
            f"within τ. Further right is slower.{_left_out(cases)}",
            alt=alt,
        )


def _draw_case(ax: Axes, row: int, case: CaseJudgement) -> list[float]:
    """Draws one case; gives the values the axis has to hold."""
    marker, colour = MARKERS.get(case.status, ("o", 0))
    ends = []
    if case.tau is not None:
        right = min(1 + case.tau, MOST_CHANGE)
        left = 1 / right
        ax.barh(
            row + 0.09, right - left, left=left, height=0.62, color=GRID, alpha=0.55, linewidth=0, zorder=1
        )
        ends += [left, right]
    if case.control is not None:
        below = row + 0.27
        low, middle, high = _within(case.control)
        ax.plot([low, high], [below, below], color=MUTED, lw=1.4, zorder=3)
        ax.plot([middle], [below], "|", color=MUTED, ms=7, mew=1.4, zorder=3)
        ends += [low, high]
    if case.ratio is not None:
        hue = scenario_colour(colour)
        low, middle, high = _within(case.ratio)
        ax.plot([low, high], [row] * 2, color=hue, lw=2.6, zorder=5)
        ax.plot([middle], [row], marker, ms=8, mfc=hue, mec=PAPER, mew=1, zorder=6)
        ends += [low, high]
    return ends


def _forest_title(cases: Sequence[CaseJudgement]) -> str:
    for status, words in (("regressed", "slower"), ("inconclusive", "undecided"), ("faster", "faster")):
        found = [case for case in cases if case.status == status]
        if found:
            first = found[0]
            text = f"{len(found)} of {plural(len(cases), 'benchmark')} {words}"
            if status == "inconclusive" or first.ratio is None:
                return text
            most = f": {shortened(first.case, 40)} by {change(first.ratio.estimate)}"
            return text + (most if len(found) == 1 else most.replace(":", ", first of all", 1))
    return f"No change of time in {plural(len(cases), 'benchmark')}"


def _rounds(report: RegressionReport) -> Picture | None:
    found = []
    for case in ordered(report.judgement.cases):
        if ratios := round_ratios(report, case.case, "head"):
            found.append((case, ratios, round_ratios(report, case.case, "control")))
    if not found:
        return None
    shown = found[:MOST_CASES]
    alt = "Head over base, round by round. " + "; ".join(
        f"{case.case}: " + ", ".join(change(ratio.estimate) for ratio in ratios) for case, ratios, _ in shown
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(70 + ROW * len(shown), [1])
        ends = [1.0]
        for row, (case, ratios, control) in enumerate(shown):
            ends += _draw_rounds(ax, row + 0.32, 0.1, control, MUTED)
            ends += _draw_rounds(ax, row, 0.2, ratios, scenario_colour(MARKERS.get(case.status, ("o", 0))[1]))
        _axis(ax, ends, [case.case for case, _, _ in shown])
        ax.set_xlabel("time ÷ base's in the same round")
        first, ratios, _ = shown[0]
        slower = sum(ratio.estimate > 1 for ratio in ratios)
        rounds = plural(len(ratios), "round")
        return _finished(
            figure,
            name="regression-rounds",
            title=f"{shortened(first.case, 40)} was slower in {slower} of {rounds}",
            caption="Dots: rounds, each a pair of processes, the first on top; the confirming run is hollow. "
            "Lines: the middle half of a round's samples. Grey, below: the control."
            f"{_left_out(found)}",
            alt=alt,
        )


def _draw_rounds(
    ax: Axes, middle: float, spread: float, ratios: Sequence[RoundRatio], colour: str
) -> list[float]:
    """Draws one side of one case, its rounds from top to bottom; gives the values the axis has to hold."""
    step = 2 * spread / max(len(ratios) - 1, 1)
    top = middle - spread if len(ratios) > 1 else middle
    placed = [(top + step * index, ratio.attempt, *_within(ratio)) for index, ratio in enumerate(ratios)]
    lows, highs = [low for *_, low, _, _ in placed], [high for *_, high in placed]
    ax.hlines([at for at, *_ in placed], lows, highs, color=colour, lw=0.9, alpha=0.5, zorder=3)
    for again, face, edge in ((False, colour, PAPER), (True, PAPER, colour)):
        dots = [(estimate, at) for at, attempt, _, estimate, _ in placed if bool(attempt) == again]
        if dots:
            ax.plot(*zip(*dots, strict=True), "o", ms=4.2, mfc=face, mec=edge, mew=0.8, zorder=4)
    return [*lows, *highs]


def _within(ratio: Interval | RoundRatio) -> tuple[float, float, float]:
    """Lower end, estimate and upper end, brought to the edge where they are beyond what an axis can show: a
    broken record may hold any number.
    """
    low, middle, high = (
        min(max(value, 1 / MOST_CHANGE), MOST_CHANGE) for value in (ratio.low, ratio.estimate, ratio.high)
    )
    return low, middle, high


def _axis(ax: Axes, ends: Sequence[float], names: Sequence[str]) -> None:
    """A logarithmic axis around 1, a row a case with its name above: beside it, names would be cut, and many
    differ in their ends only.
    """
    low, high = min(ends), max(ends)
    room = max(high / low, 1.02)
    ax.set_xscale("log")
    ax.set_xlim(low / room**0.04, high * room**0.2)
    ax.xaxis.set_major_locator(FixedLocator(_ticks(*ax.get_xlim())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_ylim(len(names) - 0.4, -0.75)
    ax.set_yticks([])
    for row, name in enumerate(names):
        ax.annotate(
            shortened(name, 48), (0, row - 0.44), xycoords=("axes fraction", "data"), va="center", zorder=7,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    ax.grid(visible=True, axis="x")
    ax.axvline(1, color=INK, lw=1.2, zorder=2)


def _ticks(left: float, right: float) -> list[float]:
    """From 1 outwards, those of TICKS that leave room for their labels."""
    least = (right / left) ** 0.11
    chosen = [1.0]
    for tick in sorted(TICKS, key=lambda tick: abs(math.log(tick))):
        apart = all(max(tick / other, other / tick) >= least for other in chosen)
        if left <= tick <= right and apart:
            chosen.append(tick)
    return chosen


def _words(case: CaseJudgement) -> str:
    text = f"{case.case}: {case.status}"
    if case.ratio is not None:
        text += f" {change(case.ratio.estimate)}, {change(case.ratio.low)} to {change(case.ratio.high)}"
    return text


def _left_out(cases: Sequence[object]) -> str:
    more = len(cases) - MOST_CASES
    return f" {plural(more, 'more case')} not drawn: see the table." if more > 0 else ""


def _finished(figure: "mpl.figure.Figure", *, name: str, title: str, caption: str, alt: str) -> Picture:
    """To be called inside the style's context: an SVG is styled as it is saved."""
    alt = printable(alt)
    return Picture(name=name, title=title, caption=caption, alt=alt, svg=to_svg(figure, name=name, alt=alt))
