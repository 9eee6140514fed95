"""The loaders timed: what a rate is made of, whose turn it is, and what becomes of one that dies or hangs."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import psutil
import pytest

from bench import loader_bench
from bench.loader import LEAST_WINDOWS, LoaderSetting, _processor_seconds, measure_rate
from bench.loader_bench import LoaderBench, LoaderBenchRun, start_worker
from bench.loader_kinds import BASELINE, KINDS, choose_loaders, usual_subject
from bench.loader_record import LoaderFidelity, LoaderPlan, LoaderRate, LoaderSubject
from bench.loader_worker import LoaderOrder
from bench.orders import Answer
from bench.record import Failure, Record
from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import Manifest, load_manifest
from tests.clock import Clock
from vicreg_fast.errors import UsageError

SETTING = LoaderSetting(threads=1, image_size=32, batch_size=4)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("loader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VICREG_FAST_CACHE", str(folder / "cache"))
        return load_manifest(make_builtin_set(folder / "set", train=12, test=0, size=(40, 32)))


@pytest.mark.parametrize("pipeline", ["torchvision-v2", "dali"])
def test_a_rate_holds_windows_and_processor_time(
    pipeline: str, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which each batch takes a second, all of it on one core of two."""
    clock, batches = Clock(), []
    monkeypatch.setattr("bench.loader.time", clock)
    monkeypatch.setattr("bench.loader._processor_seconds", lambda: clock.now / 2)
    rate = measure_rate(
        usual_subject(pipeline, on_gpu=False),
        manifest,
        SETTING,
        augmentation="official",
        seconds=3.5,
        round=2,
        position=1,
        on_batch=lambda: batches.append(clock.sleep(1.0)),
    )
    assert (rate.subject, rate.threads, rate.image_size, rate.batch_size) == (pipeline, 1, 32, 4)
    assert (rate.round, rate.position, rate.pid) == (2, 1, os.getpid())
    assert rate.window_seconds == (1.0,) * 4
    assert len(batches) == 3 + 4  # the warm-up is not in the windows
    assert rate.pairs_per_second == (4.0,) * 4
    assert rate.cores_used == 0.5
    few = measure_rate(
        usual_subject(pipeline, on_gpu=False),
        manifest,
        SETTING,
        augmentation="official",
        seconds=0.5,
        on_batch=lambda: clock.sleep(1.0),
    )
    assert len(few.window_seconds) == LEAST_WINDOWS


class Process:
    """Of psutil: one that has worked for three seconds, with children of which one has just ended."""

    def __init__(self, ended: bool = False) -> None:
        self.ended = ended

    def children(self, recursive: bool) -> list["Process"]:
        assert recursive
        return [Process(ended=True), Process()]

    def cpu_times(self) -> SimpleNamespace:
        if self.ended:
            raise psutil.NoSuchProcess(1)
        return SimpleNamespace(user=2.0, system=1.0)


def test_processor_time_is_of_this_process_and_those_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "Process", Process)
    assert _processor_seconds() == 6.0


class _Canned:
    """Stands for the process: it answers every order at once, and fails, dies or hangs where told to."""

    started = 0
    orders: ClassVar[list[LoaderOrder]] = []
    problems: ClassVar[dict[tuple[str, int], str]] = {}
    """(subject, batch size) to what goes wrong; what begins with "dead" ends the process."""

    def __init__(self, bench: LoaderBench) -> None:
        type(self).started += 1
        self.alive = True

    def ask(self, order: LoaderOrder) -> Answer:
        self.orders.append(order)
        problem = self.problems.get((order.subject.name, order.setting.batch_size))
        if order.action == "rate" and problem is not None:
            self.alive = not problem.startswith("dead")
            return Answer(problem=problem)
        if order.action == "fidelity":
            fidelity = LoaderFidelity(subject=order.subject.name, image_size=32, images=1, operations=())
            return Answer(records=(fidelity,))
        rate = LoaderRate(
            subject=order.subject.name,
            threads=order.setting.threads,
            image_size=order.setting.image_size,
            batch_size=order.setting.batch_size,
            round=order.round,
            position=order.position,
            pid=1,
            batches_per_window=1,
            window_seconds=(1.0,),
        )
        return Answer(records=(rate,))

    def tell_to_end(self, *, at_once: bool) -> None:
        assert not at_once

    def close(self) -> None: ...


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Canned]]:
    monkeypatch.setattr(loader_bench, "start_worker", _Canned)
    monkeypatch.setattr(_Canned, "started", 0)
    _Canned.orders.clear()
    _Canned.problems.clear()
    yield _Canned
    _Canned.problems.clear()


def bench_of(manifest: Manifest, **changes: object) -> LoaderBench:
    bench = LoaderBench(
        subjects=choose_loaders(None, None, on_gpu=False),
        manifest=manifest,
        data="a set",
        device="cpu",
        augmentation="official",
        threads=(1, 2),
        image_sizes=(32,),
        batch_sizes=(4,),
        rounds=2,
        seconds=0.1,
        command="vicreg-fast bench loader",
    )
    return replace(bench, **changes)  # type: ignore[arg-type]


def carried_out(manifest: Manifest, **changes: object) -> tuple[list[Record], list[str]]:
    records: list[Record] = []
    progress: list[tuple[int, int]] = []
    with LoaderBenchRun(
        bench_of(manifest, **changes),
        records.append,
        lambda _, done, total: progress.append((done, total)),
    ) as run:
        run.run()
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    assert all(done < total for done, total in progress)
    return records, run.failed


def test_rounds_go_both_ways_through_settings_and_loaders(canned: type[_Canned], manifest: Manifest) -> None:
    records, failed = carried_out(manifest)
    assert not failed
    assert isinstance(records[0], LoaderPlan)
    assert records[0].baseline == BASELINE
    names = list(KINDS)
    assert [r.subject for r in records if isinstance(r, LoaderFidelity)] == names
    rates = [r for r in records if isinstance(r, LoaderRate)]
    order = [(r.round, r.threads, r.subject) for r in rates]
    forwards = [(0, threads, name) for threads in (1, 2) for name in names]
    backwards = [(1, threads, name) for threads in (2, 1) for name in reversed(names)]
    assert order == forwards + backwards
    assert [r.position for r in rates[:8]] == [0, 1, 2, 3] * 2
    assert canned.started == 1


@pytest.mark.parametrize("problem", ["a worker ended", "dead"])
def test_a_loader_that_fails_is_left_out_there_and_the_others_go_on(
    problem: str, canned: type[_Canned], manifest: Manifest
) -> None:
    canned.problems["torchvision-v2", 4] = f"{problem}: /some/where/a file.jpg"
    records, failed = carried_out(manifest, threads=(1,), batch_sizes=(4, 6), rounds=3)
    failures = [r for r in records if isinstance(r, Failure)]
    assert [(f.scenario, f.stage) for f in failures] == [
        ("torchvision-v2", "round 1: 1 thread, 32 px, batch 4")
    ]
    assert "/some" not in failures[0].message  # a record names no path
    assert len(failed) == 1
    assert "/some/where" in failed[0]
    counts = {
        (name, batch): sum(
            isinstance(r, LoaderRate) and (r.subject, r.batch_size) == (name, batch) for r in records
        )
        for name in KINDS
        for batch in (4, 6)
    }
    assert counts.pop(("torchvision-v2", 4)) == 0
    assert set(counts.values()) == {3}
    assert canned.started == (2 if problem == "dead" else 1)


def test_what_has_an_obstacle_is_not_asked_for(canned: type[_Canned], manifest: Manifest) -> None:
    subjects = choose_loaders(None, None, on_gpu=False, dali_obstacle="no DALI")
    records, failed = carried_out(manifest, subjects=subjects, rounds=1, threads=(1,))
    assert not failed
    assert "dali" not in {order.subject.name for order in canned.orders}
    plan = records[0]
    assert isinstance(plan, LoaderPlan)
    assert [s.obstacle for s in plan.subjects] == [None, None, None, "no DALI"]


def test_a_process_that_is_killed_or_stops_is_told_of(manifest: Manifest) -> None:
    order = LoaderOrder(
        action="fidelity", subject=usual_subject("torchvision", on_gpu=False), setting=SETTING
    )
    process = start_worker(bench_of(manifest))
    assert process.pid is not None
    answer = process.ask(order)
    assert isinstance(answer.records[0], LoaderFidelity)
    assert process.alive
    os.kill(process.pid, signal.SIGKILL)
    answer = process.ask(order)
    assert answer.problem is not None
    assert "killed by SIGKILL" in answer.problem
    process.close()
    process = start_worker(bench_of(manifest, patience=0.2))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    answer = process.ask(order)
    assert answer.records == ()
    assert answer.problem is not None
    assert "no batch for 0.2 s" in answer.problem
    assert not process.alive
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.close()


def test_a_file_that_breaks_is_a_problem_and_no_end(manifest: Manifest, tmp_path: Path) -> None:
    process = start_worker(bench_of(replace(manifest, root=tmp_path)))  # where the files are not
    order = LoaderOrder(action="fidelity", subject=usual_subject(BASELINE, on_gpu=False), setting=SETTING)
    answer = process.ask(order)
    assert answer.problem is not None
    assert answer.problem.startswith("FileNotFoundError")
    assert process.alive
    process.tell_to_end(at_once=False)
    process.close()
    assert not process.alive


def names(subjects: tuple[LoaderSubject, ...]) -> list[str]:
    return [subject.name for subject in subjects]


def test_loaders_are_chosen_by_pipeline_and_decoder() -> None:
    assert names(choose_loaders(None, None, on_gpu=False)) == list(KINDS)
    assert choose_loaders(None, None, on_gpu=True)[-1].decoder == "dali-mixed"
    chosen = choose_loaders(("torchvision-v2", BASELINE), ("pil", "pil-draft"), on_gpu=False)
    assert names(chosen) == [BASELINE, f"{BASELINE}+pil-draft", "torchvision-v2+pil"]
    assert "enlarged" in chosen[1].differs[-1]
    gpu = choose_loaders(("dali",), ("dali-mixed",), on_gpu=True)
    assert names(gpu) == ["dali+dali-mixed"]


@pytest.mark.parametrize(
    ("pipelines", "decoders", "words"),
    [
        (("dalli",), None, "--pipelines dalli: must be of"),
        (None, ("turbo",), "--decoders turbo: must be of"),
        (("dali",), ("pil",), "none of dali can have it here; they have dali-cpu"),
        (None, ("dali-mixed",), "--decoders dali-mixed: needs a CUDA device"),
        (("dali",), None, "DALI is away"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    pipelines: tuple[str, ...] | None, decoders: tuple[str, ...] | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words.replace("+", r"\+")):
        choose_loaders(pipelines, decoders, on_gpu=False, dali_obstacle="DALI is away")
