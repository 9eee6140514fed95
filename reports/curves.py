"""The picture of accuracy over training time: means over seeds with their bands, and the floors."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from reports.drawing import LABEL, Picture, finished, named
from reports.load import FLOORS
from reports.summary import Summary
from reports.svg import INK, MUTED, PAPER, canvas, scenario_colour, style
from reports.text import amount, percent, plural, shortened
from reports.time_to_accuracy import course, race_sentence

Course = Sequence[tuple[float, float]]
"""(seconds, percent), in order of time."""


def curve_picture(summary: Summary) -> Picture | None:
    """Time to accuracy; None where no scenario has a curve."""
    courses = {
        name: [
            [(at, 100 * level) for at, level in course(accuracy)]
            for accuracy in summary.report.accuracies
            if accuracy.subject == name and accuracy.curve
        ]
        for name in summary.scenarios
    }
    courses = {name: mine for name, mine in courses.items() if mine}
    if not courses:
        return None
    alt = "Linear top-1 accuracy against training seconds. " + "; ".join(
        f"{name}: "
        + ", ".join(f"{percent(one[-1][1] / 100)} after {amount(one[-1][0])} s" for one in mine)
        + (f" ({plural(len(mine), 'seed')})" if len(mine) > 1 else "")
        for name, mine in courses.items()
    )
    floors = {
        name.replace("-", " "): 100 * summary.probes[name].mean for name in FLOORS if name in summary.probes
    }
    if floors:
        alt += ". Without pretraining: " + ", ".join(f"{n} {percent(v / 100)}" for n, v in floors.items())
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(310 + 22 * ((len(courses) - 1) // 3), [1])
        for name, mine in courses.items():
            _draw(ax, mine, scenario_colour(summary.colour(name)), name)
        ax.grid(visible=True)
        ax.set_xlim(0, 1.02 * (max(at for mine in courses.values() for one in mine for at, _ in one) or 1))
        ax.margins(y=0.08)
        _floors(ax, floors)
        ax.set_xlabel("training time (s), without the probes")
        ax.set_ylabel("linear top-1 accuracy (%)")
        figure.legend(loc="outside upper left", ncols=min(3, len(courses)), frameon=False, handlelength=1.2)
        return finished(
            figure, name="curves", title=_title(summary), caption=_caption(summary, courses), alt=alt
        )


def mean_and_band(courses: Sequence[Course]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Seconds, and at each the mean, the least and the greatest of the courses, all (T,) float64.

    Courses are interpolated linearly onto every time at which one of them was probed, from the last to begin
    to the first to end: outside of that, a mean would be of other seeds.
    """
    begin = max(one[0][0] for one in courses)
    end = min(one[-1][0] for one in courses)
    times = sorted({at for one in courses for at, _ in one if begin <= at <= end})
    levels = np.array(
        [np.interp(times, [at for at, _ in one], [level for _, level in one]) for one in courses]
    )
    return np.array(times), levels.mean(axis=0), levels.min(axis=0), levels.max(axis=0)


def _draw(ax: Axes, courses: Sequence[Course], colour: str, name: str) -> None:
    # A space before, because matplotlib leaves names that begin with "_" out of a legend.
    label = f" {shortened(name, LABEL)}"
    if len(courses) == 1:
        ax.plot(*zip(*courses[0], strict=True), color=colour, lw=2, marker="o", ms=3.6, label=label)
        return
    for one in courses:
        ax.plot(*zip(*one, strict=True), color=colour, lw=0.9, marker="o", ms=1.8, alpha=0.6)
    times, mean, low, high = mean_and_band(courses)
    ax.fill_between(times, low, high, color=colour, alpha=0.16, linewidth=0)
    ax.plot(times, mean, color=colour, lw=2.4, label=label)


def _floors(ax: Axes, floors: dict[str, float]) -> None:
    """Dashed lines with their names at the right, where curves have risen above; of two, one name is above
    its line and one below.
    """
    for number, (name, level) in enumerate(sorted(floors.items(), key=lambda floor: -floor[1])):
        ax.axhline(level, color=MUTED, lw=1.3, ls=(0, (4, 3)), zorder=1)
        ax.annotate(
            f"{name} {percent(level / 100)}",
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(-2, -4 if number else 4),
            textcoords="offset points",
            ha="right",
            va="top" if number else "bottom",
            color=INK,
            zorder=6,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )


def _title(summary: Summary) -> str:
    contender, baseline = summary.plan.contender, summary.plan.baseline
    if said := race_sentence(summary, contender):
        return said.replace(contender, named(contender)).replace(baseline, named(baseline))
    if probe := summary.probes.get(contender):
        return f"{named(contender)} ends at {percent(probe.mean)}"
    return "Accuracy grows with training time"


def _caption(summary: Summary, courses: dict[str, list[list[tuple[float, float]]]]) -> str:
    text = "Dots: probes. Further up and to the left is better."
    if any(len(mine) > 1 for mine in courses.values()):
        text = (
            "Thick: mean over seeds. Band: from the least seed to the greatest. Thin: the seeds, dots their "
            "probes, with straight lines between. Further up and to the left is better."
        )
    if summary.plan.accuracy_margin_points:
        text += (
            f" The verdict lets the end lie up to {summary.plan.accuracy_margin_points:.1f} points below "
            f"{summary.plan.baseline}'s."
        )
    return text
