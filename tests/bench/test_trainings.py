"""Trainings shared out among processes: their order, and what becomes of one that fails or ends."""

import multiprocessing
import os
import signal
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bench.orders import Answer, Note
from bench.record import Accuracy
from bench.trainings import FLOORS, Training, TrainingPool, TrainingSetup, plan_trainings
from bench.worker_process import Patience, serve_orders
from vicreg_fast.config import load_recipe


def serve(trouble: dict[tuple[str, int], str], connection: Connection, setup: TrainingSetup) -> None:
    """Trains nothing; `trouble` is (subject, seed) → a signal's name or `fail`."""

    def answer(job: Training) -> Answer:
        connection.send(Note(text=f"in {os.getpid()}"))
        what = trouble.get((job.subject, job.seed), "")
        if what.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[what])
        if what == "fail":
            raise RuntimeError("the loss is not finite")
        found = Accuracy(
            subject=job.subject,
            seed=job.seed,
            linear_top1=0.5,
            classes=10,
            test_images=10,
            side_by_side=setup.side_by_side,
        )
        return Answer(records=(found,))

    serve_orders(connection, answer)


def pool(folder: Path, slots: int, trouble: dict[tuple[str, int], str] | None = None) -> TrainingPool:
    setup = TrainingSetup(
        recipe=load_recipe("smoke"), data=folder, device="cpu", side_by_side=slots, scratch=folder
    )
    context = multiprocessing.get_context("fork")  # nothing here has threads or torch's state to lose
    return TrainingPool(setup, partial(serve, trouble or {}), Patience(), context=context)


def left_behind() -> list[str]:
    """The names of the workers that still run; other tests' processes are none of them."""
    names = (process.name for process in multiprocessing.active_children())
    return [name for name in names if name.startswith("bench-trainings-")]


def test_whole_seeds_come_first_and_floors_fill_the_end() -> None:
    jobs = plan_trainings(("baseline", "fast"), (5, 6, 7, 8))
    trained = [(job.subject, job.seed) for job in jobs if job.subject != FLOORS]
    assert trained == [(name, seed) for seed in (5, 6, 7, 8) for name in ("baseline", "fast")]
    assert [job.seed for job in jobs[-3:]] == [5, 6, 7]
    assert all(job.subject == FLOORS for job in jobs[-3:])
    assert [job.pixels for job in jobs[-3:]] == [True, False, False], "pixels have no seed"
    assert {job.seed for job in jobs if job.curve} == {5, 6, 7}, "the rest is probed at its end only"


@pytest.mark.parametrize("slots", [1, 3])
def test_every_job_is_carried_out_once_in_as_many_processes(tmp_path: Path, slots: int) -> None:
    jobs = plan_trainings(("baseline", "fast"), (0, 1, 2))
    done: list[Training] = []
    records: list[object] = []
    pids: set[str] = set()

    def note(_: Training, text: str) -> None:
        if text != "starting":
            pids.add(text)

    def keep(job: Training, answer: Answer) -> None:
        done.append(job)
        records.extend(answer.records)

    with pool(tmp_path, slots) as trainings:
        trainings.run(jobs, keep, note)
    assert sorted(done, key=jobs.index) == list(jobs)
    assert {record.side_by_side for record in records if isinstance(record, Accuracy)} == {slots}
    assert 1 <= len(pids) <= slots
    assert left_behind() == []
    if slots == 1:
        assert done == list(jobs), "one at a time keeps the order"


def test_what_fails_with_one_seed_is_not_tried_with_the_next(tmp_path: Path) -> None:
    problems: dict[tuple[str, int], str | None] = {}

    def keep(job: Training, answer: Answer) -> None:
        problems[job.subject, job.seed] = answer.problem

    with pool(tmp_path, 1, {("fast", 1): "fail"}) as trainings:
        trainings.run(plan_trainings(("baseline", "fast"), (0, 1, 2)), keep)
    assert problems == {
        ("baseline", 0): None,
        ("fast", 0): None,
        ("baseline", 1): None,
        ("fast", 1): "RuntimeError: the loss is not finite",
        ("baseline", 2): None,
        (FLOORS, 0): None,
        (FLOORS, 1): None,
        (FLOORS, 2): None,
    }


def test_a_killed_process_is_replaced_for_the_other_scenarios(tmp_path: Path) -> None:
    answers: dict[tuple[str, int], Answer] = {}

    def keep(job: Training, answer: Answer) -> None:
        answers[job.subject, job.seed] = answer

    with pool(tmp_path, 1, {("baseline", 0): "SIGKILL"}) as trainings:
        trainings.run(plan_trainings(("baseline", "fast"), (0, 1)), keep)
    assert "SIGKILL" in str(answers["baseline", 0].problem)
    assert ("baseline", 1) not in answers
    assert [answers["fast", seed].problem for seed in (0, 1)] == [None, None]


def test_an_answer_that_cannot_be_kept_ends_it_all(tmp_path: Path) -> None:
    """As of a full disk."""
    calls: list[Training] = []

    def keep(job: Training, _: Answer) -> None:
        calls.append(job)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), pool(tmp_path, 2) as trainings:
        trainings.run(plan_trainings(("baseline", "fast"), (0, 1, 2, 3)), keep)
    assert len(calls) == 1
    assert left_behind() == []
