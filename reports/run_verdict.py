"""A pretraining run in words, from its numbers alone."""

from dataclasses import dataclass
from datetime import timedelta

from reports.linear_verdict import linear_verdict
from reports.run_log import RunLog
from reports.run_summary import Health, health_of, mean_std_limit, speed_of
from reports.text import amount, listed, percent, plural
from reports.verdict import Card, Tone
from vicreg_fast.training.health import DEAD_LIMIT, RANK_LIMIT

LOADER_BOUND = 0.1
"""Share of the time from which waiting for images is worth a word."""


@dataclass(frozen=True, kw_only=True)
class RunVerdict:
    headline: str
    tone: Tone
    """`good` only of a finished run whose loss fell without a sign of collapse and without a number missing;
    `bad` where the last logged step looks collapsed."""
    cards: tuple[Card, ...]
    context: tuple[str, ...]
    caveats: tuple[str, ...]


def run_verdict(log: RunLog) -> RunVerdict:
    health = health_of(log)
    loss = log.finite("loss")
    fell = len(loss) > 1 and loss[-1] < loss[0]
    whole = log.finished and fell and not log.problems and not log.missing
    good = whole and health.judged > 0 and not health.collapsed_at
    parts = [_where(log), _loss(log), _collapse(health)]
    return RunVerdict(
        headline="; ".join(part for part in parts if part) + ".",
        tone="bad" if health.at_the_end else "good" if good else "open",
        cards=_cards(log, health),
        context=_context(log, health),
        caveats=_caveats(log, health),
    )


def _where(log: RunLog) -> str:
    step, total = int(log.steps[-1]), log.total_steps
    if not total:
        return f"At step {step:,}, of how many the log does not say"
    if log.finished:
        return f"Finished: {plural(total, 'step')}"
    of = f"step {step:,} of {total:,} ({percent(step / total)})"
    if log.training:
        return f"Training now: logged up to {of}"
    return f"Not finished: logged up to {of}"


def _loss(log: RunLog) -> str:
    loss = log.finite("loss")
    if not len(loss):
        return "no loss was logged"
    first, last = float(loss[0]), float(loss[-1])
    if len(loss) == 1:
        return f"the only loss logged is {amount(last)}"
    if last == first:
        return f"the loss stayed at {amount(last)}"
    return f"the loss {'fell' if last < first else 'rose'} from {amount(first)} to {amount(last)}"


def _collapse(health: Health) -> str:
    if not health.judged:
        return "whether the embeddings collapsed was not logged"
    if not health.collapsed_at:
        return "no sign of collapse"
    count = plural(len(health.collapsed_at), "logged step")
    if health.at_the_end:
        return f"the embeddings look collapsed at the end ({count} from {health.collapsed_at[0]:,} on)"
    return f"the embeddings looked collapsed at {count}, first at {health.collapsed_at[0]:,}, and recovered"


def _cards(log: RunLog, health: Health) -> tuple[Card, ...]:
    cards = []
    loss = log.finite("loss")
    if len(loss):
        tone: Tone = "good" if loss[-1] < loss[0] else "bad" if loss[-1] > loss[0] else "open"
        detail = f"first logged {amount(float(loss[0]))}, least {amount(float(loss.min()))}"
        cards.append(Card(label="Loss at the last", value=amount(float(loss[-1])), detail=detail, tone=tone))
    mean = log.finite("std_mean")
    if len(mean):
        tone = "bad" if health.at_the_end else "open" if health.collapsed_at else "good"
        detail = f"least {float(mean.min()):.3f}; below {mean_std_limit(log):g} it counts as collapsed"
        cards.append(
            Card(label="Mean σ at the last", value=f"{float(mean[-1]):.3f}", detail=detail, tone=tone)
        )
    rank = log.finite("effective_rank")
    if len(rank):
        detail = f"of {log.recipe.expander_widths[-1]:,} dimensions; first logged {amount(float(rank[0]))}"
        cards.append(
            Card(
                label="Effective rank at the last", value=amount(float(rank[-1])), detail=detail, tone="open"
            )
        )
    speed = speed_of(log)
    if speed is not None:
        wait = speed.loader_wait
        detail = "median over the logged steps"
        if wait is not None:
            detail = f"{percent(wait)} of the time after the start was spent waiting for images"
        bound = wait is not None and wait >= LOADER_BOUND
        cards.append(
            Card(
                label="Pairs of views per second", value=amount(speed.median), detail=detail,
                tone="bad" if bound else "good" if wait is not None else "open",
            )
        )  # fmt: skip
    return tuple(cards)


def _context(log: RunLog, health: Health) -> tuple[str, ...]:
    said = []
    seconds = log.finite("seconds")
    epochs = log.finite("epoch")
    time = f"{_duration(float(seconds[-1]))} of training" if len(seconds) else ""
    passes = f"{amount(float(epochs[-1]))} epochs" if len(epochs) else ""
    pairs = f"{int(log.steps[-1]) * log.recipe.batch_size:,} pairs of views"
    said.append(f"So far: {listed([part for part in (time, passes, pairs) if part])}.")
    if health.judged:
        said.append(_signs(log))
    speed = speed_of(log)
    if speed is not None and speed.loader_wait is not None and speed.loader_wait >= LOADER_BOUND:
        gain = 1 / max(1 - speed.loader_wait, 1e-3)
        said.append(
            f"The steps waited for images in {percent(speed.loader_wait)} of the time after the start: a "
            f"loader that is never waited for would make the run up to {gain:.1f} times as fast."
        )
    if log.resumed_at:
        said.append(
            f"The run went on from a checkpoint {plural(len(log.resumed_at), 'time')}: {_resumed(log)}."
        )
    if log.linear is not None:
        of = log.linear.checkpoint_step
        old = f" That was step {of:,}, and the run has gone on since." if of < int(log.steps[-1]) else ""
        said.append(linear_verdict(log.linear).headline + old)
    return tuple(said)


def _duration(seconds: float) -> str:
    """As hours, minutes and seconds, unless a broken log has what no run takes."""
    return str(timedelta(seconds=round(seconds))) if 0 <= seconds < 1e10 else f"{amount(seconds)} s"


def _resumed(log: RunLog) -> str:
    steps = [f"step {step:,}" for step in log.resumed_at]
    return listed(steps) if len(steps) <= 5 else f"{', '.join(steps[:3])} … {steps[-1]}"


def _signs(log: RunLog) -> str:
    mean, dead, rank = (log.finite(key) for key in ("std_mean", "dead_fraction", "effective_rank"))
    return (
        f"Signs of collapse: the mean σ was at least {float(mean.min()):.3f} (limit "
        f"{mean_std_limit(log):g}), at most {percent(float(dead.max()))} of the dimensions were dead "
        f"(limit {100 * DEAD_LIMIT:g} %), and the "
        f"effective rank was at least {float(rank.min()):.2f} (limit {RANK_LIMIT:g}, once it was higher)."
    )


def _caveats(log: RunLog, health: Health) -> tuple[str, ...]:
    said = []
    if log.missing:
        named = [f"{key} {count:,} (first at step {step:,})" for key, (count, step) in log.missing.items()]
        said.append(
            f"Of {plural(len(log.steps), 'logged step')}, so many have no finite number: {listed(named)}."
        )
    if len(log.steps) < 10:
        said.append(
            f"Only {plural(len(log.steps), 'step')} {'was' if len(log.steps) == 1 else 'were'} logged."
        )
    if not log.finished and not log.training:
        going = (
            "the same command goes on from its checkpoint"
            if log.has_checkpoint
            else "it has no checkpoint yet"
        )
        said.append(f"No process of this machine is seen to train it; {going}.")
    if health.collapsed_at:
        patience = log.recipe.collapse_patience
        row = f"At most {plural(health.longest, 'logged step')} in a row looked collapsed; "
        ends = f"{patience} end a run (collapse_patience)"
        said.append(
            row + (ends if patience else "the guard against it was off (collapse_patience = 0)") + "."
        )
    if not log.sessions:
        said.append(
            "sessions.jsonl is missing: on what it was trained, and where it was resumed, is not recorded."
        )
    if log.linear is None:
        said.append(
            "The loss says little about the features: `vicreg-fast linear RUN --floors` measures them, and "
            "this report then shows it."
        )
    return tuple(said)
