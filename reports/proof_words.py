"""A proof in words and tables: how many targets are reached on which device, and what is not known."""

from dataclasses import dataclass

from bench.proof_claims import DEVICE, Claim
from reports.limits import flops
from reports.proof_judge import Proof, Row, Verdict
from reports.tables import Table
from reports.text import NOTHING, amount, listed, memory, percent, plural, shortened, signed, span, times
from reports.verdict import BUSY_LOAD, Card, Tone

MARKS: dict[Verdict, Tone] = {
    "reached": "good",
    "falls short": "bad",
    "too close to call": "open",
    "not measured": "open",
}
"""Of those that are about a target: a number without one, or of a rehearsal, is neither good nor bad."""
MOST_NAMED = 4
"""Claims in a headline; the table has all."""
LONGEST_REASON = 160
"""Characters of why a part is not done, in a headline; tables have it whole."""


@dataclass(frozen=True, kw_only=True)
class ProofVerdict:
    headline: str
    tone: Tone
    """`good` only where every target is reached, `bad` where one is missed or a rehearsal's part failed."""
    cards: tuple[Card, ...]
    context: tuple[str, ...]
    caveats: tuple[str, ...]


def proof_verdict(proof: Proof) -> ProofVerdict:
    """Everything that is said in words about a proof."""
    return ProofVerdict(
        headline=_rehearsed(proof) if proof.source.rehearsal else _headline(proof),
        tone=_tone(proof),
        cards=() if proof.source.rehearsal else _cards(proof),
        context=_context(proof),
        caveats=_caveats(proof),
    )


def _tone(proof: Proof) -> Tone:
    statuses = {part.status for part in proof.source.parts}
    if proof.source.rehearsal:
        return "bad" if statuses & {"failed", "cut"} else "open"
    verdicts = {row.verdict for row in proof.targets}
    return "bad" if "falls short" in verdicts else "good" if verdicts == {"reached"} else "open"


def _headline(proof: Proof) -> str:
    rows = proof.targets
    found = {verdict: [row for row in rows if row.verdict == verdict] for verdict in MARKS}
    reached = len(found["reached"])
    verb = "is" if reached == 1 else "are"
    parts = [f"{reached} of {plural(len(rows), 'target')} {verb} reached on {proof.device}"]
    if short := found["falls short"]:
        parts.append(f"{len(short)} {'falls' if len(short) == 1 else 'fall'} short ({_named(short)})")
    if close := found["too close to call"]:
        parts.append(f"{len(close)} {'is' if len(close) == 1 else 'are'} too close to call ({_named(close)})")
    if unknown := found["not measured"]:
        parts.append(f"{len(unknown)} not measured ({_named(unknown)})")
    return ", ".join(parts) + "."


def _named(rows: list[Row]) -> str:
    names = [row.claim.id for row in rows]
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    shown = names[: MOST_NAMED - 1]
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"


def _rehearsed(proof: Proof) -> str:
    """Of toys, by which no target is reached or missed."""
    parts = proof.source.parts
    done = [part for part in parts if part.status == "done"]
    where = "a CPU" if proof.source.environments[-1].gpu is None else proof.device
    said = "every part ran" if len(done) == len(parts) else f"{len(done)} of {plural(len(parts), 'part')} ran"
    others = [f"{part.name} {shortened(part.why, LONGEST_REASON)}" for part in parts if part.status != "done"]
    ending = f"; {listed(others)}" if others else ""
    return f"A rehearsal on {where}: {said}{ending}. It says nothing of speed."


def _cards(proof: Proof) -> tuple[Card, ...]:
    """One a verdict about targets, those that there are."""
    shown: tuple[Verdict, ...] = ("reached", "falls short", "too close to call", "not measured")
    counts = {verdict: sum(row.verdict == verdict for row in proof.targets) for verdict in shown}
    return tuple(
        Card(
            label=verdict.capitalize(),
            value=str(count),
            detail=f"of {plural(len(proof.targets), 'target')}",
            tone=MARKS[verdict],
        )
        for verdict, count in counts.items()
        if count
    )


def _context(proof: Proof) -> tuple[str, ...]:
    said = [short_sentence(row) for row in proof.short]
    if proof.source.rehearsal:
        said.append("The same command on a machine with a GPU measures at full size.")
    if problems := proof.source.problems:
        said.append(f"{plural(len(problems), 'problem')} with the records, listed below.")
    return tuple(said)


def short_sentence(row: Row) -> str:
    """What a claim that falls short reached, of what."""
    return f"{row.claim.sentence}: {measured_text(row)}, target {target_text(row.claim)}."


def _caveats(proof: Proof) -> tuple[str, ...]:
    caveats = []
    if proof.other_device:
        caveats.append(f"The targets are about an NVIDIA {DEVICE}, and this was measured on {proof.device}.")
    for part in proof.source.parts:
        if part.status in ("failed", "cut"):
            caveats.append(f"{part.name} {part.why}; what it measured before that is kept.")
    for environment in proof.source.environments:
        load = environment.load_average
        if load is not None and load > BUSY_LOAD * environment.cores:
            cores = plural(environment.cores, "core")
            caveats.append(f"The machine was already busy when a call began: load {load:.1f} on {cores}.")
    return tuple(caveats)


def target_text(claim: Claim) -> str:
    if claim.target is None:
        return NOTHING
    # A target is round: it needs no more digits than it was set with.
    plain = f"{claim.target:g}×" if claim.unit == "×" else _number(claim, claim.target)
    return f"{'≥' if claim.sense == 'at least' else '≤'} {plain}"


def measured_text(row: Row) -> str:
    """The value, with its interval where it has one."""
    if row.measured is None:
        return NOTHING
    found = interval_text(row)
    value = _number(row.claim, row.measured.value)
    return value if found == NOTHING else f"{value} ({found})"


def interval_text(row: Row) -> str:
    interval = row.measured.interval if row.measured else None
    if interval is None or interval.samples < 2:
        return NOTHING
    match row.claim.unit:
        case "×":
            return span(interval)
        case "%":
            return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
        case "points":
            return f"{signed(interval.low)} to {signed(interval.high)}"
        case _:
            return f"{amount(interval.low)}–{amount(interval.high)}"


def _number(claim: Claim, value: float) -> str:
    match claim.unit:
        case "×":
            return times(value)
        case "%":
            return percent(value)
        case "points":
            return f"{signed(value)} points"
        case "pairs/s":
            return f"{amount(value)} pairs/s"
        case _:
            return f"{value:.0f}"


def claims_table(proof: Proof) -> Table:
    """Every claim, target, what was measured, floor and verdict: what `prove` ends with."""
    rows = tuple(
        (
            row.claim.sentence,
            row.verdict,
            target_text(row.claim),
            NOTHING if row.measured is None else _number(row.claim, row.measured.value),
            interval_text(row),
            (row.measured.floor if row.measured else "") or NOTHING,
        )
        for row in proof.rows
    )
    columns = ("claim", "verdict", "target", "measured", "95 % interval", "floor")
    return Table(title="Claims", columns=columns, rows=rows, names=2)


def reasons_table(proof: Proof, *, open_only: bool = False) -> Table:
    """What each number stands on, or why there is none; or only of the claims that are not decided."""
    rows = tuple(
        (
            row.claim.id,
            row.part.name,
            "; ".join(filter(None, (row.why, row.measured.note if row.measured else ""))),
        )
        for row in proof.rows
        if row.why or (row.measured and row.measured.note and not open_only)
    )
    return Table(
        title="What the numbers stand on", columns=("claim", "part", "how, or why not"), rows=rows, names=3
    )


def parts_table(proof: Proof) -> Table:
    rows = tuple(
        (part.name, part.status, f"{part.seconds:.0f} s", str(part.attempts), part.detail or NOTHING)
        for part in proof.source.parts
    )
    columns = ("part", "status", "took", "attempts", "why not, or what it could not measure")
    return Table(title="Parts", columns=columns, rows=rows, names=len(columns))


def ceilings_table(proof: Proof) -> Table:
    """What the device reached for large products and copies, which floors are reckoned with."""
    rows = tuple(
        (ceiling.dtype, f"{flops(ceiling.flops_per_second)}/s", f"{memory(ceiling.bytes_per_second)}/s")
        for ceiling in proof.source.ceilings("environment")
    )
    return Table(title="What the device reaches", columns=("dtype", "products", "copies"), rows=rows)


def failures_table(proof: Proof) -> Table:
    """The tests that failed."""
    tests = proof.source.tests("tests")
    rows = tuple((failure.name, failure.message) for failure in tests.failures) if tests else ()
    return Table(title="Tests that fail", columns=("test", "says"), rows=rows, names=2)
