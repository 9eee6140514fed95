"""The pictures of a pretraining run: each title says what was found, each limit is the collapse guard's."""

import matplotlib as mpl
import numpy as np

from reports.drawing import Picture, finished
from reports.run_lines import (
    MOST_MARKS,
    ends,
    fit_y,
    is_thinned,
    legend,
    limit,
    restarts,
    series,
    spoken,
    steps_axis,
)
from reports.run_log import LOGGED, RunLog, Values
from reports.run_summary import TERMS, mean_std_limit, speed_of, weighted_terms
from reports.svg import canvas, style
from reports.text import amount, listed, percent, plural, shortened
from vicreg_fast.training.health import DEAD_LIMIT, RANK_LIMIT

COLOURS = {"loss": 0, "invariance": 1, "variance": 2, "covariance": 3}


def run_pictures(log: RunLog) -> tuple[Picture, ...]:
    """Every picture that the log has the numbers for, in reading order."""
    drawn = (
        _loss(log),
        _terms(log),
        _spread(log),
        _dimensions(log),
        _learning_rate(log),
        _speed(log),
        _others(log),
    )
    return tuple(picture for picture in drawn if picture is not None)


def _loss(log: RunLog) -> Picture | None:
    if not len(log.finite("loss")):
        return None
    shown = {"loss": log.values["loss"], **weighted_terms(log)}
    labels = {
        name: name if name == "loss" else f"{getattr(log.recipe, TERMS[name]):g}·{name}" for name in shown
    }
    loss = log.finite("loss")
    change = "fell" if loss[-1] < loss[0] else "rose"
    parts = {
        name: float(found[-1]) for name in shown if name != "loss" and len(found := _finite(shown[name]))
    }
    title = f"The loss {change} from {amount(float(loss[0]))} to {amount(float(loss[-1]))}"
    if loss[-1] == loss[0]:
        title = f"The loss stayed at {amount(float(loss[-1]))}"
    if parts and sum(parts.values()) > 0:
        largest = max(parts, key=lambda name: parts[name])
        title += f"; the largest part at the end is {largest}"
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(310, [1])
        for name, values in shown.items():
            series(ax, log.steps, values, COLOURS[name], labels[name])
        scale = fit_y(ax, list(shown.values()))
        restarts([ax], log.resumed_at)
        steps_axis([ax], log.steps)
        legend(figure, 2)
        caption = "The loss and its terms, each times its weight: they add up to it."
        caption += _reading(log, "the axis") if scale else _reading(log)
        alt = "Loss and weighted terms against the step. " + spoken(shown)
        return finished(figure, name="run-loss", title=title, caption=caption, alt=alt)


def _terms(log: RunLog) -> Picture | None:
    title = "The terms as they are: "
    caption = (
        "Without their weights. Invariance: how far apart the two views are. Variance: how far σ is below γ. "
        "Covariance: how correlated the dimensions are."
    )
    shown = {name: log.values[name] for name in TERMS if name in log.values}
    title += ", ".join(f"{name} {ends(values)}" for name, values in shown.items())
    return _stacked(log, "run-terms", title, caption, shown, [COLOURS[name] for name in shown])


def _stacked(
    log: RunLog,
    name: str,
    title: str,
    caption: str,
    shown: dict[str, Values],
    colours: list[int],
    *,
    linear: bool = False,
) -> Picture | None:
    """One series above the other, each with a scale of its own; `linear` ones begin at 0."""
    if not shown:
        return None
    with mpl.rc_context(style()):
        figure, axes = canvas(50 + 130 * len(shown), [1.0] * len(shown))
        scales: list[str] = []
        for ax, (label, values), colour in zip(axes, shown.items(), colours, strict=True):
            series(ax, log.steps, values, colour)
            if fit_y(ax, [values], logarithmic=False if linear else None):
                scales.append(label)
            if linear:
                ax.set_ylim(bottom=0)
            ax.set_title(shortened(label, 40), pad=4)
        restarts(axes, log.resumed_at)
        steps_axis(axes, log.steps)
        alt = "Against the step. " + spoken(shown)
        return finished(figure, name=name, title=title, caption=caption + _reading(log, *scales), alt=alt)


def _spread(log: RunLog) -> Picture | None:
    mean = log.finite("std_mean")
    if not len(mean):
        return None
    names = {"std_mean": "mean of the dimensions", "std_min": "smallest dimension"}
    shown = {label: log.values[key] for key, label in names.items() if key in log.values}
    least, at = float(mean.min()), mean_std_limit(log)
    below = "went below" if least < at else "stayed above"
    title = f"Mean σ: {ends(mean)}; it {below} the collapse limit of {at:g}"
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(290, [1])
        for number, (label, values) in enumerate(shown.items(), start=1):
            series(ax, log.steps, values, number, label)
        gamma = log.recipe.gamma
        greatest = max(float(_finite(values).max()) for values in shown.values())
        limit(ax, at, f"collapsed: mean below {at:g}")
        ax.set_ylim(0, 1.12 * max(greatest, 2.5 * at))
        if gamma <= 1.1 * greatest:
            limit(ax, gamma, f"γ = {gamma:g}")
        fit_y(ax, list(shown.values()), logarithmic=False)
        restarts([ax], log.resumed_at)
        steps_axis([ax], log.steps)
        ax.set_ylabel("σ over the batch")
        legend(figure, 2)
        caption = (
            f"Standard deviation of an embedding's dimensions; the variance term pulls it to γ = {gamma:g}."
        )
        alt = f"σ against the step. {spoken(shown)}. Least mean σ {amount(least)}, limit {at:g}"
        return finished(figure, name="run-spread", title=title, caption=caption + _reading(log), alt=alt)


def _dimensions(log: RunLog) -> Picture | None:
    dimensions = log.recipe.expander_widths[-1]
    names = {
        "dead_fraction": f"dead dimensions (%); dashed: collapsed from {100 * DEAD_LIMIT:g} on",
        "effective_rank": f"effective rank, of {dimensions}; dashed: collapsed below {RANK_LIMIT:g}",
        "off_diagonal_energy": "off-diagonal energy (%)",
    }
    shown = {key: log.values[key] * (1 if "rank" in key else 100) for key in names if key in log.values}
    if not shown:
        return None
    dead, rank = log.finite("dead_fraction"), log.finite("effective_rank")
    said = []
    if len(dead):
        most = float(dead.max())
        said.append(
            f"at most {percent(most)} of the dimensions were dead" if most else "no dimension was dead"
        )
    if len(rank):
        said.append(f"effective rank {ends(rank)} of {dimensions}")
    with mpl.rc_context(style()):
        figure, axes = canvas(50 + 130 * len(shown), [1.0] * len(shown))
        for colour, (ax, (key, values)) in enumerate(zip(axes, shown.items(), strict=True), start=1):
            series(ax, log.steps, values, colour)
            scale = fit_y(ax, [values], logarithmic=None if key == "effective_rank" else False)
            ax.set_title(names[key], pad=4)
            if key == "dead_fraction":
                limit(ax, 100 * DEAD_LIMIT)
                ax.set_ylim(-2, 1.1 * max(100 * DEAD_LIMIT, float(_finite(values).max())))
            elif key == "effective_rank":
                limit(ax, RANK_LIMIT)
                ax.set_ylim(bottom=0.8 if scale else 0)
            else:
                ax.set_ylim(0, 105)
        restarts(axes, log.resumed_at)
        steps_axis(axes, log.steps)
        caption = (
            "Dead: σ below 1 % of γ. Effective rank: how many dimensions the embeddings really use. "
            "Off-diagonal energy: 0 where dimensions are decorrelated."
        )
        alt = "Against the step. " + spoken(
            {names[key].split(";")[0]: values for key, values in shown.items()}
        )
        title = "; ".join(said) or "How decorrelated the dimensions are"
        title = title[0].upper() + title[1:]
        return finished(figure, name="run-dimensions", title=title, caption=caption + _reading(log), alt=alt)


def _learning_rate(log: RunLog) -> Picture | None:
    rates = log.finite("learning_rate")
    if not len(rates):
        return None
    values = log.values["learning_rate"]
    at = int(log.steps[int(np.nanargmax(values))])
    title = f"The learning rate was highest at step {at:,} ({amount(float(rates.max()))}) and is "
    title += f"{amount(float(rates[-1]))} at the last"
    with mpl.rc_context(style()):
        figure, (ax,) = canvas(230, [1])
        series(ax, log.steps, values, 4)
        fit_y(ax, [values], logarithmic=False)
        ax.set_ylim(bottom=0)
        restarts([ax], log.resumed_at)
        steps_axis([ax], log.steps)
        ax.set_ylabel("learning rate")
        caption = f"Linear warm-up, then a cosine to {log.recipe.final_lr_factor:g} of the peak."
        alt = f"Learning rate against the step. {ends(values)}, at most {amount(float(rates.max()))}"
        return finished(figure, name="run-rate", title=title, caption=caption + _reading(log), alt=alt)


def _speed(log: RunLog) -> Picture | None:
    speed = speed_of(log)
    if speed is None:
        return None
    title = f"The median is {amount(speed.median)} pairs/s"
    if speed.loader_wait is not None:
        title += f"; {percent(speed.loader_wait)} of the time after the start was spent waiting for images"
    shown = {"pairs of views per second": log.values["pairs_per_second"]}
    if "loader_wait_share" in log.values:
        shown["waiting for images (% of the time)"] = 100 * log.values["loader_wait_share"]
    caption = "Of the steps since the last logged one. A session's first have its start in them."
    return _stacked(log, "run-speed", title, caption, shown, [1, 5][: len(shown)], linear=True)


def _others(log: RunLog) -> Picture | None:
    others = {key: values for key, values in log.values.items() if key not in LOGGED}
    title = f"Also logged: {', '.join(shortened(key, 30) for key in others)}"
    return _stacked(log, "run-others", title, "As they were logged.", others, [6] * len(others))


def _reading(log: RunLog, *logarithmic: str) -> str:
    """What every caption has to add."""
    text = f" Logarithmic: {listed(list(logarithmic))}." if logarithmic else ""
    if is_thinned(log.steps):
        text += " Line: median of each column of pixels. Band: its least to its greatest."
    if log.resumed_at:
        shown = min(len(log.resumed_at), MOST_MARKS)
        of = f", the first {shown} of {len(log.resumed_at)}" if shown < len(log.resumed_at) else ""
        text += f" Dotted: the run went on from a checkpoint{of} ({plural(len(log.resumed_at), 'time')})."
    return text


def _finite(values: Values) -> Values:
    return values[np.isfinite(values)]
