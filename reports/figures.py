"""The pictures of a comparison: throughput, paired ratios, memory, accuracy over floors.

Each title says the finding in words, each axis carries its unit, and a scenario has one colour in all of
them. Every round and every seed is a dot beside its interval: an interval alone hides what it was made of.
"""

import matplotlib as mpl

from bench.record import Mode
from reports.drawing import (
    LABEL,
    ROW,
    Picture,
    bar,
    dots,
    finished,
    floor_lines,
    height,
    label_rows,
    named,
    value_beside,
    whisker,
)
from reports.load import FLOORS
from reports.summary import Summary
from reports.svg import INK, PAPER, canvas, style
from reports.text import GIB, MIB, amount, memory, percent, plural, shortened, times

__all__ = ["Picture", "accuracy_picture", "memory_picture", "ratio_picture", "throughput_picture"]

PLACES: dict[Mode, str] = {"end-to-end": "End to end", "compute-only": "Compute only (one cached batch)"}


def throughput_picture(summary: Summary) -> Picture | None:
    modes = [mode for mode in PLACES if any((name, mode) in summary.rates for name in summary.scenarios)]
    if not modes:
        return None
    shown = {mode: [name for name in summary.scenarios if (name, mode) in summary.rates] for mode in modes}
    medians = [
        (name, mode, summary.rates[name, mode].median.estimate) for mode in modes for name in shown[mode]
    ]
    top_name, top_mode, top = max(
        (entry for entry in medians if entry[1] == modes[0]), key=lambda entry: entry[2]
    )
    where = PLACES[top_mode].split(" (")[0].lower()
    title = f"{named(top_name)} has the highest median {where}: {amount(top)} pairs/s"
    if len(shown[modes[0]]) == 1:
        title = f"{named(top_name)} makes {amount(top)} pairs/s {where}"
    alt = "Pairs of views a second. " + "; ".join(
        f"{n}, {PLACES[m].lower()}: {amount(v)}" for n, m, v in medians
    )
    with mpl.rc_context(style()):
        figure, axes = canvas(height(shown.values()), [len(shown[mode]) + 1 for mode in modes])
        greatest = max(max(rate.by_round.values()) for rate in summary.rates.values() if rate.mode in modes)
        for ax, mode in zip(axes, modes, strict=True):
            rates = [summary.rates[name, mode] for name in shown[mode]]
            for row, rate in enumerate(rates):
                bar(ax, row, rate.median.estimate, summary.colour(rate.scenario))
                dots(ax, row, list(rate.by_round.values()), summary.colour(rate.scenario))
                whisker(ax, row, rate.median)
                right = max(rate.median.high, *rate.by_round.values())
                value_beside(ax, row, right, amount(rate.median.estimate))
            label_rows(ax, shown[mode], PLACES[mode])
            ax.set_xlim(0, greatest * 1.2)
        axes[-1].set_xlabel("pairs of views per second")
        caption = "Bar: median over rounds. Line: its 95 % interval. Dots: the rounds. Longer is faster."
        return finished(figure, name="throughput", title=title, caption=caption, alt=alt)


def ratio_picture(summary: Summary) -> Picture | None:
    shown = {
        mode: [
            name
            for name in summary.scenarios
            if (name, mode) in summary.rates and summary.rates[name, mode].ratio
        ]
        for mode in PLACES
    }
    shown = {mode: names for mode, names in shown.items() if names}
    if not shown:
        return None
    baseline = summary.plan.baseline
    found = [
        (name, mode, ratio)
        for mode in shown
        for name in shown[mode]
        if (ratio := summary.rates[name, mode].ratio)
    ]
    first = next((entry for entry in found if entry[0] == summary.plan.contender), found[0])
    rate = summary.rates[first[0], first[1]]
    faster = sum(ratio > 1 for ratio in rate.paired)
    where = PLACES[first[1]].split(" (")[0].lower()
    title = f"{named(first[0])} was faster than {named(baseline)} in {faster} of "
    title += f"{plural(len(rate.paired), 'round')} {where}"
    alt = f"Speed relative to {baseline}, round by round. " + "; ".join(
        f"{n}, {PLACES[m].lower()}: {times(r.estimate)}, 95 % interval {times(r.low)} to {times(r.high)}"
        for n, m, r in found
    )
    with mpl.rc_context(style()):
        figure, axes = canvas(height(shown.values()), [len(names) + 1 for names in shown.values()])
        everything = [1.0, *(ratio for n, m, _ in found for ratio in summary.rates[n, m].paired)]
        low, high = min(everything), max(everything)
        room = (high - low) or 0.1
        for ax, (mode, names) in zip(axes, shown.items(), strict=True):
            for row, name in enumerate(names):
                rate = summary.rates[name, mode]
                dots(ax, row, rate.paired, summary.colour(name), spread=0.26, size=5.5)
                if rate.ratio:
                    whisker(ax, row, rate.ratio)
                    ax.plot([rate.ratio.estimate], [row], "D", ms=6, mfc=PAPER, mec=INK, mew=1.4, zorder=6)
                    value_beside(ax, row, max(rate.ratio.high, *rate.paired), times(rate.ratio.estimate))
            ax.axvline(1, color=INK, lw=1.2, zorder=1)
            ax.set_xlim(low - 0.08 * room, high + 0.22 * room)
            label_rows(ax, names, PLACES[mode])
        axes[-1].set_xlabel(f"pairs/s ÷ {shortened(baseline, LABEL)} in the same round")
        caption = f"Dots: rounds. Diamond and line: median and 95 % interval. At 1: {baseline}."
        return finished(figure, name="ratios", title=title, caption=caption, alt=alt)


def memory_picture(summary: Summary) -> Picture | None:
    device = {name: peak.device for name, peak in summary.peaks.items() if peak.device}
    host = {name: peak.host_over_start for name, peak in summary.peaks.items() if peak.host_over_start > 0}
    groups = {
        label: sizes for label, sizes in (("Device peak", device), ("Host peak over start", host)) if sizes
    }
    if not groups:
        return None
    label, sizes = next(iter(groups.items()))
    least = min(sizes, key=lambda name: sizes[name])
    title = f"{named(least)} has the lowest {label.lower()}: {memory(sizes[least], max(sizes.values()))}"
    if len(sizes) == 1:
        title = f"{named(least)}: {label.lower()} of {memory(sizes[least])}"
    alt = "; ".join(
        f"{label}: " + ", ".join(f"{n} {memory(s)}" for n, s in sizes.items())
        for label, sizes in groups.items()
    )
    greatest = max(max(sizes.values()) for sizes in groups.values())
    unit, unit_name = (GIB, "GiB") if greatest >= GIB else (MIB, "MiB")
    with mpl.rc_context(style()):
        figure, axes = canvas(height(groups.values()), [len(sizes) + 1 for sizes in groups.values()])
        for ax, (label, sizes) in zip(axes, groups.items(), strict=True):
            for row, (name, size) in enumerate(sizes.items()):
                bar(ax, row, size / unit, summary.colour(name), alpha=0.8)
                value_beside(ax, row, size / unit, memory(size, greatest))
            label_rows(ax, list(sizes), label)
            ax.set_xlim(0, greatest / unit * 1.28)
        axes[-1].set_xlabel(unit_name)
        caption = "Peak of each scenario's processes while throughput was measured. Shorter is less."
        return finished(figure, name="memory", title=title, caption=caption, alt=alt)


def accuracy_picture(summary: Summary) -> Picture | None:
    names = [name for name in summary.scenarios if name in summary.probes]
    if not names:
        return None
    floors = [summary.probes[name] for name in FLOORS if name in summary.probes]
    best = max(names, key=lambda name: summary.probes[name].mean)
    title = f"{named(best)} has the highest mean linear accuracy: {percent(summary.probes[best].mean)}"
    if len(names) == 1:
        title = f"{named(best)} reaches {percent(summary.probes[best].mean)} linear accuracy"
    alt = "Linear top-1 accuracy. " + "; ".join(
        f"{probe.subject}: {percent(probe.mean)} over {plural(len(probe.by_seed), 'seed')}"
        for probe in summary.probes.values()
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(ROW * len(names) + 66 + 20 * len(floors), [1])
        values = [100 * value for name in names for value in summary.probes[name].by_seed.values()]
        low, high = min([*values, *(100 * floor.mean for floor in floors)]), max(values)
        room = max(high - low, 1.0)
        ax.set_xlim(low - 0.08 * room, max(high, low + room) + 0.2 * room)
        for row, name in enumerate(names):
            probe = summary.probes[name]
            seeds = [100 * value for value in probe.by_seed.values()]
            dots(ax, row, seeds, summary.colour(name), spread=0.2, size=7)
            if len(seeds) > 1:
                ax.plot([100 * probe.mean] * 2, [row - 0.3, row + 0.3], color=INK, lw=2, zorder=6)
            value_beside(ax, row, max(seeds), percent(probe.mean))
        label_rows(ax, names, "")
        floor_lines(ax, len(names), {floor.subject: 100 * floor.mean for floor in floors})
        ax.set_xlabel("linear top-1 accuracy (%)")
        caption = "Dots: seeds. Bar: their mean. Dashed: what the same probe reaches without pretraining."
        return finished(figure, name="accuracy", title=title, caption=caption, alt=alt)
