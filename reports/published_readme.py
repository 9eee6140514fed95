"""The README's numbers: a block of Markdown made of the published records alone.

Every number in it is looked up in the report of its record file; the template holds words only.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.compare import Interval
from reports.loss_load import BASELINE
from reports.proof_judge import Proof
from reports.proof_words import measured_text, proof_verdict, target_text
from reports.publications import Publications, PublishedFile, machine_name, version_of
from reports.published_pictures import PublishedPicture
from reports.render import markdown_templates
from reports.tables import markdown_text
from reports.text import listed, percent, plural, signed, span, times
from vicreg_fast.errors import RecordError

T = TypeVar("T")

BEGIN = "<!-- measured: written by `python -m reports.publish` from reports/published; edit nothing here -->"
END = "<!-- measured: end -->"
HEADLINE_SHAPE = (256, 8192)
"""Rows and dimensions of the loss that is shown."""
COMPARISON, LOSSES, LOADERS = "comparison.jsonl", "loss.jsonl", "loader.jsonl"
STOCK = "torchvision-stock"


@dataclass(frozen=True, kw_only=True)
class ReadmeRow:
    what: str
    found: str
    """With its interval."""
    conditions: str
    file: PublishedFile


def readme_block(published: Publications, pictures: Iterable[PublishedPicture]) -> str:
    """The lines from `BEGIN` to `END`, both with them."""
    files = [published.newest(name) for name in (COMPARISON, LOSSES, LOADERS)]
    compared, losses, loaders = files
    text = (
        markdown_templates()
        .get_template("measured.md.j2")
        .render(
            pictures=[(picture.name, html.escape(picture.alt)) for picture in pictures],
            proof=_proof(published.proofs[0]) if published.proofs else None,
            machines=_machines(files),
            rows=(*_comparison_rows(compared), _loss_row(losses), _loader_row(loaders)),
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


def _machines(files: Sequence[PublishedFile]) -> str:
    """Each machine with its versions once; where there are several, with the records that come from it."""
    found: dict[str, list[str]] = {}
    for file in files:
        versions = [
            f"{name} {version}"
            for name, package in (("torch", "torch"), ("DALI", "nvidia-dali"))
            if (version := version_of(file.environment, package))
        ]
        machine = f"{machine_name(file.environment)}, {listed(versions)}"
        found.setdefault(markdown_text(machine), []).append(file.path.name)
    if len(found) == 1:
        return f"on one machine ({next(iter(found))})"
    return "; ".join(f"{listed(names)} on {machine}" for machine, names in found.items())


def _comparison_rows(file: PublishedFile) -> tuple[ReadmeRow, ...]:
    """Speed, memory and accuracy of the contender beside the baseline."""
    summary = file.comparison
    plan, recipe = summary.plan, summary.plan.recipe
    rate, peak = summary.rates.get((plan.contender, "end-to-end")), summary.peaks.get(plan.contender)
    ours, theirs = (summary.probes.get(name) for name in (plan.contender, plan.baseline))
    if rate is None or peak is None or ours is None or theirs is None:
        raise RecordError(f"{file.name}: needs speed, memory and accuracy of both scenarios for the README")
    speed = _needed(rate.ratio, file, "common round")
    share = _needed(peak.ratio, file, "memory of both")
    judged = _needed(ours.verdict, file, "common seed")
    gap = judged.difference_points
    return (
        ReadmeRow(
            what=f"Speed, end to end, against `{plan.baseline}`",
            found=_with_span(speed),
            conditions=f"recipe `{recipe['name']}`, batch {recipe['batch_size']}, "
            f"{plural(speed.samples, 'round')}",
            file=file,
        ),
        ReadmeRow(
            what=f"Peak {peak.compared} memory against `{plan.baseline}`",
            found=f"**{times(share)}**, one measurement without an interval",
            conditions="the same",
            file=file,
        ),
        ReadmeRow(
            what=f"Linear accuracy against `{plan.baseline}`",
            found=f"**{percent(ours.mean)}** against {percent(theirs.mean)}: {signed(gap.estimate)} points "
            f"({signed(gap.low)} to {signed(gap.high)}), *{judged.verdict}*",
            conditions=f"the same, {plural(gap.samples, 'seed')}, margin {judged.margin_points:.1f} points",
            file=file,
        ),
    )


def _loss_row(file: PublishedFile) -> ReadmeRow:
    summary = file.losses
    found = (place for place in summary.rows if (place.n, place.d) == HEADLINE_SHAPE)
    place = _needed(next(found, None), file, "256 × 8192")
    ours = summary.ours_at(place)
    speedup = _needed(
        ours.speedup if ours else None, file, f"time beside {BASELINE}'s at {summary.label(place)}"
    )
    return ReadmeRow(
        what="The loss against the authors' formula",
        found=_with_span(speedup),
        conditions=f"{summary.label(place)}, {place.dtype}, {summary.phase}",
        file=file,
    )


def _loader_row(file: PublishedFile) -> ReadmeRow:
    summary = file.loaders
    place = _needed(summary.main_place, file, "rate")
    dali = _needed(summary.contender, file, "loader of ours")
    ratio = _needed(summary.ratio(STOCK, dali, place), file, f"common round of {dali} and {STOCK}")
    return ReadmeRow(
        what="DALI against the authors' loader",
        found=_with_span(ratio),
        conditions=f"two {place.image_size}² views, batch {place.batch_size}, "
        f"{plural(place.threads, 'thread')}",
        file=file,
    )


def _needed(value: T | None, file: PublishedFile, what: str) -> T:
    """What the block cannot do without. Raises RecordError where the file does not have it."""
    if not value:
        raise RecordError(f"{file.name}: has no {what}, which the README's numbers are made of")
    return value


def _with_span(interval: Interval) -> str:
    return f"**{times(interval.estimate)}** ({span(interval)})"
