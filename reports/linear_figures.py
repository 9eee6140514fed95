"""The pictures of a linear evaluation."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator

from reports.drawing import LABEL, Picture, bar, finished, height, label_rows, value_beside
from reports.linear_summary import class_accuracies, most_confused, spoken, wilson
from reports.run_lines import fit_y, legend
from reports.run_log import GREATEST
from reports.svg import INK, MUTED, PAPER, WIDTH, canvas, scenario_colour, style
from reports.text import amount, percent, plural, shortened
from vicreg_fast.evaluation.result import LinearResult, SubjectResult

COLOURS = {"backbone": 1, "random-trunk": 0, "raw-pixels": 5}
MARKS = {"random-trunk": "D", "raw-pixels": "s"}
MOST_CELLS = 20
"""Rows and columns of a drawn matrix; more classes are drawn in so many groups."""
MOST_BARS = 30
"""Classes drawn one by one."""
EDGE = 12
"""Of more classes than that: so many of the lowest and of the highest."""


def linear_pictures(result: LinearResult) -> tuple[Picture, ...]:
    """Every picture that the result has the numbers for, in reading order."""
    drawn = (
        accuracies_picture(result),
        _confusion(result),
        _classes(result),
        _weights(result),
        _objective(result),
    )
    return tuple(picture for picture in drawn if picture is not None)


def _colour(name: str) -> int:
    return COLOURS.get(name, 6)


def accuracies_picture(result: LinearResult) -> Picture:
    """Each representation's accuracy, by the probe and by its neighbours."""
    groups = {
        "Linear probe": {name: value.linear_top1 for name, value in result.results.items()},
        f"{result.knn_neighbours} nearest neighbours": {
            name: value.knn_top1 for name, value in result.results.items()
        },
    }
    trunk = result.results["backbone"]
    others = [f"{spoken(n)} {percent(v.linear_top1)}" for n, v in result.results.items() if n != "backbone"]
    title = f"Linear probe: pretrained trunk {percent(trunk.linear_top1)}"
    title += f", {', '.join(others)}" if others else ""
    alt = "Top-1 accuracy on the test images. " + "; ".join(
        f"{label}: " + ", ".join(f"{spoken(n)} {percent(v)}" for n, v in shares.items())
        for label, shares in groups.items()
    )
    with mpl.rc_context(style()):
        figure, axes = canvas(height(groups.values()), [len(shares) + 1 for shares in groups.values()])
        for ax, (label, shares) in zip(axes, groups.items(), strict=True):
            for row, (name, share) in enumerate(shares.items()):
                found = wilson(share, result.test_images)
                bar(ax, row, 100 * share, _colour(name), alpha=0.7)
                ax.plot([100 * found.low, 100 * found.high], [row, row], color=INK, lw=2.2, zorder=5)
                value_beside(ax, row, 100 * found.high, percent(share))
            label_rows(ax, [spoken(name) for name in shares], label)
            ax.axvline(100 / len(result.classes), color=MUTED, lw=1.2, ls=(0, (4, 3)))
            ax.set_xlim(0, 118)
        axes[-1].set_xlabel("top-1 accuracy on the test images (%)")
        caption = (
            "Line: 95 % interval over the test images. Dashed: guessing one of the classes. Longer is better."
        )
        return finished(figure, name="linear-accuracy", title=title, caption=caption, alt=alt)


def _confusion(result: LinearResult) -> Picture:
    counts = np.array(result.results["backbone"].confusion, dtype=np.float64)
    groups = np.array_split(np.arange(len(counts)), min(len(counts), MOST_CELLS))
    coarse = np.array([[counts[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])
    images = coarse.sum(axis=1, keepdims=True)
    shares = np.divide(coarse, images, out=np.zeros_like(coarse), where=images > 0)
    grouped = len(groups) < len(counts)
    names = [
        f"{rows[0] + 1}–{rows[-1] + 1}" if grouped and len(rows) > 1 else str(rows[0] + 1) for rows in groups
    ]
    worst = most_confused(result.results["backbone"], 1)
    title = "The probe confuses no two classes"
    if worst:
        true, predicted = (shortened(result.classes[at], 24) for at in (worst[0].true, worst[0].predicted))
        title = (
            f"Most often taken for another: {true} for {predicted}, {worst[0].count} of {worst[0].images:,}"
        )
    alt = f"Confusion matrix of {plural(len(counts), 'class').replace('classs', 'classes')}. {title}"
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(WIDTH - (0 if grouped else 60), [1])
        _matrix(ax, shares, [] if len(groups) > 12 else [""])
        labels = (
            names if grouped else [f"{shortened(result.classes[r[0]], LABEL)} {r[0] + 1}" for r in groups]
        )
        step = -(-len(groups) // 10)
        ax.set_yticks(range(len(groups)), labels)
        ax.set_xticks(range(0, len(groups), step), names[::step])
        ax.set_xlabel("predicted class")
        caption = "Rows: true class, with its number. Columns: the probe's answer; framed: right. "
        caption += "Darker: a larger share of the row"
        caption += ", in percent." if len(groups) <= 12 else "."
        if grouped:
            caption += (
                f" {len(counts):,} classes, in the order of their names, are drawn in {len(groups)} groups."
            )
        return finished(figure, name="linear-confusion", title=title, caption=caption, alt=alt)


def _matrix(ax: Axes, shares: npt.NDArray[np.float64], numbers: Sequence[str]) -> None:
    """Numbers in the cells where there is room for them."""
    side = len(shares)
    ink = scenario_colour(1)
    for row, column in zip(*np.nonzero(shares > 0), strict=True):
        share = float(shares[row, column])
        ax.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, color=ink, alpha=0.08 + 0.72 * share, linewidth=0)
        )
        if numbers and share >= 0.005:
            ax.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=11)
    ax.set_xlim(-0.5, side - 0.5)
    ax.set_ylim(side - 0.5, -0.5)
    for at in range(side):
        ax.add_patch(Rectangle((at - 0.5, at - 0.5), 1, 1, fill=False, edgecolor=MUTED, lw=1.2, zorder=4))
    for at in range(side + 1):
        ax.axhline(at - 0.5, color=PAPER, lw=1)
        ax.axvline(at - 0.5, color=PAPER, lw=1)


def _classes(result: LinearResult) -> Picture | None:
    judged = [one for one in class_accuracies(result.results["backbone"]) if one.images]
    ordered = sorted(judged, key=lambda one: (one.share, one.number))
    if not ordered:
        return None
    shown = ordered
    caption = "Share of each class's test images that the probe gets right. Line: 95 % interval."
    if len(ordered) > MOST_BARS:
        shown = [*ordered[:EDGE], *ordered[-EDGE:]]
        caption += (
            f" The {EDGE} lowest and the {EDGE} highest of {len(ordered):,} classes; the table has all."
        )
    low, high = ordered[0], ordered[-1]
    title = (
        f"From {percent(low.share)} of {shortened(result.classes[low.number], 24)} "
        f"to {percent(high.share)} of {shortened(result.classes[high.number], 24)}"
    )
    floors = {name: class_accuracies(value) for name, value in result.results.items() if name in MARKS}
    alt = "Accuracy by class. " + "; ".join(
        f"{result.classes[one.number]} {percent(one.share)}" for one in shown
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(70 + 26 * len(shown) + 24 * bool(floors), [1])
        for row, one in enumerate(shown):
            bar(ax, row, 100 * one.share, 1, alpha=0.6)
            found = wilson(one.share, one.images)
            ax.plot([100 * found.low, 100 * found.high], [row, row], color=INK, lw=1.6, zorder=5)
        for name, all_classes in floors.items():
            values = [100 * all_classes[one.number].share for one in shown]
            ax.plot(
                values, range(len(shown)), MARKS[name], ms=6, mfc=scenario_colour(_colour(name)), mec=PAPER,
                mew=0.8, ls="none", zorder=6, label=spoken(name),
            )  # fmt: skip
        label_rows(ax, [result.classes[one.number] for one in shown], "")
        if len(shown) < len(ordered):
            ax.axhline(EDGE - 0.5, color=MUTED, lw=1.2, ls=(0, (1, 2)))
        ax.set_xlim(0, 102)
        ax.set_xlabel("of the class's test images (%)")
        if floors:
            legend(figure, 2)
        return finished(figure, name="linear-classes", title=title, caption=caption, alt=alt)


def _weights(result: LinearResult) -> Picture | None:
    shown = {name: value for name, value in result.results.items() if value.tried}
    if not shown:
        return None
    trunk = result.results["backbone"]
    title = f"The held-out tenth chose an L2 weight of {trunk.l2_weight:g} for the pretrained trunk"
    alt = "Accuracy against the L2 weight, of the fitted images and of the held-out ones. " + "; ".join(
        f"{spoken(name)}: "
        + ", ".join(
            f"{one.l2_weight:g} {percent(one.fit_top1)} and {percent(one.held_out_top1)}"
            for one in value.tried
        )
        for name, value in shown.items()
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(290 + 22 * (len(shown) > 2), [1])
        for name, value in shown.items():
            ink = scenario_colour(_colour(name))
            tried = sorted(value.tried, key=lambda one: one.l2_weight)
            weights = [one.l2_weight for one in tried]
            held = [100 * one.held_out_top1 for one in tried]
            ax.plot(weights, [100 * one.fit_top1 for one in tried], color=ink, lw=1.2, ls=(0, (4, 3)))
            ax.plot(weights, held, color=ink, lw=1.8, marker="o", ms=4, label=spoken(name))
            chosen = [at for one, at in zip(tried, held, strict=True) if one.l2_weight == value.l2_weight]
            ax.plot([value.l2_weight] * len(chosen), chosen, "o", ms=10, mfc="none", mec=INK, mew=1.6)
        ax.set_xscale("log")
        ax.set_xticks(ticks := sorted({one.l2_weight for v in shown.values() for one in v.tried}))
        ax.set_xticklabels([f"{weight:g}" for weight in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(visible=True)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
        ax.set_xlabel("L2 weight")
        ax.set_ylabel("top-1 accuracy (%)")
        legend(figure, 2)
        caption = (
            "Solid: on a tenth of the training images, held out. Dashed: on the nine tenths fitted to. Ring: "
            "the weight chosen. No test image has a part in it."
        )
        return finished(figure, name="linear-weights", title=title, caption=caption, alt=alt)


def _objective(result: LinearResult) -> Picture | None:
    shown = {
        name: value
        for name, value in result.results.items()
        if len(value.objective) > 1 and all(abs(at) <= GREATEST for at in value.objective)
    }
    if not shown:
        return None
    first = "backbone" if "backbone" in shown else next(iter(shown))
    title = f"The probe of the {spoken(first)} {_ending(shown[first])}"
    alt = "Objective of the final fit against evaluations. " + "; ".join(
        f"{spoken(name)}: {amount(value.objective[0])} to {amount(value.objective[-1])} "
        f"in {len(value.objective)}"
        for name, value in shown.items()
    )
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(270 + 22 * (len(shown) > 2), [1])
        for name, value in shown.items():
            evaluations = range(1, len(value.objective) + 1)
            ink = scenario_colour(_colour(name))
            ax.plot(evaluations, value.objective, color=ink, lw=1.6, label=spoken(name))
        fit_y(ax, [np.array(value.objective) for value in shown.values()], logarithmic=None)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.grid(visible=True)
        ax.set_xlabel("evaluation")
        ax.set_ylabel("regularised cross-entropy")
        legend(figure, 2)
        caption = (
            "The final fit, to all training images, by L-BFGS: convex, without learning rate or epochs. "
            "Trial steps of its line search are among the evaluations, so the line may rise on its way."
        )
        return finished(figure, name="linear-objective", title=title, caption=caption, alt=alt)


def _ending(value: SubjectResult) -> str:
    iterations = plural(value.iterations or 0, "iteration")
    return (
        f"was at its optimum after {iterations}" if value.converged else f"stopped at its limit, {iterations}"
    )
