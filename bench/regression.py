"""`bench loss --against`: head beside a base, exact counts first, then times in alternating processes."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from types import TracebackType

from bench.environment import measure_environment
from bench.record import Failure, Record
from bench.record_base import without_folders
from bench.regression_base import CHECKOUT, RevisionBase, StoredBase, extract
from bench.regression_judge import (
    RegressionJudgement,
    differing_fields,
    flagged_cases,
    gate_regressed,
    judge,
    uncertain_cases,
)
from bench.regression_kernels import kernel_gates, static_records
from bench.regression_plan import Regression, choose_threads, make_plan
from bench.regression_record import RegressionGate, RegressionPlan, RegressionSample, Side
from bench.regression_server import Message, SideError, SideServer
from vicreg_fast.errors import BaselineError, BenchmarkError

COUNTS = ("operators", "flops", "saved-bytes", "peak-bytes", "allocated-bytes")
"""As bench/suite_loss/counts.py names them, which imports torch."""
ORDERS: tuple[tuple[Side, ...], ...] = tuple(permutations(("base", "head", "control")))
"""Of the sides in a round, taken in turn, so that no side is always the first or beside the same other."""


@dataclass(frozen=True, kw_only=True)
class _Calls:
    case: int
    naive: int


class RegressionRun:
    """Carries out a Regression and writes its records. A context: leaving it ends every process."""

    def __init__(
        self,
        regression: Regression,
        on_progress: Callable[[str, int, int], None],
        head: Path = CHECKOUT,
    ) -> None:
        self.regression = regression
        self.records: list[Record] = []
        self._on_progress = on_progress
        self._head = head
        self._servers: dict[Side, SideServer] = {}
        self._calls: dict[str, _Calls] = {}

    def __enter__(self) -> "RegressionRun":
        base = self.regression.base
        self._extracted = None
        with ExitStack() as stack:  # ends what was begun, if what follows fails
            if isinstance(base, RevisionBase):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vicreg-fast-base-"))
                self._extracted = extract(base, Path(folder))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_servers()
        self._stack.close()

    def start(self) -> None:
        """Starts both sides, before there is a file of records. Raises UsageError for a case or a device that
        is not there, BaselineError for a base that cannot be run, BenchmarkError for a head that cannot."""
        try:
            self._plan = self._start()
        except SideError as error:
            raise BenchmarkError(str(error)) from None

    def run(self, write: Callable[[Record], None]) -> RegressionJudgement:
        """Counts, times, confirms what looks slower, and judges, after `start`; hands over each record as it
        is made. A side that ends is a Failure among them."""
        self._hand_over = write
        self._write(self._environment)
        self._write(self._plan)
        if not differing_fields(self._plan):
            try:
                self._measure(self._plan)
            except SideError as error:
                side, _, message = str(error).partition(": ")
                self._write(Failure(scenario=side, stage="process", message=without_folders(message)))
        return judge(self.records)

    def _start(self) -> RegressionPlan:
        r = self.regression
        self._order: Message = {"device": r.device, "threads": choose_threads(r)}
        self._on_progress("starting both sides", 0, 1)
        self._start_servers(("head",) if isinstance(r.base, StoredBase) else ("base", "head"))
        described = {side: self._describe(side) for side in self._servers}
        self._environment = measure_environment()
        plan = make_plan(r, described["head"], described.get("base"), self._environment)
        self._order |= {"device": plan.device, "clock": plan.clock}
        return plan

    def _describe(self, side: Side) -> Message:
        try:
            return self._servers[side].ask({**self._order, "do": "describe"})
        except SideError as error:
            if side == "base":
                _, _, why = str(error).partition(": ")
                raise BaselineError(
                    f"--against {self.regression.base.name}: its loss cannot be run: {why}"
                ) from None
            raise

    def _measure(self, plan: RegressionPlan) -> None:
        r = self.regression
        self._on_progress("counting", 0, 1)
        gates = self._count(plan)
        for gate in gates:
            self._write(gate)
        risen = any(gate_regressed(gate) for gate in gates)
        if r.gates_only or (risen and not r.timing_too):
            return
        if isinstance(r.base, StoredBase):
            for sample in r.base.samples:
                self._write(sample)
        self._judge_calls(self._comparable(plan))
        if not self._calls:
            return
        self._start_servers(self._sides())
        self._time(list(self._calls), attempt=0)
        flagged = flagged_cases(self.records)
        if flagged:
            self._stop_servers()  # so that nothing of the first processes is in the second ones
            self._start_servers(self._sides())
            self._time(flagged, attempt=1)

    def _count(self, plan: RegressionPlan) -> list[RegressionGate]:
        """Both sides at once: nothing is timed yet."""
        base = self.regression.base
        order = self._cases_order("count", plan.head_cases)
        with ThreadPoolExecutor(len(self._servers)) as pool:
            jobs = {side: pool.submit(list, s.ask_cases(order)) for side, s in self._servers.items()}
            answers = {side: job.result() for side, job in jobs.items()}
        counts: dict[Side, dict[str, dict[str, int]]] = {
            side: {answer["case"]: answer["counts"] for answer in found if "counts" in answer}
            for side, found in answers.items()
        }
        for side, found in answers.items():
            for answer in found:
                self._note_problem(side, "counting", answer)
        if isinstance(base, StoredBase):
            counts["base"] = base.counts
        gates = [
            RegressionGate(
                case=case,
                quantity=quantity,
                base=counts["base"].get(case, {}).get(quantity),
                head=counts["head"].get(case, {}).get(quantity),
            )
            for case in plan.head_cases
            for quantity in COUNTS
            if case in counts["head"] or case in counts["base"]
        ]
        if self._extracted is not None:
            gates += kernel_gates(self._extracted.kernels, static_records(self._head))
        return gates

    def _comparable(self, plan: RegressionPlan) -> list[str]:
        """Cases to be timed that both sides can run."""
        failed = {record.scenario for record in self.records if isinstance(record, Failure)}
        base = self.regression.base
        stored = {s.case for s in base.samples} if isinstance(base, StoredBase) else None
        return [
            case for case in plan.timed_cases if case not in failed and (stored is None or case in stored)
        ]

    def _judge_calls(self, cases: Sequence[str]) -> None:
        """How many calls fill a window, judged once for all sides."""
        for answer in self._servers["head"].ask_cases(self._cases_order("judge", cases)):
            if not self._note_problem("head", "judging its time", answer):
                self._calls[answer["case"]] = _Calls(case=answer["calls"], naive=answer["naive_calls"])

    def _time(self, cases: Sequence[str], attempt: int) -> None:
        r = self.regression
        going = list(cases)
        sides = self._sides()
        orders = [tuple(side for side in order if side in sides) for order in ORDERS]
        for number in range(max(r.rounds, r.most_rounds)):
            if number >= r.rounds:
                uncertain = uncertain_cases(self.records, attempt)
                going = [case for case in going if case in uncertain]
            if not going:
                return
            most = r.rounds if number < r.rounds else r.most_rounds
            for position, side in enumerate(orders[number % len(orders)]):
                words = "confirming what looks slower" if attempt else "timing"
                stage = f"{words}: round {number + 1} of {most}, {side}"
                self._on_progress(stage, number * len(sides) + position, most * len(sides))
                for case in self._time_round(going, side, number, position, attempt):
                    going.remove(case)

    def _time_round(
        self, cases: Sequence[str], side: Side, number: int, position: int, attempt: int
    ) -> list[str]:
        """One process; the cases that failed in it."""
        failed = []
        order = {**self._cases_order("time", cases), "pairs": self.regression.pairs}
        for answer in self._servers[side].ask_cases(order):
            if self._note_problem(side, f"round {number + 1}", answer):
                failed.append(answer["case"])
                continue
            calls = self._calls[answer["case"]]
            self._write(
                RegressionSample(
                    case=answer["case"],
                    side=side,
                    round=number,
                    position=position,
                    attempt=attempt,
                    pid=answer["pid"],
                    calls=calls.case,
                    naive_calls=calls.naive,
                    seconds=answer["seconds"],
                    naive_seconds=answer["naive_seconds"],
                )
            )
        return failed

    def _cases_order(self, do: str, cases: Iterable[str]) -> Message:
        asked = []
        for case in cases:
            calls = self._calls.get(case)
            more = {"calls": calls.case, "naive_calls": calls.naive} if calls else {}
            asked.append({"name": case, **more})
        return {**self._order, "do": do, "cases": asked}

    def _note_problem(self, side: Side, what: str, answer: Message) -> bool:
        if "problem" not in answer:
            return False
        message = without_folders(answer["problem"])
        self._write(Failure(scenario=answer["case"], stage=f"{side}: {what}", message=message))
        return True

    def _sides(self) -> tuple[Side, ...]:
        """Those that are timed here."""
        stored = isinstance(self.regression.base, StoredBase)
        return ("head", "control") if stored else ("base", "head", "control")

    def _start_servers(self, sides: Iterable[Side]) -> None:
        """Those that do not run yet, all at once."""
        extracted = self._extracted
        for side in sides:
            if side in self._servers:
                continue
            of_base = extracted is not None and side != "head"
            self._servers[side] = SideServer(
                side,
                head=self._head,
                subject=extracted.subject if extracted and of_base else self._head,
                cases=extracted.cases if extracted and of_base else None,
                threads=self._order["threads"],
            )

    def _stop_servers(self) -> None:
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _write(self, record: Record) -> None:
        self._hand_over(record)
        self.records.append(record)
