"""What the launcher does with ranks that end, crash, say what is wrong, or are told to stop. These ranks are
shell scripts: they start at once."""

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vicreg_fast.distributed import rank_report
from vicreg_fast.distributed.environment import read_environment
from vicreg_fast.distributed.launch import LaunchPlan, launch
from vicreg_fast.distributed.rank_report import RankReport, reporting_to_the_launcher, root_cause
from vicreg_fast.errors import RankError, UsageError, VICRegFastError

# Of files to which torch's agent redirects ranks, and which it leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


class Launched:
    """Runs of `sh -c SCRIPT` as two ranks; `told` is what the launcher said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[str] = []
        (folder / "recipe.toml").touch()  # a run's own folder

    def __call__(self, script: str, **plan: int | str) -> signal.Signals | None:
        command = ["/bin/sh", "-c", f"cd '{self.folder}'; {script}"]
        options: dict[str, int | str] = {"ranks": 2, "max_restarts": 2} | plan
        return launch(
            LaunchPlan(**options),  # type: ignore[arg-type]
            command,
            folder=self.folder,
            tell=self.told.append,
        )

    def logs(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.glob("logs/*/start-0/*.log")}


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launched]:
    for name in ("OMP_NUM_THREADS", "TORCH_CPP_LOG_LEVEL", "TORCHELASTIC_SIGNALS_TO_HANDLE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "run"
    folder.mkdir()
    yield Launched(folder)
    gc.collect()  # while the warnings are ignored


def test_ranks_have_torchruns_environment_and_only_rank_0_the_console(
    launched: Launched, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert launched("env > env.$RANK; echo '$$ ${local_rank}' > word; echo out $RANK; echo err >&2") is None
    for rank in (0, 1):
        lines = (launched.folder / f"env.{rank}").read_text().splitlines()
        found = read_environment(dict(line.split("=", 1) for line in lines if "=" in line))
        assert found is not None
        assert (found.rank, found.local_rank, found.world_size, found.local_world_size) == (rank, rank, 2, 2)
        assert (found.source, found.restarts, found.max_restarts) == ("torchrun", 0, 2)
        assert found.address == "127.0.0.1"
    assert capfd.readouterr() == ("out 0\n", "err\n")
    assert (launched.folder / "word").read_text() == "$$ ${local_rank}\n"
    assert launched.told == []
    assert not (launched.folder / "logs").exists()
    assert {entry.name for entry in launched.folder.parent.iterdir()} == {"run"}  # nothing is left in TMPDIR
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_crashed_rank_is_started_again_and_its_log_is_kept(launched: Launched) -> None:
    killed = "[ $RANK$TORCHELASTIC_RESTART_COUNT = 10 ] && { echo about to die >&2; kill -9 $$; }"
    assert launched(f"{killed}; echo $TORCHELASTIC_RESTART_COUNT > start.$RANK; true") is None
    assert launched.told == ["rank 1 was killed by SIGKILL; starting all ranks again (1 of 2)"]
    assert (launched.folder / "start.1").read_text() == "1\n"
    assert launched.logs() == {"rank-1.log": "about to die\n"}


def test_what_a_killed_rank_started_is_ended_before_the_next_start(launched: Launched) -> None:
    """Loaders hold what their rank had locked."""
    loader = "sleep 600 & echo $! > loader; kill -9 $$"
    # Nobody may have asked yet how it ended, and a killed process needs a moment on a busy machine.
    gone = "case $(ps -o stat= -p $(cat loader)) in ''|Z*) echo gone > found; break;; esac"
    seen = f"for look in $(seq 300); do {gone}; sleep 0.1; done"
    script = (
        f"if [ $RANK = 1 ]; then if [ $TORCHELASTIC_RESTART_COUNT = 0 ]; then {loader}; else {seen}; fi; fi"
    )
    assert launched(script) is None
    assert (launched.folder / "found").read_text() == "gone\n"


def test_the_last_restart_is_the_last(launched: Launched) -> None:
    with pytest.raises(RankError) as caught:
        launched("if [ $RANK = 1 ]; then exit 3; else exec sleep 600; fi", max_restarts=1)
    (logs,) = launched.folder.glob("logs/*")
    assert (
        str(caught.value) == f"rank 1 ended with exit code 3 after 1 restart; the ranks' logs are in {logs}"
    )
    assert (logs / "agent.log").exists()
    assert launched.told == ["rank 1 ended with exit code 3; starting all ranks again (1 of 1)"]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an exception in this process is reported, as in a rank."""
    monkeypatch.setenv(rank_report.LOG_VARIABLE, str(tmp_path / "rank.log"))
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "rank.json"))
    monkeypatch.setattr(rank_report, "_end_with_the_launcher", lambda: None)
    return tmp_path / "rank.json"


def reported(error: BaseException) -> int:
    with pytest.raises(SystemExit) as ended, reporting_to_the_launcher():
        raise error
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_what_a_rank_says_is_final(launched: Launched, report: Path) -> None:
    assert reported(UsageError("batch_size = 3: no")) == 2
    with pytest.raises(VICRegFastError) as caught:
        launched(
            "if [ $RANK = 1 ]; then while [ ! -s starts ]; do sleep 0.02; done; "
            f"cp {report} $TORCHELASTIC_ERROR_FILE; exit 2; fi; echo $RANK >> starts; exec sleep 600"
        )
    assert str(caught.value) == "rank 1: batch_size = 3: no"
    assert caught.value.exit_code == 2
    assert launched.told == []
    assert (launched.folder / "starts").read_text() == "0\n"
    assert not (launched.folder / "logs").exists()


def test_a_report_is_one_that_torchs_agent_reads(report: Path) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    assert reported(ValueError("two\nlines")) == 1
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file=str(report))
    assert failure.message["message"] == "ValueError: two lines"
    assert "test_launch.py" in failure.message["extraInfo"]["py_callstack"]
    assert "ValueError: two\nlines" in report.with_suffix(".log").read_text()
    assert reported(KeyboardInterrupt()) == 130


CRASH, KILL, AGENTS = {"exit": 1}, {"exit": -9}, {"exit": -15}
LOST = {"exit": 1, "error": RankError("by peer")}
FINAL = {"exit": 2, "error": UsageError("no")}


@pytest.mark.parametrize(
    ("ends", "cause"),
    [
        ([LOST, KILL], 1),
        ([LOST, CRASH], 1),
        ([AGENTS, CRASH], 1),
        ([AGENTS, LOST], 0),
        ([KILL, FINAL], 1),
        ([CRASH, CRASH], 0),
    ],
)
def test_the_cause_is_told_from_its_consequences(
    ends: list[dict[str, object]], cause: int, report: Path, tmp_path: Path
) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    failures = []
    for rank, end in enumerate(ends):
        file = tmp_path / f"{rank}.json"
        if isinstance(end.get("error"), VICRegFastError):
            reported(end["error"])  # type: ignore[arg-type]
            report.rename(file)
        failures.append((rank, ProcessFailure(rank, 1, int(str(end["exit"])), str(file))))
    found = root_cause(failures)
    assert found.rank == cause
    assert found.final == (ends[cause] is FINAL)


def test_a_torn_report_is_no_report(tmp_path: Path) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    file = tmp_path / "torn.json"
    failure = ProcessFailure(0, 1, 4, str(file))
    file.write_text(json.dumps({"message": "of another kind"}))
    assert root_cause([(0, failure)]) == RankReport(rank=0, exit_code=4)


def signal_when(number: signal.Signals, ready: Callable[[], bool]) -> threading.Thread:
    def send() -> None:
        until = time.monotonic() + 240
        while not ready():
            if time.monotonic() > until:
                return
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


SAVES = (
    "trap 'sleep 0.3; echo saved > saved.$RANK; kill $!; exit 0' {name}; touch ready.$RANK; sleep 600 & wait"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_and_waited_for(number: signal.Signals, launched: Launched) -> None:
    script = f"{SAVES.format(name=number.name.removeprefix('SIG'))}"
    ready = "if [ $RANK = 1 ]; then while [ ! -e ready.0 ]; do sleep 0.02; done; fi; "
    thread = signal_when(number, (launched.folder / "ready.1").exists)
    assert launched(ready + script) == number
    thread.join()
    assert {path.name for path in launched.folder.glob("saved.*")} == {"saved.0", "saved.1"}
    assert launched.told == []


def test_a_signal_while_nodes_wait_for_each_other_ends_the_wait(launched: Launched) -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = signal_when(signal.SIGINT, lambda: signal.getsignal(signal.SIGINT) is not before)
    with pytest.raises(KeyboardInterrupt):
        launched("true", nodes=2, endpoint="127.0.0.1:0")
    thread.join()


def test_ranks_that_a_signal_kills_are_not_started_again(launched: Launched) -> None:
    """They had not come to where a signal means to save."""
    thread = signal_when(signal.SIGINT, (launched.folder / "ready").exists)
    with pytest.raises(KeyboardInterrupt):
        launched("[ $RANK = 1 ] && touch ready; exec sleep 600")
    thread.join()
    assert launched.told == []
