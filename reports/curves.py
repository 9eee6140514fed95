"""The picture of accuracy over training time: means over seeds with their bands, where each gets to the
baseline's final accuracy, and the floors."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes

from reports.drawing import LABEL, Picture, finished, named
from reports.load import FLOORS
from reports.summary import Summary
from reports.svg import INK, MUTED, PAPER, canvas, scenario_colour, style
from reports.text import percent, plural, shortened
from reports.time_to_accuracy import (
    Clock,
    MeanPoint,
    Race,
    clock,
    course,
    curves,
    final,
    mean_course,
    race,
    race_sentence,
)

Course = Sequence[tuple[float, float]]
"""(time or step, accuracy in [0, 1]), in order."""


def curve_picture(summary: Summary) -> Picture | None:
    """Time to accuracy; None where no scenario has a curve."""
    over = clock(summary)
    courses = {
        name: [course(one, over) for one in curves(summary, name)]
        for name in summary.scenarios
        if curves(summary, name)
    }
    if not courses:
        return None
    floors = {name.replace("-", " "): summary.probes[name].mean for name in FLOORS if name in summary.probes}
    run = race(summary)
    with mpl.rc_context(style()):
        # Beside it stand pictures that grow by a row a scenario.
        figure, (ax,) = canvas(290 + 22 * ((len(courses) - 1) // 3) + 40 * min(len(courses), 5), [1])
        for name, mine in courses.items():
            _draw(ax, mine, mean_course(summary, name), scenario_colour(summary.colour(name)), name)
        ax.grid(visible=True)
        ax.set_xlim(0, 1.08 * (max(at for mine in courses.values() for one in mine for at, _ in one) or 1))
        ax.margins(y=0.12)
        _floors(ax, floors)
        if run is not None:
            _marks(ax, summary, run, over)
        ax.set_xlabel("training time (s)" if over.unit == "s" else "training steps")
        ax.set_ylabel("linear top-1 accuracy (%)")
        figure.legend(loc="outside upper left", ncols=min(3, len(courses)), frameon=False, handlelength=1.2)
        return finished(
            figure,
            name="curves",
            title=_title(summary),
            caption=_caption(summary, over, run, several=any(len(mine) > 1 for mine in courses.values())),
            alt=_alt(summary, courses, over, floors),
        )


def _draw(ax: Axes, courses: Sequence[Course], mean: Sequence[MeanPoint], colour: str, name: str) -> None:
    # A space before, because matplotlib leaves names that begin with "_" out of a legend.
    label = f" {shortened(name, LABEL)}"
    alone = len(courses) == 1
    for one in courses:
        at, levels = [at for at, _ in one], [100 * level for _, level in one]
        if alone:
            ax.plot(at, levels, color=colour, lw=2.4, marker="o", ms=3.6, label=label)
        else:
            ax.plot(at, levels, color=colour, lw=0.9, marker="o", ms=1.8, alpha=0.5)
    if not alone:
        at, low, high = [p.at for p in mean], [100 * p.low for p in mean], [100 * p.high for p in mean]
        ax.fill_between(at, low, high, color=colour, alpha=0.14, linewidth=0)
        ax.plot(at, [100 * p.mean for p in mean], color=colour, lw=2.6, label=label)


def _marks(ax: Axes, summary: Summary, run: Race, over: Clock) -> None:
    """Where each mean gets to the goal. The two that the verdict is about have their time beside them:
    above and to the left, where no curve has been yet."""
    there = {name: at for name, at in run.reached.items() if at is not None}
    ax.plot([0, max(there.values())], [100 * run.goal] * 2, color=MUTED, lw=1.3, ls=(0, (1, 2)), zorder=3)
    spoken = (summary.plan.contender, summary.plan.baseline)
    right = ax.get_xlim()[1]
    for name, at in there.items():
        colour = scenario_colour(summary.colour(name))
        ax.plot([at], [100 * run.goal], "D", ms=7.5, mfc=PAPER, mec=colour, mew=2, zorder=7)
        if name in spoken:
            beside = at > 0.15 * right
            ax.annotate(
                over.say(at),
                (at, 100 * run.goal),
                xytext=(-6 if beside else 6, 4),
                textcoords="offset points",
                ha="right" if beside else "left",
                va="bottom",
                color=INK,
                weight="bold",
                zorder=8,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.8},
            )


def _floors(ax: Axes, floors: Mapping[str, float]) -> None:
    """Dashed lines with their names at the right, where curves have risen above; of two, one name is above
    its line and one below.
    """
    for number, (name, level) in enumerate(sorted(floors.items(), key=lambda floor: -floor[1])):
        ax.axhline(100 * level, color=MUTED, lw=1.3, ls=(0, (4, 3)), zorder=1)
        ax.annotate(
            f"{name} {percent(level)}",
            (1, 100 * level),
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


def _caption(summary: Summary, over: Clock, run: Race | None, several: bool) -> str:
    text = "Dots: probes."
    if several:
        text = "Thick: mean over seeds. Band: from the least seed to the greatest. Thin: the seeds."
    if run is not None:
        text += f" Diamonds: where each mean gets to {summary.plan.baseline}'s final accuracy (dotted)."
    return f"{text} {over.explain()}"


def _alt(
    summary: Summary,
    courses: dict[str, list[list[tuple[float, float]]]],
    over: Clock,
    floors: dict[str, float],
) -> str:
    text = f"Linear top-1 accuracy against training {'time' if over.unit == 's' else 'steps'}. "
    text += "; ".join(
        f"{name}: {percent(final(summary, name))} after {over.say(max(one[-1][0] for one in mine))} "
        f"({plural(len(mine), 'seed')})"
        for name, mine in courses.items()
    )
    if floors:
        text += ". Without pretraining: " + ", ".join(f"{n} {percent(level)}" for n, level in floors.items())
    return text
