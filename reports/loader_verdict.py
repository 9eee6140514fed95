"""What a report of loaders says in words. Each sentence claims no more than the records hold.

Ours is faster than another only where the whole 95 % interval of their ratio lies above 1, and speed is never
said without saying how far the views are from the official ones.
"""

from dataclasses import dataclass

from reports.loader_load import Place
from reports.loader_sentences import (
    Duel,
    apart,
    bound,
    caveats_of,
    conditions,
    duels_of,
    elsewhere,
    fidelity,
    ratio_text,
)
from reports.loader_summary import CLOSE_CROP, LoaderSummary
from reports.sentences import FEWEST_ROUNDS
from reports.text import amount, listed, plural, span, times
from reports.verdict import Card, Tone


@dataclass(frozen=True, kw_only=True)
class LoaderVerdict:
    headline: str
    tone: Tone
    """`good` only where ours is faster than every other at every setting, with views that are as the official
    ones but for what is said, and nothing failed."""
    cards: tuple[Card, ...]
    context: tuple[str, ...]
    caveats: tuple[str, ...]


def loader_verdict(summary: LoaderSummary) -> LoaderVerdict:
    """Everything that is said in words about a report of loaders."""
    duels = duels_of(summary)
    cards = (_speed_card(summary, duels), _fidelity_card(summary), _growth_card(summary))
    context = (*elsewhere(summary, duels), bound(summary), *fidelity(summary), *conditions(summary))
    return LoaderVerdict(
        headline=_headline(summary, duels),
        tone=_tone(summary, duels),
        cards=tuple(card for card in cards if card is not None),
        context=tuple(sentence for sentence in context if sentence),
        caveats=caveats_of(summary),
    )


def _tone(summary: LoaderSummary, duels: list[Duel]) -> Tone:
    if summary.report.failures or any(duel.lost for duel in duels):
        return "bad"
    ours, place = summary.contender, summary.main_place
    crop = summary.crop_difference(ours, place.image_size) if ours and place else None
    decided = all(duel.won and duel.ratio.samples >= FEWEST_ROUNDS for duel in duels)
    return "good" if duels and decided and crop is not None and crop <= CLOSE_CROP else "open"


def _headline(summary: LoaderSummary, duels: list[Duel]) -> str:
    place, ours = summary.main_place, summary.contender
    if place is None:
        sentence = "No loader was timed, so there is no verdict on speed"
    else:
        here = [duel for duel in duels if duel.place == place]
        sentence = _beside(summary, here, place) if here else _alone(summary, place)
        grown = [g for g in summary.growth if g.subject == ours and g.place == place]
        if grown:
            threads = f"from {grown[0].from_threads} to {plural(place.threads, 'thread')}"
            sentence += f"; {threads} {ours} makes {ratio_text(grown[0].ratio)} the pairs/s"
    if failures := summary.report.failures:
        sentence += f"; {listed(list(dict.fromkeys(f.scenario for f in failures)))} failed"
    return sentence + "."


def _beside(summary: LoaderSummary, here: list[Duel], place: Place) -> str:
    ours, baseline = summary.contender, summary.report.baseline
    where = f"at {place}"
    base = next((duel for duel in here if duel.rival == baseline), None)
    others = sorted((duel for duel in here if duel.rival != baseline), key=lambda d: d.ratio.estimate)
    parts = []
    if base is not None:
        parts.append(f"{ours} makes {ratio_text(base.ratio)} the pairs/s of {baseline} {where}")
    if others:
        nearest = others[0]
        said = f"{ratio_text(nearest.ratio)} those of {nearest.rival}, the closest other loader"
        if base is None:
            said = f"{ours} makes {ratio_text(nearest.ratio)} the pairs/s of {nearest.rival} {where}"
        parts.append(said)
    undecided = [duel.rival for duel in here if not duel.won and not duel.lost]
    lost = [duel.rival for duel in here if duel.lost]
    if lost:
        parts.append(f"{listed(lost)} {'is' if len(lost) == 1 else 'are'} faster than {ours}")
    if undecided:
        parts.append(f"{ours} is shown neither faster nor slower than {listed(undecided)}")
    return "; ".join(parts)


def _alone(summary: LoaderSummary, place: Place) -> str:
    best = max(summary.rows[place], key=lambda row: row.rate.estimate)
    return f"{best.subject} makes {amount(best.rate.estimate)} pairs/s at {place}"


def _speed_card(summary: LoaderSummary, duels: list[Duel]) -> Card | None:
    place, baseline = summary.main_place, summary.report.baseline
    found = [duel for duel in duels if (duel.rival, duel.place) == (baseline, place)]
    if not found:
        return None
    ratio = found[0].ratio
    interval = "one round, no interval" if ratio.samples == 1 else f"95 % interval {span(ratio)}"
    decided = ratio.samples >= FEWEST_ROUNDS
    return Card(
        label=f"{summary.contender} ÷ {baseline}, pairs/s",
        value=times(ratio.estimate),
        detail=f"{interval}, at {place}",
        tone="bad" if found[0].lost else "good" if found[0].won and decided else "open",
    )


def _fidelity_card(summary: LoaderSummary) -> Card | None:
    place, ours = summary.main_place, summary.contender
    if place is None or ours is None:
        return None
    crop = summary.crop_difference(ours, place.image_size)
    whole = summary.whole_difference(ours, place.image_size)
    if crop is None:
        return None
    views = "" if whole is None else f"; {apart(whole)} over whole views"
    return Card(
        label=f"{ours}'s crops beside Pillow's",
        value=f"{apart(crop)} of 255",
        detail=f"mean absolute difference{views}",
        tone="good" if crop <= CLOSE_CROP else "bad",
    )


def _growth_card(summary: LoaderSummary) -> Card | None:
    found = [g for g in summary.growth if g.subject == summary.contender and g.place == summary.main_place]
    if not found:
        return None
    most = found[0].place.threads
    return Card(
        label=f"{summary.contender} from {found[0].from_threads} to {plural(most, 'thread')}",
        value=times(found[0].ratio.estimate),
        detail=f"with {times(most / found[0].from_threads)} the threads, on {plural(summary.cores, 'core')}",
        tone="good" if found[0].ratio.low > 1 else "open",
    )
