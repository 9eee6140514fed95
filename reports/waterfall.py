"""The ladder as a waterfall, in words and as a table: what each change from `plain` to `fast` brings.

Effects multiply, so the axis is logarithmic, and a bar's length is its factor wherever it stands.
"""

import itertools
import math
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.compare import FEWEST_ROUNDS, Interval
from bench.ladder import LEAST_GAIN, Ladder, Rung, read_ladder
from bench.record import Mode
from reports.drawing import LABEL, Picture, finished
from reports.sentences import WHERE, interval_text
from reports.summary import Summary
from reports.svg import GRID, INK, MUTED, PAPER, canvas, scenario_colour, style
from reports.tables import Table
from reports.text import NOTHING, listed, shortened, span, times

MODES: tuple[Mode, ...] = ("end-to-end", "compute-only")
ROW = 42
"""Height of one row, in px: two lines of text."""
MOST_TICKS = 6
TICK_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A bar from `start` to `end` times the speed of the bottom; none without an `end`."""

    label: str
    words: str
    start: float
    end: float | None = None
    effect: Interval | None = None
    """As a factor of `start`."""
    backwards: Interval | None = None
    colour: int = 0
    pale: bool = False

    @property
    def edges(self) -> list[float]:
        factors = [1.0] if self.end is not None else []
        for effect in (self.effect, self.backwards):
            factors += [effect.low, effect.estimate, effect.high] if effect is not None else []
        return [self.start * factor for factor in factors] + ([self.end] if self.end is not None else [])


def ladders(summary: Summary) -> tuple[Ladder, ...]:
    """The ladder of a report end to end and on compute alone; empty where none was climbed."""
    report = summary.report
    found = (read_ladder(report.plan, report.throughputs, mode) for mode in MODES)
    return tuple(ladder for ladder in found if ladder is not None)


def waterfall(ladder: Ladder) -> Picture:
    """From 1× at the top down to `fast`, a row a change, and below it what was measured on top of it."""
    rows = _rows(ladder)
    edges = [edge for row in rows for edge in row.edges]
    low, high = min(edges), max(edges)
    room = (high / low) ** 0.06
    low, high = low / room, high * (high / low) ** 0.2 * 1.01
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(64 + ROW * len(rows), [1])
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        for number, row in enumerate(rows):
            _draw(ax, number, row)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_yticks(
            range(len(rows)), [f"{shortened(row.label, LABEL)}\n{row.words}".rstrip() for row in rows]
        )
        ax.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        ax.grid(visible=True, axis="x")
        ax.set_xlabel(f"speed, as a multiple of {shortened(ladder.bottom, LABEL)}")
        caption = "Bar: what the change brings on top of those above it, with its 95 % interval. Hollow "
        caption += "marker: the same change, as what is lost when it goes from "
        caption += (
            f"{ladder.top} while those below it are still there. Pale: not shown to pay. Further right "
        )
        caption += "is faster; the axis is logarithmic."
        return finished(
            figure, name=f"ladder-{ladder.mode}", title=_title(ladder), caption=caption, alt=_alt(ladder)
        )


def ladder_sentences(ladder: Ladder) -> tuple[str, ...]:
    """The whole in one sentence, then one for each group of changes that pay, do not, are undecided, or go on
    top of the whole."""
    sentences = [_whole(ladder)]
    inside = [rung for rung in ladder.rungs if not rung.beyond]
    where = WHERE[ladder.mode]
    if paying := [f"{rung.change} {_effects(rung)}" for rung in inside if rung.paid == "pays"]:
        sentences.append(f"What pays {where}: {listed(paying)}.")
    if idle := [f"{rung.change} {_effects(rung)}" for rung in inside if rung.paid == "does not pay"]:
        gain = f"{100 * (LEAST_GAIN - 1):.0f} %"
        sentences.append(
            f"What does not pay {where}, by bringing less than {gain} or costing speed: {listed(idle)}."
        )
    if open_ := [f"{rung.change} {_effects(rung)}" for rung in inside if rung.paid == "undecided"]:
        sentences.append(f"Undecided {where}: {listed(open_)}.")
    sentences += [
        f"On top of {ladder.top}, {rung.change} {rung.paid if rung.paid != 'undecided' else 'is undecided'}"
        f" {_effects(rung)}."
        for rung in ladder.rungs
        if rung.beyond
    ]
    return tuple(sentences)


def ladder_unmeasured(ladder: Ladder) -> str | None:
    """The changes that could not be made here, and why."""
    gone = [f"{rung.change} ({rung.missing})" for rung in ladder.rungs if rung.missing]
    return f"Not here: {listed(gone)}." if gone else None


def ladder_table(ladder: Ladder) -> Table:
    """One row a change."""
    columns = (
        "change",
        "what it is",
        "forwards",
        "95 % interval",
        "backwards",
        "95 % interval",
        "rounds",
        "",
    )
    rows = [
        (
            f"{rung.change}, on top of {ladder.top}" if rung.beyond else rung.change,
            rung.description,
            *_cells(rung.forwards),
            *_cells(rung.backwards),
            str(min((e.samples for e in (rung.forwards, rung.backwards) if e), default=0) or NOTHING),
            f"{rung.paid}: {rung.missing}" if rung.missing else rung.paid,
        )
        for rung in ladder.rungs
    ]
    if ladder.total is not None:
        total = f"{ladder.top} ÷ {ladder.bottom}"
        rows.append(
            (total, "all together", *_cells(ladder.total), NOTHING, NOTHING, str(ladder.total.samples), "")
        )
    title = f"Ladder, {WHERE[ladder.mode]}: × speed by change"
    return Table(title=title, columns=columns, rows=tuple(rows), names=2)


def _rows(ladder: Ladder) -> list[_Row]:
    total = ladder.total.estimate if ladder.total is not None else ladder.multiplied
    rows = [_Row(label=ladder.bottom, words="", start=1.0, end=1.0)]
    speed = 1.0
    for rung in ladder.rungs:
        if not rung.beyond:
            rows.append(_step(rung, speed))
            speed = rows[-1].end or speed
    rows.append(_Row(label=ladder.top, words="", start=1.0, end=total, effect=ladder.total))
    return rows + [_step(rung, total) for rung in ladder.rungs if rung.beyond]


def _step(rung: Rung, speed: float) -> _Row:
    return _Row(
        label=f"+ {rung.change}",
        words=rung.paid,
        start=speed,
        end=speed * rung.forwards.estimate if rung.forwards is not None else None,
        effect=rung.forwards,
        backwards=rung.backwards,
        colour=1,
        pale=rung.paid != "pays",
    )


def _draw(ax: Axes, number: int, row: _Row) -> None:
    if row.end is None and row.backwards is None:
        ax.plot([row.start], [number], marker="|", ms=14, color=MUTED, mew=1.4)
        return
    if row.end is not None:
        colour = scenario_colour(row.colour)
        left, width = min(row.start, row.end), abs(row.end - row.start)
        ax.barh(
            number, width, left=left, height=0.6, color=colour, alpha=0.25 if row.pale else 0.75, linewidth=0
        )
        ax.plot([row.end, row.end], [number - 0.3, number + 0.3], color=colour, lw=2.4)
        ax.plot([row.end, row.end], [number + 0.3, number + 0.7], color=GRID, lw=1)
    if row.effect is not None:
        ends = [row.start * row.effect.low, row.start * row.effect.high]
        ax.plot(ends, [number, number], color=INK, lw=2.2, zorder=5)
    if row.backwards is not None:
        lost = row.backwards
        ends = [row.start * lost.low, row.start * lost.high]
        ax.plot(ends, [number + 0.2, number + 0.2], color=MUTED, lw=1.4, zorder=5)
        at = row.start * lost.estimate
        ax.plot([at], [number + 0.2], "D", ms=6, mfc=PAPER, mec=INK, mew=1.3, zorder=6)
    shown = row.effect.estimate if row.effect is not None else None
    text = times(shown) if shown is not None else "1×" if row.end == row.start else ""
    ax.annotate(
        text,
        (max(row.edges), number),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers within the limits, few enough for their labels to stand apart."""
    for step in TICK_STEPS:
        first, last = math.ceil(low / step), math.floor(high / step)
        ticks = [number * step for number in range(max(1, first), last + 1)] if last - first < 50 else []
        apart = all(math.log(b / a) > 0.12 * math.log(high / low) for a, b in itertools.pairwise(ticks))
        if 2 <= len(ticks) <= MOST_TICKS and apart:
            return ticks
    base = 2 if low > 0.2 and high < 500 else 10
    powers = range(math.ceil(math.log(low, base)), math.floor(math.log(high, base)) + 1)
    every = len(powers) // MOST_TICKS + 1
    return [float(base) ** power for power in powers if power % every == 0]


def _title(ladder: Ladder) -> str:
    where = WHERE[ladder.mode]
    ranked = sorted(
        (rung for rung in ladder.rungs if rung.paid == "pays" and rung.forwards and not rung.beyond),
        key=lambda rung: rung.forwards.estimate if rung.forwards else 0.0,
        reverse=True,
    )
    idle = [rung.change for rung in ladder.rungs if rung.paid == "does not pay"]
    if ranked and ranked[0].forwards is not None:
        text = f"{ranked[0].change} brings most {where}: {times(ranked[0].forwards.estimate)}"
    else:
        text = f"No change is shown to pay {where}"
    return text + (f"; {listed(idle)} {'does' if len(idle) == 1 else 'do'} not pay" if idle else "")


def _alt(ladder: Ladder) -> str:
    parts = [f"{rung.change}: {_effects(rung)}, {rung.paid}" for rung in ladder.rungs if not rung.missing]
    parts += [f"{rung.change}: not here, {rung.missing}" for rung in ladder.rungs if rung.missing]
    whole = ""
    if ladder.total is not None:
        whole = f"; all together {times(ladder.total.estimate)}, {interval_text(ladder.total)}"
    return f"Speed by change {WHERE[ladder.mode]}. {'; '.join(parts)}{whole}."


def _whole(ladder: Ladder) -> str:
    where = WHERE[ladder.mode]
    if ladder.total is None:
        return f"{ladder.top} and {ladder.bottom} have no round in common {where}, so the whole is not known."
    text = f"All changes together make {ladder.bottom} {times(ladder.total.estimate)} as fast {where} "
    text += f"({interval_text(ladder.total)})"
    product = ladder.multiplied
    if not ladder.total.low <= product <= ladder.total.high:
        text += f"; one by one they multiply to {times(product)}"
    if ladder.total.samples < FEWEST_ROUNDS:
        text += f"; no change is judged by fewer than {FEWEST_ROUNDS} rounds"
    return text + "."


def _effects(rung: Rung) -> str:
    """`(1.3×, 1.2–1.4×; backwards 1.1×, 1.0–1.2×)`."""
    parts = [_effect(rung.forwards)] if rung.forwards is not None else []
    if rung.backwards is not None:
        parts.append(f"backwards {_effect(rung.backwards)}")
    return f"({'; '.join(parts)})" if parts else "(not measured)"


def _effect(effect: Interval) -> str:
    value = times(effect.estimate)
    return f"{value}, {span(effect)}" if effect.samples > 1 else f"{value}, one round"


def _cells(effect: Interval | None) -> tuple[str, str]:
    if effect is None:
        return NOTHING, NOTHING
    return times(effect.estimate), span(effect) if effect.samples > 1 else NOTHING
