"""The sentences below the verdict of a report of loaders. Each claims no more than the records hold."""

from dataclasses import dataclass

from bench.compare import Interval
from bench.loader_record import CROP
from reports.loader_load import Place
from reports.loader_summary import CLOSE, CLOSE_CROP, LoaderSummary
from reports.sentences import FEWEST_ROUNDS, machine
from reports.text import amount, listed, plural, span, times
from reports.verdict import BUSY_LOAD

BOUND = {
    "cores": "all cores busy",
    "threads": "its threads busy and cores left over",
    "waiting": "neither all cores nor all its threads busy: it waits for files, a hand-over, a GPU or other "
    "programs",
}


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Ours beside one other loader at one place."""

    rival: str
    place: Place
    ratio: Interval

    @property
    def won(self) -> bool:
        return self.ratio.low > 1

    @property
    def lost(self) -> bool:
        return self.ratio.high < 1


def duels_of(summary: LoaderSummary) -> list[Duel]:
    ours = summary.contender
    if ours is None:
        return []
    return [
        Duel(rival=row.subject, place=place, ratio=ratio)
        for place, rows in summary.rows.items()
        for row in rows
        if row.subject != ours and (ratio := summary.ratio(row.subject, ours, place)) is not None
    ]


def ratio_text(ratio: Interval) -> str:
    if ratio.samples == 1:
        return f"{times(ratio.estimate)} (one round, no interval)"
    return f"{times(ratio.estimate)} ({span(ratio)})"


def elsewhere(summary: LoaderSummary, duels: list[Duel]) -> list[str]:
    """Ours beside the others over all settings, where there are several."""
    ours = summary.contender
    places = list(dict.fromkeys(duel.place for duel in duels))
    if len(places) < 2:
        return []
    won = [place for place in places if all(d.won for d in duels if d.place == place)]
    found = [f"{ours} is faster than every other loader at {len(won)} of {plural(len(places), 'setting')}."]
    found += [
        f"At {duel.place}, {duel.rival} is "
        + ("faster" if duel.lost else "shown neither faster nor slower")
        + f": {ours} makes {ratio_text(duel.ratio)} its pairs/s."
        for duel in duels
        if not duel.won
    ]
    return found


def bound(summary: LoaderSummary) -> str:
    """What holds each loader back, where the headline is."""
    place = summary.main_place
    rows = [row for row in summary.rows.get(place, ()) if row.cores_used is not None] if place else []
    if not rows:
        return ""
    groups: dict[str, list[str]] = {}
    for row in rows:
        spent = "" if row.cpu_ms_per_pair is None else f" ({amount(row.cpu_ms_per_pair)} ms a pair)"
        groups.setdefault(row.bound_by or "", []).append(f"{row.subject} {row.cores_used:.2f}{spent}")
    said = [f"{listed(names)}, {BOUND[bound_by]}" for bound_by, names in groups.items()]
    return f"Cores used at {place}, of {summary.cores}: {'; '.join(said)}."


def fidelity(summary: LoaderSummary) -> list[str]:
    """How far the views are from the official ones, and what is another operation."""
    place = summary.main_place
    if place is None:
        return []
    size = place.image_size
    timed = [row.subject for row in summary.rows[place]]
    crops = [
        f"{subject} {apart(crop)}"
        for subject in timed
        if (crop := summary.crop_difference(subject, size)) is not None
    ]
    found = []
    if crops:
        found.append(
            f"Decoded, cropped in the same boxes and resized to {size} px, views are this far from Pillow's, "
            f"of 255 on average: {', '.join(crops)}."
        )
    found_apart = [
        f"{subject}: "
        + ", ".join(
            f"{o.operation} by {apart(o.mean)}"
            + (f" (it moves pixels by {apart(o.effect)})" if o.effect is not None else "")
            for o in unlike
        )
        for subject in timed
        if (unlike := summary.unlike(subject, size))
    ]
    if found_apart:
        found.append(
            f"Further than rounding from the official operation (over {CLOSE:g} of 255, {CLOSE_CROP:g} for "
            f"the crop): {'; '.join(found_apart)}."
        )
    elif crops:
        found.append(
            "No operation of any loader is further than rounding from the official one (over "
            f"{CLOSE:g} of 255, {CLOSE_CROP:g} for the crop)."
        )
    return found


def apart(difference: float) -> str:
    return f"{difference:.2f}"


def conditions(summary: LoaderSummary) -> list[str]:
    plans = summary.report.plans
    data = list(dict.fromkeys(plan.data for plan in plans))
    found = []
    if plans:
        found.append(
            f"Data: {listed(data)}; {plans[0].augmentation} augmentation, on {plans[0].device}; "
            f"{plural(summary.report.rounds, 'round')}, {plans[0].seconds:g} s of each loader in each."
        )
    return [*found, machine(summary.report.environments)]


def caveats_of(summary: LoaderSummary) -> tuple[str, ...]:
    report = summary.report
    caveats = [f"{f.scenario} failed in {f.stage}: {f.message}" for f in report.failures]
    caveats += [
        f"{subject.name} was left out: {subject.obstacle}"
        for subject in report.subjects.values()
        if subject.obstacle is not None
    ]
    for environment in report.environments:
        load = environment.load_average
        if load is not None and load > BUSY_LOAD * environment.cores:
            cores = plural(environment.cores, "core")
            caveats.append(f"The machine was already busy when a run began: load {load:.1f} on {cores}.")
    rows = [row for rows in summary.rows.values() for row in rows]
    short = [row for row in rows if len(row.by_round) < report.rounds]
    caveats += [
        f"{row.subject} finished {len(row.by_round)} of {plural(report.rounds, 'round')} at {row.place}."
        for row in short
    ]
    if rows and max(len(row.by_round) for row in rows) < FEWEST_ROUNDS:
        caveats.append(
            f"{plural(max(len(row.by_round) for row in rows), 'round')}: a 95 % interval of a median takes "
            f"{FEWEST_ROUNDS}, so these are narrower than they should be."
        )
    unmeasured = [name for name in report.subjects if not any(f.subject == name for f in report.fidelities)]
    if rows and not report.fidelities:
        caveats.append(
            "How far the views are from the official ones was not measured: speed alone says little."
        )
    elif rows and unmeasured:
        caveats.append(f"How far the views of {listed(unmeasured)} are from the official ones is not known.")
    for subject, size in dict.fromkeys((row.subject, row.place.image_size) for row in rows):
        crop = summary.crop_difference(subject, size)
        if crop is not None and not crop <= CLOSE_CROP:
            caveats.append(
                f"{subject} at {size} px does something else: {CROP} is {apart(crop)} of 255 off, so its "
                "speed is not that of the official augmentation."
            )
    return tuple(caveats)
