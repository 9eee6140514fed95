"""Starting the ranks of this machine, and starting them again after one ended: torch's elastic agent.

The agent is `torch.distributed.run`'s, with three differences. A first SIGINT or SIGTERM is handed to the
ranks, which stop after the same step, save and end; the agent itself would kill what has not ended after 30
seconds, and the ranks' loaders at once. An error that a rank has put into words is final: it would only
happen again. And only rank 0 writes to the console; what the others say is in a log.
"""

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import torch.distributed.elastic.rendezvous.registry as rendezvous_registry
from torch.distributed.elastic.agent.server import (
    RunResult,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
    RendezvousParameters,
)

from vicreg_fast.distributed.rank_report import LOG_VARIABLE, root_cause
from vicreg_fast.errors import RankError

SECONDS_TO_GATHER = 900
"""For which a node waits for the others."""
AGENT_SIGNALS = (signal.SIGHUP, signal.SIGQUIT)
"""On these the agent ends the ranks at once."""


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """What this machine starts, and what it meets."""

    ranks: int
    """On this machine."""
    nodes: int = 1
    endpoint: str | None = None
    """HOST:PORT where the nodes meet, of which HOST is one; None for one node, which meets nobody."""
    run_id: str = "vicreg-fast"
    max_restarts: int = 3


def launch(
    plan: LaunchPlan, command: Sequence[str], *, folder: Path, tell: Callable[[str], None]
) -> signal.Signals | None:
    """Runs `command` as each rank, in torchrun's environment, until all have ended well. Returns the signal
    on which they stopped, or None.

    `tell` is given one line before each restart. Logs go to `folder`/logs when a rank failed. Raises
    RankError, or what the rank itself raised in its words and with its exit code, when the run cannot go on;
    KeyboardInterrupt on a second SIGINT.
    """
    # Unless they are told otherwise, the ranks share the cores, as under torchrun.
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // plan.ranks)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(number.name for number in AGENT_SIGNALS)
    # A store for each start of the ranks: in one that the agent keeps for all, ranks would read the addresses
    # that those before them left there, and wait for them.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    logs = _Logs(Path(tempfile.mkdtemp(prefix="vicreg-fast-ranks-")), folder)
    with _AgentLog(logs.root / "agent.log"):
        try:
            return _run(plan, command, logs, tell)
        finally:
            logs.settle()


def _run(
    plan: LaunchPlan, command: Sequence[str], logs: "_Logs", tell: Callable[[str], None]
) -> signal.Signals | None:
    one_node = plan.endpoint is None
    on_loopback = one_node or (plan.endpoint or "").startswith(("localhost:", "127.0.0.1:"))
    try:
        rendezvous = rendezvous_registry.get_rendezvous_handler(
            RendezvousParameters(
                backend="c10d",
                endpoint=plan.endpoint or "localhost:0",
                run_id=uuid.uuid4().hex if one_node else plan.run_id,
                # Not fewer meanwhile: another number of ranks can only go on where an epoch begins.
                min_nodes=plan.nodes,
                max_nodes=plan.nodes,
                # The machine's own name need not lead to it; between machines it has to.
                local_addr="127.0.0.1" if on_loopback else None,
                timeout=SECONDS_TO_GATHER,
            )
        )
        agent = _Agent(plan, rendezvous, command, logs, tell)
    except RendezvousError as error:
        raise RankError(_in_words(error, plan)) from error
    left_by_signal = False
    with _Handlers(agent.on_signal):
        try:
            result = agent.run()
            if agent.last is None or result is None:
                raise RankError("this node is not needed: as many as --nodes says are there already")
            if result.is_failed():
                agent.give_up()
        except SignalException as error:
            left_by_signal = True
            if agent.asked == signal.SIGINT:
                raise KeyboardInterrupt from error
            raise RankError(f"ended by {error.sigval.name}, before the ranks could stop and save") from error
        except RendezvousError as error:
            raise RankError(_in_words(error, plan)) from error
        finally:
            # After a signal the other nodes may go on with another in this one's place.
            if not left_by_signal:
                rendezvous.shutdown()
    return agent.asked


class _Agent(LocalElasticAgent):
    """`asked` is the first SIGINT or SIGTERM, `last` the last look at the ranks."""

    def __init__(
        self,
        plan: LaunchPlan,
        rendezvous: Any,
        command: Sequence[str],
        logs: "_Logs",
        tell: Callable[[str], None],
    ) -> None:
        spec = WorkerSpec(
            role="rank",
            local_world_size=plan.ranks,
            entrypoint=command[0],
            args=tuple(word.replace("$", "$$") for word in command[1:]),  # it fills in ${local_rank}
            rdzv_handler=rendezvous,
            max_restarts=plan.max_restarts,
            monitor_interval=0.1,
            local_addr="127.0.0.1" if plan.endpoint is None else None,
        )
        super().__init__(spec, logs_specs=logs)
        self.asked: signal.Signals | None = None
        self.last: RunResult | None = None
        self._plan, self._logs, self._tell = plan, logs, tell

    def on_signal(self, number: signal.Signals) -> None:
        group = self.get_worker_group()
        again = self.asked is not None
        self.asked = self.asked or number
        if (again and number == signal.SIGINT) or group.state != WorkerState.HEALTHY:
            raise SignalException(number.name, sigval=number)
        for worker in group.workers:
            # To the rank itself and not to its group: its loader must go on until it has saved.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.id, number)

    def give_up(self) -> NoReturn:
        """Raises what ended the run."""
        assert self.last is not None
        report = root_cause(self.last.failures.items())
        if report.final:
            raise report.error()
        if self.asked is not None:
            raise SignalException(self.asked.name, sigval=self.asked)
        restarts = self._plan.max_restarts - self._remaining_restarts
        after = f" after {restarts} restart{'s' * (restarts != 1)}" if restarts else ""
        where = self._logs.keep()
        raise RankError(f"{report.what_happened}{after}; the ranks' logs are in {where}")

    def _end_what_ranks_started(self) -> None:
        """Loaders of a killed rank live on for seconds, and hold what it had locked. Each rank is the leader
        of a process group of its own."""
        for worker in self.get_worker_group().workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.id, signal.SIGKILL)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        self.last = super()._monitor_workers(worker_group)
        return self.last

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        assert self.last is not None
        if self.last.is_failed():
            report = root_cause(self.last.failures.items())
            self._end_what_ranks_started()
            if report.final or self.asked is not None:
                self.give_up()
            self._logs.keep()
            made = self._plan.max_restarts - self._remaining_restarts
            self._tell(
                f"{report.what_happened}; starting all ranks again ({made} of {self._plan.max_restarts})"
            )
        else:
            self._tell("a node joined; starting all ranks again")
        super()._restart_workers(worker_group)


class _Logs(LogsSpecs):
    """Where each start of the ranks leaves their logs and reports: start-N/rank-R.log and .json, in a
    temporary folder that goes to the run's own when there is a failure to look into."""

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__(log_dir=str(root))
        self.root = root
        self._final = folder / "logs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
        self._kept = False

    @property
    def root_log_dir(self) -> str:
        return str(self.root)

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        stdouts, stderrs, reports = {}, {}, {}
        for local_rank, env in envs.items():
            start = self.root / f"start-{env['TORCHELASTIC_RESTART_COUNT']}"
            start.mkdir(exist_ok=True)
            log, report = start / f"rank-{env['RANK']}.log", start / f"rank-{env['RANK']}.json"
            report.unlink(missing_ok=True)  # of a start that a joining node cut short, which is not counted
            first = env["RANK"] == "0"
            stdouts[local_rank] = "" if first else os.devnull  # "" is the console
            stderrs[local_rank] = "" if first else str(log)
            reports[local_rank] = str(report)
            env[LOG_VARIABLE] = str(log)
            env["TORCHELASTIC_ERROR_FILE"] = str(report)
        return LogsDest(stdouts=stdouts, stderrs=stderrs, error_files=reports)

    def keep(self) -> Path:
        """Says that the logs are worth keeping, and where they will be."""
        self._kept = True
        return self._final if (self._final.parent.parent / "recipe.toml").exists() else self.root

    def settle(self) -> None:
        if not self._kept:
            shutil.rmtree(self.root, ignore_errors=True)
        elif self.keep() == self._final:
            try:
                self._final.parent.mkdir(exist_ok=True)
                shutil.move(self.root, self._final)
            except OSError as error:
                logging.getLogger(__name__).warning("logs stay in %s: %s", self.root, error)


class _AgentLog:
    """The agent's own messages go to a file, not to the console."""

    def __init__(self, path: Path) -> None:
        self._logger = logging.getLogger("torch.distributed.elastic")
        self._handler = logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def __enter__(self) -> None:
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.propagate = self._propagated
        self._handler.close()


class _Handlers:
    """SIGINT and SIGTERM call `handle` within the block. What the agent sets is put back, too."""

    def __init__(self, handle: Callable[[signal.Signals], None]) -> None:
        self._handle = handle
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        ours = (signal.SIGINT, signal.SIGTERM)
        self._previous = {number: signal.getsignal(number) for number in (*ours, *AGENT_SIGNALS)}
        for number in ours:
            signal.signal(number, lambda received, _: self._handle(signal.Signals(received)))

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def _in_words(error: RendezvousError, plan: LaunchPlan) -> str:
    if isinstance(error, RendezvousClosedError):
        return "another node ended the run; its own output says why"
    if isinstance(error, RendezvousConnectionError):
        return (
            f"--rdzv-endpoint {plan.endpoint}: cannot be reached; name one of the nodes and a port that is "
            "free there, and start that node too"
        )
    return f"the nodes did not meet at {plan.endpoint} within {SECONDS_TO_GATHER} s ({error})"


__all__ = ["LaunchPlan", "launch"]
