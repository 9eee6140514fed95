"""How often `bench loss --against` cries wolf, and how often it sees what is there: repeated runs of the
command itself, beside a load.

    python -m bench.prove_regression --kind unchanged|slowdown|buffer --runs 40 --load 2 --out FILE

Clones this checkout's HEAD, edits the clone's loss (nothing, a tenth of a case's time that no count
sees, or one D×D buffer), and compares it with HEAD again and again. Each run is a line of
FILE; those that are there already are not made again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.record import read_records
from bench.regression_analysis import log_ratio
from bench.regression_base import CHECKOUT
from bench.regression_judge import judge
from bench.regression_record import RegressionSample
from bench.suite_loss.cases import CPU_CASES

BUFFER_IN = "vicreg_fast/loss/closed_form.py"
BEHIND = "    dtype = centred_VND.dtype\n"
BUFFER = "    torch.empty(D, D, dtype=dtype, device=x_nD.device)\n"
SLOWDOWN_IN = "vicreg_fast/loss/vicreg.py"
# Time and nothing else: no operator, FLOP or byte that is counted. A share of the whole call, by a factor on
# its forward's time that is found for each shape.
SLOWDOWN = """

import time

FORWARDS = {forwards}
_forward = VICRegLoss.forward


def _slower(self, x, y, return_terms=False):
    began = time.process_time()
    result = _forward(self, x, y, return_terms)
    ended = time.process_time()
    until = ended + {share} * FORWARDS.get(tuple(x.shape), 1.0) * (ended - began)
    while time.process_time() < until:
        pass
    return result


VICRegLoss.forward = _slower
"""
LOAD = """
import os, numpy
square = numpy.ones((384, 384), numpy.float32)
parent = os.getppid()
while os.getppid() == parent:
    square @ square
"""
# A forward that waits makes the call longer by more than it waited (11 to 14 % for 10 % of the call). So the
# factors are found by measuring the planted loss beside the one under it, in the suite's own windows, and the
# size they then have is measured anew.
CALIBRATE = """
import json, random
from statistics import median
import torch
from bench.suite_loss.cases import cases, timed_names
from bench.suite_loss.times import BLOCK, PADDINGS, judge_calls, steady_allocator, time_window
from vicreg_fast.loss import vicreg

torch.set_num_threads(1)
steady_allocator()
device = torch.device("cpu")
forwards = (vicreg._forward, vicreg._slower)


def size(case, loss, calls):
    ratios, held = [], []
    for number in range(WINDOWS):
        if number % BLOCK == 0:  # on other memory: where it lies is worth per cents
            held = [torch.empty(64 * random.randrange(1, 2**14), dtype=torch.uint8) for _ in range(PADDINGS)]
            x, y = (view.detach().clone().requires_grad_() for view in case.views(device))
        seconds = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            vicreg.VICRegLoss.forward = forwards[which]
            seconds[which] = time_window(loss, x, y, calls, "cpu")
        ratios.append(seconds[1] / seconds[0])
    return median(ratios) - 1


WINDOWS = 300
found = []
for name in timed_names("cpu"):
    case = cases("cpu")[name]
    loss = case.build(device)
    calls, _ = judge_calls(case, device, "cpu")
    for _ in range(3):
        vicreg.FORWARDS[case.n, case.d] *= SHARE / size(case, loss, calls)
    factor = vicreg.FORWARDS[case.n, case.d]
    found.append([case.n, case.d, factor, size(case, loss, calls)])
print(json.dumps(found))
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prove_regression", description=__doc__)
    parser.add_argument("--kind", choices=("unchanged", "slowdown", "buffer"), required=True)
    parser.add_argument("--runs", type=int, default=40, help="that FILE shall hold of this kind")
    parser.add_argument("--load", type=int, default=2, help="busy processes beside it")
    parser.add_argument("--share", type=float, default=0.10, help="the slowdown, of a case's time")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="vicreg-fast-prove-") as folder:
        clone = Path(folder) / "checkout"
        _git(CHECKOUT, "clone", "--quiet", "--shared", "--no-checkout", str(CHECKOUT), str(clone))
        commit = _git(CHECKOUT, "rev-parse", "HEAD")
        _git(clone, "checkout", "--quiet", "--detach", commit)
        done = _made(options.out, options.kind)
        with _busy(options.load):
            planted = _plant(clone, options.kind, options.share)
            for number in range(len(done), options.runs):
                line = _run(clone, commit, Path(folder) / f"run-{number}")
                line = {"kind": options.kind, "run": number, "load": options.load, "planted": planted, **line}
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{options.kind} {number + 1}: {line['seconds']:.0f} s, {line['headline']}", flush=True)
    made = _made(options.out, options.kind)
    tally = Counter(line["verdict"] for line in made)
    said = ", ".join(f"{count} {verdict}" for verdict, count in tally.most_common())
    print(f"{options.kind}: {len(made)} runs: {said}")


def _run(clone: Path, commit: str, out: Path) -> dict[str, Any]:
    """One run of the command, and what it found."""
    began = time.monotonic()
    command = [sys.executable, "-m", "vicreg_fast", "bench", "loss", "--against", commit, "--out", str(out)]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if not (out / "records.jsonl").exists():
        raise SystemExit(f"the command ended with {done.returncode}: {done.stderr.strip()}")
    records, _ = read_records(out / "records.jsonl")
    found = judge(records)
    samples = [record for record in records if isinstance(record, RegressionSample)]
    return {
        "commit": commit,
        "exit_code": done.returncode,
        "verdict": found.verdict,
        "headline": found.headline,
        "seconds": round(seconds, 1),
        "load_average": os.getloadavg()[0],
        "cases": [
            {
                "case": case.case,
                "status": case.status,
                "confirmed": case.confirmed,
                "tau": case.tau,
                "ratio": case.ratio and [case.ratio.estimate, case.ratio.low, case.ratio.high],
                "control": case.control and [case.control.estimate, case.control.low, case.control.high],
            }
            for case in found.cases
            if case.case in found.plan.timed_cases
        ],
        "log_ratios": [[s.case, s.side, s.attempt, s.round, round(log_ratio(s), 5)] for s in samples],
    }


def _plant(clone: Path, kind: str, share: float) -> dict[str, Any]:
    """Edits the clone's loss; what was planted."""
    if kind == "unchanged":
        return {}
    if kind == "buffer":
        source = clone / BUFFER_IN
        text = source.read_text(encoding="utf-8")
        if text.count(BEHIND) != 1:
            raise SystemExit(f"{BUFFER_IN} has not one line {BEHIND.strip()!r}: plant the buffer elsewhere")
        source.write_text(text.replace(BEHIND, BEHIND + BUFFER), encoding="utf-8")
        return {"line": BUFFER.strip()}
    source = clone / SLOWDOWN_IN
    text = source.read_text(encoding="utf-8")
    shapes = [(case.n, case.d) for case in CPU_CASES if case.timed]
    source.write_text(
        text + SLOWDOWN.format(forwards=dict.fromkeys(shapes, 1.0), share=share), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-c", CALIBRATE.replace("SHARE", str(share))],
        cwd=clone,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the slowdown's size could not be measured: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    forwards = {(n, d): round(factor, 4) for n, d, factor, _ in found}
    source.write_text(text + SLOWDOWN.format(forwards=forwards, share=share), encoding="utf-8")
    return {"share": share, "size": {f"{n}x{d}": round(size, 4) for n, d, _, size in found}}


def _made(out: Path, kind: str) -> list[dict[str, Any]]:
    if not out.exists():
        return []
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    """Processes that multiply matrices, one thread each, until the block ends or this process does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = [subprocess.Popen([sys.executable, "-c", LOAD], env=environment) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
