"""The pictures of a proof: what was measured over its target, and the key picture of each part."""

from collections.abc import Callable, Iterator

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.drawing import ROW, Picture, finished, label_rows, value_beside, whisker
from reports.figures import memory_picture, ratio_picture, throughput_picture
from reports.linear_figures import accuracies_picture
from reports.loader_figures import rates_picture
from reports.loss_figures import loss_pictures
from reports.names import as_shown
from reports.proof_judge import Proof, Row, Verdict
from reports.proof_words import measured_text, target_text
from reports.summary import Interval, Summary, summarise
from reports.svg import INK, canvas, scenario_colour, style
from reports.text import times
from reports.waterfall import ladders, log_ticks, waterfall

COLOURS: dict[Verdict, int] = {"reached": 3, "falls short": 2, "too close to call": 5, "rehearsal": 0}
MARKERS: dict[Verdict, str] = {"reached": "D", "falls short": "v", "too close to call": "o", "rehearsal": "s"}


def proof_pictures(proof: Proof) -> tuple[Picture, ...]:
    """All that the records have the numbers for: the targets, then those of the parts in their order."""
    found = (targets_picture(proof), *_of_parts(proof))
    return tuple(picture for picture in found if picture is not None)


def targets_picture(proof: Proof) -> Picture | None:
    """Measured ÷ target of every claim that has both, on a logarithmic axis; None without any."""
    shown = [(row, ratio) for row in proof.rows if (ratio := row.of_target) is not None]
    if not shown:
        return None
    right = sum(ratio >= 1 for _, ratio in shown)
    title = f"{right} of {len(shown)} numbers are on their target's side"
    if proof.source.rehearsal:
        title = "A rehearsal's numbers beside the targets say nothing"
    alt = "Measured over target. " + "; ".join(
        f"{row.claim.sentence}: {measured_text(row)}, target {target_text(row.claim)}, {row.verdict}"
        for row, _ in shown
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(70 + ROW * len(shown), [1])
        ax.set_xscale("log")
        ends = [1.0]
        for number, (row, ratio) in enumerate(shown):
            ends += [ratio, *_draw(ax, number, row, ratio)]
        ax.axvline(1, color=INK, lw=1.2, zorder=1)
        low, high = min(ends), max(ends)
        room = (high / low) or 1.0
        ax.set_xlim(low / room**0.08 / 1.05, high * room**0.2 * 1.25)
        label_rows(ax, [row.claim.id for row, _ in shown], "")
        ax.xaxis.set_major_locator(FixedLocator(log_ticks(*ax.get_xlim())))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        ax.set_xlabel("measured ÷ target (less is better: target ÷ measured)")
        return finished(
            figure,
            name="targets",
            title=title,
            caption="At 1: the target. Diamonds reach it, triangles fall short, circles are too close to "
            "call. Lines: 95 % intervals. The axis is logarithmic; further right is better.",
            alt=alt,
        )


def _draw(ax: Axes, number: int, row: Row, ratio: float) -> tuple[float, ...]:
    """The mark of one claim; gives the ends of its interval."""
    colour = scenario_colour(COLOURS[row.verdict])
    interval = _over_target(row)
    ends = (interval.low, interval.high) if interval is not None else ()
    if interval is not None:
        whisker(ax, number, interval)
    ax.plot([ratio], [number], MARKERS[row.verdict], ms=7, mfc=colour, mec=INK, mew=1, zorder=6)
    value_beside(ax, number, max((ratio, *ends)), times(ratio))
    return ends


def _over_target(row: Row) -> Interval | None:
    """The interval as a ratio to the target, with the better end on the right; None without one above 0."""
    interval = row.measured.interval if row.measured else None
    target = row.claim.target
    if not target or interval is None or interval.low <= 0 or interval.samples < 2:
        return None
    ends = [interval.low / target, interval.high / target]
    if row.claim.sense == "at most":
        ends = [1 / ends[1], 1 / ends[0]]
    return Interval(estimate=row.of_target or 1.0, low=ends[0], high=ends[1], samples=interval.samples)


def _of_parts(proof: Proof) -> Iterator[Picture | None]:
    """Each picture once: a page's ids are one picture's."""
    source = proof.source
    if (losses := source.losses("loss")) is not None:
        yield from loss_pictures(losses)
    yield _compared(proof, "compare", ratio_picture)
    if (climbed := source.comparison("ladder")) is not None:
        yield from map(waterfall, ladders(summarise(as_shown(climbed.report))))
    yield _compared(proof, "cifar-r18", throughput_picture)
    yield _compared(proof, "memory", memory_picture) or _compared(proof, "compare", memory_picture)
    if (loaders := source.loaders("dali")) is not None:
        yield rates_picture(loaders)
    if (linear := source.linear("cifar10")) is not None:
        yield accuracies_picture(linear)


def _compared(proof: Proof, part: str, draw: Callable[[Summary], Picture | None]) -> Picture | None:
    summary = proof.source.comparison(part)
    return draw(summarise(as_shown(summary.report))) if summary is not None else None
