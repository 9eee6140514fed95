"""The README's numbers: a block of Markdown made of the published records alone.

Every number in it is looked up in the report of its record file; the template holds words only.
"""

from dataclasses import dataclass
from typing import TypeVar

from bench.compare import Interval
from reports.load import FLOORS
from reports.loader_summary import LoaderSummary
from reports.loss_load import BASELINE
from reports.loss_summary import LossSummary
from reports.proof_judge import Proof
from reports.proof_words import measured_text, proof_verdict, target_text
from reports.publications import Publications, PublishedFile, version_of
from reports.render import markdown_templates
from reports.summary import MODES, Summary
from reports.tables import markdown_text
from reports.text import listed, percent, plural, signed, span, times
from vicreg_fast.errors import RecordError

T = TypeVar("T")

BEGIN = "<!-- measured: written by `python -m reports.publish` from reports/published; edit nothing here -->"
END = "<!-- measured: end -->"
HEADLINE_SHAPE = (256, 8192)
"""Rows and dimensions of the loss that is shown by itself."""
FILES = ("loss.jsonl", "loss-three.jsonl", "loader.jsonl", "loader-batch32.jsonl", "comparison.jsonl")
PROBED = "cifar10.jsonl"
STOCK, OURS = "torchvision-stock", "torchvision"


@dataclass(frozen=True, kw_only=True)
class ReadmeRow:
    what: str
    shape: str
    ratio: str
    record: str


def readme_block(published: Publications) -> str:
    """The lines from `BEGIN` to `END`, both with them."""
    files = [published.newest(name) for name in FILES]
    losses, three, loaders, smaller, compared = files
    comparison = compared.comparison
    probed = published.newest(PROBED)
    text = (
        markdown_templates()
        .get_template("measured.md.j2")
        .render(
            proof=_proof(published.proofs[0]) if published.proofs else None,
            machine=_machine([*files, probed]),
            rows=(
                *_loss_rows(losses),
                _in_turn(three),
                *_loader_rows(loaders),
                _again(smaller),
                *_comparison_rows(compared, comparison),
            ),
            accuracy=_accuracy(compared, comparison),
            floors=_floors(comparison),
            probed=_probed(probed),
        )
    )
    return f"{BEGIN}\n{text.strip()}\n{END}"


def around_block(readme: str) -> tuple[str, str]:
    """What stands before and after the block. Raises RecordError where a marker is not there once."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise RecordError(f"README.md: needs one line `{BEGIN}` and below it one `{END}`")
    before, rest = readme.split(BEGIN)
    return before, rest.split(END)[1]


def _proof(proof: Proof) -> dict[str, object]:
    return {
        "headline": proof_verdict(proof).headline,
        "folder": proof.source.folder.name,
        "claims": [
            (markdown_text(row.claim.sentence), target_text(row.claim), measured_text(row), row.verdict)
            for row in proof.rows
        ],
    }


def _machine(files: list[PublishedFile]) -> dict[str, object]:
    """What the files share; raises RecordError where they are not of one machine and one set of versions."""
    found = {
        (
            file.environment.processor,
            file.environment.cores,
            version_of(file.environment, "torch"),
            version_of(file.environment, "nvidia-dali"),
        )
        for file in files
    }
    if len(found) != 1:
        raise RecordError(
            f"{', '.join(file.name for file in files)}: not all of one machine and its versions"
        )
    ((processor, cores, torch, dali),) = found
    folders = dict.fromkeys(file.path.parent.name for file in files)
    return {
        "processor": processor,
        "cores": cores,
        "torch": torch,
        "dali": dali,
        "folders": listed([f"`reports/published/{name}/`" for name in folders]),
    }


def _loss_rows(file: PublishedFile) -> list[ReadmeRow]:
    summary = file.losses
    official = sorted(
        (duel for duel in summary.duels if duel.rival == BASELINE), key=lambda duel: duel.speedup.estimate
    )
    rivals = [duel for duel in summary.duels if duel.rival != BASELINE]
    nearest = min(rivals, key=lambda duel: duel.speedup.estimate)
    slowest, fastest = official[0], official[-1]
    places = list(summary.rows)
    shapes = f"{summary.label(places[0])} … {summary.label(places[-1])} ({plural(len(places), 'shape')})"
    place = _needed(next((p for p in places if (p.n, p.d) == HEADLINE_SHAPE), None), file, "256 × 8192")
    ours, theirs = summary.ours_at(place), summary.row(BASELINE, place)
    speedup = _needed(
        ours.speedup if ours else None, file, f"time beside {BASELINE}'s at {summary.label(place)}"
    )
    peaks = [_needed(row.peak_bytes if row else None, file, "peak memory of both") for row in (ours, theirs)]
    share = f"1/{peaks[1] / peaks[0]:.0f} of the peak extra memory"
    ends = [f"{times(duel.speedup.estimate)} ({summary.label(duel.place)})" for duel in (slowest, fastest)]
    return [
        ReadmeRow(
            what="loss against the authors' formula, eager",
            shape=f"{shapes}, {_dtype(summary)}, {summary.phase}",
            ratio=f"{ends[0]} to {ends[1]} as fast",
            record=file.path.name,
        ),
        ReadmeRow(
            what="",
            shape=f"{summary.label(place)}, the same",
            ratio=f"{_as_fast(speedup)}, {share}",
            record=file.path.name,
        ),
        ReadmeRow(
            what=f"loss against the nearest rival there, {nearest.rival}",
            shape=f"{summary.label(nearest.place)}, the same",
            ratio=_as_fast(nearest.speedup),
            record=file.path.name,
        ),
    ]


def _in_turn(file: PublishedFile) -> ReadmeRow:
    summary = file.losses
    found = {
        summary.label(place): row.speedup
        for place in summary.rows
        if (row := summary.ours_at(place)) is not None and row.speedup is not None
    }
    ours = next(row for place in summary.rows if (row := summary.ours_at(place)))
    return ReadmeRow(
        what=f"loss, {ours.form} form against the authors', {len(summary.report.subjects)} losses in turn",
        shape=f"{listed(list(found))}, the same",
        ratio=listed([_with_span(ratio) for ratio in found.values()]),
        record=file.path.name,
    )


def _loader_rows(file: PublishedFile) -> list[ReadmeRow]:
    summary, stock, ours = _beside(file)
    place = _needed(summary.main_place, file, "rate")
    shape = f"two {place.image_size}² views, batch {place.batch_size}, {plural(place.threads, 'thread')}"
    return [
        ReadmeRow(
            what="DALI against the authors' torchvision loader",
            shape=shape,
            ratio=_with_span(stock),
            record=file.path.name,
        ),
        ReadmeRow(
            what="DALI against our torchvision pipeline",
            shape="the same",
            ratio=_with_span(ours),
            record=file.path.name,
        ),
    ]


def _again(file: PublishedFile) -> ReadmeRow:
    summary, stock, ours = _beside(file)
    place = _needed(summary.main_place, file, "rate")
    return ReadmeRow(
        what=f"the same two, at batch {place.batch_size}",
        shape="the same",
        ratio=f"{_with_span(stock)} and {_with_span(ours)}",
        record=file.path.name,
    )


def _beside(file: PublishedFile) -> tuple[LoaderSummary, Interval, Interval]:
    """DALI ÷ the authors' loader and ÷ our torchvision pipeline, at the file's main place."""
    summary = file.loaders
    place = _needed(summary.main_place, file, "rate")
    dali = _needed(summary.contender, file, "loader of ours")
    stock, ours = (
        _needed(summary.ratio(rival, dali, place), file, f"common round of {dali} and {rival}")
        for rival in (STOCK, OURS)
    )
    return summary, stock, ours


def _comparison_rows(file: PublishedFile, summary: Summary) -> list[ReadmeRow]:
    plan, recipe = summary.plan, summary.plan.recipe
    network = f"{recipe['backbone']} of width {recipe['width']}, {recipe['image_size']}²"
    rates = (summary.rates.get((plan.contender, mode)) for mode in MODES[:2])
    ratios = [_needed(rate.ratio if rate else None, file, "ratio in both modes") for rate in rates]
    peak = _needed(summary.peaks.get(plan.contender), file, f"memory of {plan.contender}")
    rows = [
        (
            f"`bench --compare {plan.baseline}`, end to end",
            f"recipe {recipe['name']}: {network}, batch {recipe['batch_size']}, {plan.data.split(':')[0]}",
            _with_span(ratios[0]),
        ),
        ("the same, on one cached batch", "the same", _with_span(ratios[1])),
        (
            f"the same, peak {peak.compared} memory over the start",
            "the same",
            times(_needed(peak.ratio, file, "memory of both")),
        ),
    ]
    return [
        ReadmeRow(what=what, shape=shape, ratio=ratio, record=file.path.name) for what, shape, ratio in rows
    ]


def _accuracy(file: PublishedFile, summary: Summary) -> dict[str, object]:
    plan = summary.plan
    found = [summary.probes.get(name) for name in (plan.contender, plan.baseline, *FLOORS)]
    ours, theirs, *_ = (
        _needed(probe, file, "linear accuracy of both, and of both floors") for probe in found
    )
    verdict = _needed(ours.verdict, file, "common seed")
    points = verdict.difference_points
    apart = [100 * (max(p.by_seed.values()) - min(p.by_seed.values())) for p in (ours, theirs)]
    return {
        "ours": percent(ours.mean),
        "theirs": percent(theirs.mean),
        "seeds": plural(len(ours.by_seed), "seed"),
        "verdict": verdict.verdict,
        "points": f"{signed(points.estimate)} points, {signed(points.low)} to {signed(points.high)}",
        "margin": f"{verdict.margin_points:.1f}",
        "apart": listed([f"{value:.1f}" for value in apart]),
    }


def _floors(summary: Summary) -> dict[str, str]:
    return {name.replace("-", "_"): percent(summary.probes[name].mean) for name in FLOORS}


def _probed(file: PublishedFile) -> dict[str, object]:
    found = {accuracy.subject: accuracy for accuracy in file.accuracies}
    runs = [accuracy for name, accuracy in found.items() if name not in FLOORS]
    steps = {accuracy.steps for accuracy in runs}
    if len(steps) != 1 or not found.keys() >= set(FLOORS):
        raise RecordError(f"{file.name}: needs runs of one length, and both floors")
    return {
        "steps": steps.pop(),
        "runs": listed([f"{percent(a.linear_top1)} with {a.subject.rpartition('-')[2]}" for a in runs]),
        "test_images": f"{runs[0].test_images:,}",
        "record": file.path.name,
        **{name.replace("-", "_"): percent(found[name].linear_top1) for name in FLOORS},
    }


def _needed(value: T | None, file: PublishedFile, what: str) -> T:
    """What the block cannot do without. Raises RecordError where the file does not have it."""
    if not value:
        raise RecordError(f"{file.name}: has no {what}, which the README's numbers are made of")
    return value


def _dtype(summary: LossSummary) -> str:
    return listed(list(dict.fromkeys(place.dtype for place in summary.rows)))


def _with_span(interval: Interval) -> str:
    return f"{times(interval.estimate)} ({span(interval)})"


def _as_fast(interval: Interval) -> str:
    return f"{times(interval.estimate)} as fast ({span(interval)})"
