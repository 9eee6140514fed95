"""Folders of proofs made by hand, in numbers that a reader can follow: as `prove` leaves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.ladder_record import LadderRung
from bench.limits_record import StepWork, TraceShares
from bench.loader_record import LoaderPlan, LoaderRate, LoaderSubject
from bench.loss_record import Ceiling, LossFloor, LossMemory, LossRankTiming, LossTiming
from bench.proof_record import FailedTest, PartStatus, ProofPart, ProofPlan, ProofTests
from bench.record import Environment, Record, RecordWriter
from tests.reports.conftest import Run, scenario
from tests.reports.linear_results import linear_result
from tests.reports.loss_runs import MIB, NOISE, LossRun
from vicreg_fast.evaluation.result import write_result

TIME = "2026-01-02T03:04:05+00:00"
H100 = "NVIDIA H100 80GB HBM3"
PARTS = (
    *("environment", "tests", "loss", "capture", "dali"),
    *("compare", "ladder", "cifar-r18", "memory", "cifar10"),
)
ROUNDS = (1.0, 1.01, 0.99, 1.02, 0.98, 1.0)
MACHINE: dict[str, Any] = {
    "processor": "Test CPU", "cores": 16, "memory_bytes": 2**37, "system": "Linux 6.1", "gpu": H100,
    "gpu_count": 1, "gpu_memory_bytes": 80 * 2**30, "versions": {"torch": "2.11.0"}, "commit": "0123456789",
}  # fmt: skip


class ProofRun:
    """One proof's folder, part by part."""

    def __init__(self, folder: Path, *, rehearsal: bool = False, **machine: Any) -> None:
        self.folder = folder
        self.machine = {**MACHINE, **({"gpu": None, "gpu_count": 0} if rehearsal else {}), **machine}
        plan = ProofPlan(
            time=TIME, device="cpu" if rehearsal else "cuda", rehearsal=rehearsal, budget_seconds=540.0,
            parts=PARTS, asked=PARTS,
        )  # fmt: skip
        self.add(Environment(time=TIME, **self.machine), plan)

    def add(self, *records: Record, part: str | None = None) -> "ProofRun":
        writer = RecordWriter((self.folder / part if part else self.folder) / "records.jsonl")
        for record in records:
            writer.write(record)
        writer.close()
        return self

    def ended(
        self, name: str, status: PartStatus = "done", detail: str = "", folder: str | None = None
    ) -> "ProofRun":
        ran = status in ("done", "failed", "cut")
        record = ProofPart(
            time=TIME, name=name, status=status, seconds=30.0 if ran else 0.0, detail=detail,
            folder=(folder or name) if ran else None, commands=("vicreg-fast bench",) if ran else (),
        )  # fmt: skip
        return self.add(record)

    def run(self, part: str, *names: str, **plan: Any) -> Run:
        """The records of a comparison, to be filled and written."""
        (self.folder / part).mkdir()
        run = Run(self.folder / part / "records.jsonl", [scenario(name) for name in names], rounds=6, **plan)
        run.environment |= self.machine
        run.plan["device"] = "cuda"
        return run

    def tests(self, passed: int = 600, failed: int = 0) -> "ProofRun":
        failures = tuple(FailedTest(name=f"tests/test_{n}.py::test", message="1 != 2") for n in range(failed))
        tests = ProofTests(
            time=TIME, passed=passed, failed=failed, errors=0, skipped={"needs lightly": 1},
            failures=failures, seconds=40.0,
        )  # fmt: skip
        return self.add(Environment(time=TIME, **self.machine), tests, part="tests").ended("tests")

    def losses(
        self, small: float = 22.0, large: float = 6.0, held: float = 0.05, rank: float = 0.0
    ) -> "ProofRun":
        """Ours so many times as fast as the official formula at N = 256 and N = 2048, the compiled one twice
        as fast as that; ours holds the share `held` of its memory, and takes 1 and 0.5 ms. One rank of eight
        is `rank` times as fast, if it is timed."""
        (self.folder / "loss").mkdir()
        losses = LossRun(self.folder / "loss" / "records.jsonl", "official", "official-compiled", "auto")
        losses.environment |= self.machine
        for rows, ratio, milliseconds in ((256, small, 1.0), (2048, large, 0.5)):
            times = {"official": ratio, "official-compiled": ratio / 2, "auto": 1.0}
            losses.records += [loss_timing(name, milliseconds * value, rows) for name, value in times.items()]
            losses.records += [
                LossMemory(
                    time=TIME, provider=name, dtype="bfloat16", device="cuda", n=rows, d=8192,
                    peak_bytes=int(800 * MIB * share),
                )
                for name, share in (("official", 1.0), ("auto", held))
            ]  # fmt: skip
            losses.records += [
                LossFloor(
                    time=TIME, dtype="bfloat16", device="cuda", n=rows, d=8192, phase="forward+backward",
                    flops=10, moved_bytes=10, seconds=0.35e-3, bound="compute",
                )
            ]  # fmt: skip
        if rank:
            losses.records += [rank_timing("official", rank), rank_timing("auto", 1.0)]
        losses.write()
        return self.ended("loss")

    def comparisons(self, fast: float = 1600.0, busy: float = 0.97) -> "ProofRun":
        """Baseline, tuned and fast end to end and on one cached batch, with a trace of fast."""
        run = self.run("compare", "baseline", "tuned", "fast")
        for name, rate in (("baseline", 400.0), ("tuned", 1000.0), ("fast", fast)):
            run.throughput(name, [rate * noise for noise in ROUNDS], wait=0.02)
            run.throughput(name, [1.05 * rate * noise for noise in ROUNDS], "compute-only", wait=0.0)
        run.memory("baseline", 4.0, 40.0).memory("fast", 3.0, 20.0)
        run.records += [step_work("fast"), ceiling(), trace("fast", busy)]
        run.write()
        return self.ended("compare")

    def others(self, *, floors: bool = True) -> "ProofRun":
        """Capture, DALI alone, a ladder without apex, CIFAR's ResNet-18, the probe; memory is compare's."""
        capture = self.run("capture", "fast-capture", "fast", baseline="fast-capture")
        capture.throughput("fast-capture", [1000.0 * noise for noise in ROUNDS], "compute-only")
        capture.throughput("fast", [1300.0 * noise for noise in ROUNDS], "compute-only").write()
        rungs = (
            LadderRung(change="amp", description="bf16", forwards=("plain", "fast")),
            LadderRung(change="apex-fusedsgd", description="apex", missing="apex cannot be imported"),
        )
        ladder = self.run("ladder", "plain", "fast", baseline="plain", ladder=rungs)
        for name, rate in (("plain", 300.0), ("fast", 1600.0)):
            ladder.throughput(name, [rate * noise for noise in ROUNDS], "compute-only")
        ladder.write()
        cifar = self.run("cifar-r18", "fast", baseline="fast")
        cifar.throughput("fast", [11_000.0 * noise for noise in ROUNDS]).write()
        self.add(*dali_alone(self.machine), part="dali")
        (self.folder / "cifar10" / "run").mkdir(parents=True)
        changes = {} if floors else {"results": {"backbone": linear_result().results["backbone"]}}
        write_result(linear_result(data="CIFAR-10", **changes), self.folder / "cifar10/run/linear.json")
        self.add(Environment(time=TIME, **self.machine), ceiling(), part="environment")
        for name in ("environment", "capture", "dali", "ladder", "cifar-r18", "cifar10"):
            self.ended(name)
        return self.ended("memory", detail="taken from compare")

    def page(self, part: str) -> "ProofRun":
        (self.folder / part / "report.html").write_text("<!DOCTYPE html><p>its own</p>", encoding="utf-8")
        return self


def full_proof(folder: Path, **changes: Any) -> ProofRun:
    """Everything measured on an H100, the compute-only ratio and DALI's short of nothing."""
    return ProofRun(folder).tests().losses(**changes).comparisons().others()


def loss_timing(provider: str, milliseconds: float, rows: int, noise: Sequence[float] = NOISE) -> LossTiming:
    return LossTiming(
        time=TIME, provider=provider, form="gram" if provider == "auto" else "covariance", backend="torch",
        dtype="bfloat16", device="cuda", n=rows, d=8192, seconds=tuple(milliseconds / 1e3 * f for f in noise),
        calls_per_sample=10, pid=7, round=0,
    )  # fmt: skip


def rank_timing(provider: str, milliseconds: float, **changes: Any) -> LossRankTiming:
    fields: dict[str, Any] = {
        "time": TIME, "provider": provider, "form": "gram", "backend": "torch", "dtype": "bfloat16",
        "device": "cuda", "n": 256, "d": 8192, "world_size": 8, "calls_per_sample": 10, "pid": 7,
        "seconds": tuple(milliseconds / 1e3 * factor for factor in NOISE),
    }  # fmt: skip
    return LossRankTiming(**{**fields, **changes})


def ceiling() -> Ceiling:
    return Ceiling(
        time=TIME, dtype="bfloat16", device="cuda", product_size=8192, flops_per_second=7e14,
        copied_bytes=2**30, bytes_per_second=2.5e12,
    )  # fmt: skip


def step_work(name: str) -> StepWork:
    return StepWork(
        time=TIME, scenario=name, device="cuda", dtype="bfloat16", batch_size=256, network_flops=13 * 10**12,
        loss_least_flops=10**10, loss_flops=10**10, parameter_bytes=10**9, gradient_bytes=10**9,
        optimizer_state_bytes=10**9, view_bytes=10**8, operator_bytes=10**11,
    )  # fmt: skip


def trace(name: str, busy: float) -> TraceShares:
    device = {"compute": busy - 0.01, "communication": 0.0, "copies": 0.01, "idle": 1 - busy}
    return TraceShares(
        time=TIME, scenario=name, file=f"traces/{name}/rank_0.3.pt.trace.json.gz", steps=5, step_seconds=0.16,
        host={"pipeline": 0.02, "forward": 0.0, "backward": 0.0, "optimizer": 0.0, "outside": 0.98},
        device_work=device, communication_hidden=0.0,
    )  # fmt: skip


def dali_alone(machine: dict[str, Any]) -> list[Record]:
    subject = LoaderSubject(name="dali", pipeline="dali", decoder="mixed", description="DALI on the GPU")
    plan = LoaderPlan(
        time=TIME, command="vicreg-fast bench loader", device="cuda", data="2048 images",
        augmentation="official", subjects=(subject,), baseline="dali", threads=(16,), image_sizes=(224,),
        batch_sizes=(256,), rounds=6, seconds=1.0,
    )  # fmt: skip
    rates = [
        LoaderRate(
            time=TIME, subject="dali", threads=16, image_size=224, batch_size=256, round=number, position=0,
            pid=1, batches_per_window=10, window_seconds=(2560 / (2600 * noise),) * 3,
        )
        for number, noise in enumerate(ROUNDS)
    ]  # fmt: skip
    return [Environment(time=TIME, **machine), plan, *rates]
