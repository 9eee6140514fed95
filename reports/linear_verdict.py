"""A linear evaluation in words: accuracy, against which floors, and what it does not say."""

from dataclasses import dataclass

from bench.compare import Interval
from reports.linear_summary import class_accuracies, floors_of, gain, spoken, wilson
from reports.text import listed, percent, plural, shortened, signed
from reports.verdict import Card, Tone
from vicreg_fast.evaluation.result import LinearResult, SubjectResult


@dataclass(frozen=True, kw_only=True)
class LinearVerdict:
    headline: str
    tone: Tone
    """`good` only where the trunk is shown to beat every floor, and there are floors."""
    cards: tuple[Card, ...]
    context: tuple[str, ...]
    caveats: tuple[str, ...]


def linear_verdict(result: LinearResult) -> LinearVerdict:
    trunk = result.results["backbone"]
    gains = {name: gain(value, result.test_images) for name, value in floors_of(result).items()}
    said = [
        f"{_points(found)} {spoken(name)}"
        if found
        else f"against {percent(floors_of(result)[name].linear_top1)} of {spoken(name)}"
        for name, found in gains.items()
    ]
    headline = (
        f"A linear probe on the frozen trunk of step {result.checkpoint_step:,} is right on "
        f"{percent(trunk.linear_top1)} of {plural(result.test_images, 'test image')}"
    )
    return LinearVerdict(
        headline=f"{headline}{', ' + listed(said) if said else ''}.",
        tone=_tone(list(gains.values())),
        cards=_cards(result, gains),
        context=_context(result),
        caveats=_caveats(result),
    )


def _points(found: Interval) -> str:
    side = "above" if found.estimate >= 0 else "below"
    span = f"{signed(100 * found.low)} to {signed(100 * found.high)}"
    return f"{abs(100 * found.estimate):.1f} points ({span}) {side}"


def _tone(gains: list[Interval | None]) -> Tone:
    if any(found is not None and found.high < 0 for found in gains):
        return "bad"
    return "good" if gains and all(found is not None and found.low > 0 for found in gains) else "open"


def _cards(result: LinearResult, gains: dict[str, Interval | None]) -> tuple[Card, ...]:
    trunk = result.results["backbone"]
    count = result.test_images
    linear = wilson(trunk.linear_top1, count)
    cards = [
        Card(
            label="Linear top-1",
            value=percent(trunk.linear_top1),
            detail=f"{_range(linear)} over the test images",
            tone=_tone(list(gains.values())),
        ),
        Card(
            label=f"{result.knn_neighbours} nearest neighbours",
            value=percent(trunk.knn_top1),
            detail=f"{_range(wilson(trunk.knn_top1, count))} over the test images",
            tone="open",
        ),
    ]
    for name, found in gains.items():
        if found is not None:
            detail = f"points over {spoken(name)}, {signed(100 * found.low)} to {signed(100 * found.high)}"
            tone: Tone = "good" if found.low > 0 else "bad" if found.high < 0 else "open"
            cards.append(
                Card(
                    label=f"Over {spoken(name)}", value=signed(100 * found.estimate), detail=detail, tone=tone
                )
            )
    return tuple(cards)


def _range(interval: Interval) -> str:
    return f"95 % interval {100 * interval.low:.1f}–{100 * interval.high:.1f} %"


def _context(result: LinearResult) -> tuple[str, ...]:
    trunk = result.results["backbone"]
    classes = class_accuracies(trunk)
    judged = [one for one in classes if one.images]
    said = [
        f"Data: {result.data}; {plural(result.train_images, 'training image')} and "
        f"{plural(result.test_images, 'test image')} of {len(result.classes):,} classes, so guessing is "
        f"right on {percent(1 / len(result.classes))}.",
        f"The same probe is right on {percent(trunk.linear_train_top1)} of the images it was fitted to.",
    ]
    if len(judged) > 1:
        best, worst = max(judged, key=lambda one: one.share), min(judged, key=lambda one: one.share)
        name = {one.number: shortened(result.classes[one.number], 40) for one in (best, worst)}
        said.append(
            f"The class it knows best is {name[best.number]} ({percent(best.share)} of {best.images:,}), the "
            f"one it knows least {name[worst.number]} ({percent(worst.share)} of {worst.images:,})."
        )
    return tuple(said)


def _caveats(result: LinearResult) -> tuple[str, ...]:
    trunk = result.results["backbone"]
    said = []
    if not floors_of(result):
        said.append(
            "Nothing says what the network gives untrained, or the pixels alone: "
            "`vicreg-fast linear RUN --floors` measures both."
        )
    stopped = [name for name, value in result.results.items() if value.converged is False]
    if stopped:
        said.append(
            f"The final fit on {listed([spoken(name) for name in stopped])} ended by its limit of "
            "iterations, not at its optimum."
        )
    at_edge = [
        spoken(name) for name, value in result.results.items() if value.l2_weight in _ends_of_grid(value)
    ]
    if at_edge:
        said.append(
            f"The L2 weight chosen for {listed(at_edge)} is at an end of the grid: one beyond it may be "
            "better."
        )
    if empty := sum(one.images == 0 for one in class_accuracies(trunk)):
        said.append(f"{empty:,} of {len(result.classes):,} classes have no test image.")
    said.append(
        "The intervals are over test images, for this one checkpoint: another seed would give another trunk."
    )
    return tuple(said)


def _ends_of_grid(value: SubjectResult) -> tuple[float, ...]:
    weights = [one.l2_weight for one in value.tried]
    return (min(weights), max(weights)) if weights else ()
