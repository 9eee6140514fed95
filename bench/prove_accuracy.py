"""How often the accuracy verdict of `bench --compare baseline` decides, and whether it decides rightly.

    python -m bench.prove_accuracy --runs 10 --data DIR --out FILE

Repeats the accuracy part of the comparison over disjoint seeds, and judges each run by its own seeds alone.
What is right is what all seeds of all runs say together. Each training is a record of FILE, and those that
are there already are not made again, so an interrupted call is resumed by the same call.
"""

import argparse
import multiprocessing
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.compare import AccuracyVerdict, accuracy_verdict
from bench.orders import Answer
from bench.record import Accuracy, Record, RecordWriter, read_records
from bench.training_worker import serve_trainings
from bench.trainings import (
    DEFAULT_SEEDS,
    FLOORS,
    MARGIN_POINTS,
    Training,
    TrainingPool,
    TrainingSetup,
    plan_trainings,
    side_by_side,
)
from bench.worker_process import Patience
from vicreg_fast.config import load_recipe

SCENARIOS = ("baseline", "fast")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prove_accuracy", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=DEFAULT_SEEDS, help="of each run")
    parser.add_argument("--margin", type=float, default=MARGIN_POINTS, help="in points")
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="see `vicreg-fast data make`")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seeds = range(options.runs * options.seeds)
    writer = RecordWriter(options.out)
    there = {(record.subject, record.seed) for record in _accuracies(options.out)}
    jobs = [job for job in plan_trainings(SCENARIOS, seeds) if (job.subject, job.seed) not in there]
    jobs = [Training(subject=job.subject, seed=job.seed) for job in jobs if job.subject != FLOORS]

    def keep(job: Training, answer: Answer) -> None:
        if answer.problem is not None:
            raise SystemExit(f"{job.subject}, seed {job.seed}: {answer.problem}")
        for record in answer.records:
            writer.write(record)
            assert isinstance(record, Accuracy)
            print(f"{job.subject}, seed {job.seed}: {100 * record.linear_top1:.1f} %", flush=True)

    with tempfile.TemporaryDirectory(prefix="vicreg-fast-prove-") as scratch:
        setup = TrainingSetup(
            recipe=load_recipe(options.recipe, options.settings),
            data=options.data,
            device=device,
            side_by_side=side_by_side(device),
            scratch=Path(scratch),
        )
        context = multiprocessing.get_context("spawn")
        with TrainingPool(setup, serve_trainings, Patience(), context=context) as pool:
            pool.run(jobs, keep)
    writer.close()
    found = _accuracies(options.out)
    print(table(found, [seeds[i : i + options.seeds] for i in seeds[:: options.seeds]], options.margin))


def table(found: Sequence[Accuracy], runs: Sequence[Sequence[int]], margin: float) -> str:
    """A Markdown row a run, and below how many decided, and how many against what all seeds say."""
    lines = ["| seeds | baseline | fast | points, 95 % interval | verdict |", "|---|---|---|---|---|"]
    verdicts = []
    for seeds in runs:
        mine = [record for record in found if record.seed in seeds]
        judged = _judged(mine, margin)
        verdicts.append(judged.verdict)
        means = (statistics.mean(100 * r.linear_top1 for r in mine if r.subject == s) for s in SCENARIOS)
        shown = " | ".join(f"{mean:.1f} %" for mean in means)
        lines.append(f"| {seeds[0]}–{seeds[-1]} | {shown} | {_interval(judged)} | {judged.verdict} |")
    overall = _judged(found, margin)
    decided = sum(verdict != "undecided" for verdict in verdicts)
    wrong = sum(verdict not in ("undecided", overall.verdict) for verdict in verdicts)
    together = f"All {len(found)} trainings: {_interval(overall)}, {overall.verdict}."
    return "\n".join([*lines, "", f"{together} Decided {decided} of {len(runs)}, wrongly {wrong}."])


def _judged(found: Sequence[Record], margin: float) -> AccuracyVerdict:
    judged = accuracy_verdict(found, *SCENARIOS, margin)
    assert judged is not None
    return judged


def _interval(judged: AccuracyVerdict) -> str:
    gap = judged.difference_points
    return f"{gap.estimate:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})"


def _accuracies(file: Path) -> list[Accuracy]:
    records = read_records(file)[0] if file.exists() else []
    return [record for record in records if isinstance(record, Accuracy)]


if __name__ == "__main__":
    main()
