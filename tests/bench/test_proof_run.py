"""Budget, limits, interrupts, kills and resuming of a proof, with parts that do next to nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.proof_parts import Command, Part
from bench.proof_record import ProofPart, ProofPlan
from bench.proof_run import PartEnd, PartJob, ProofFolder, ProofRun, how_it_ended, last_complaint
from bench.record import Environment, RecordWriter, read_records
from tests.fork_servers import fork_server_with
from tests.processes import wait_for, wait_until_gone
from vicreg_fast.errors import RecordError, UsageError

HERE = Environment(processor="p", cores=1, memory_bytes=1, system="s", versions={"torch": "1"}, commit="a")


def part(name: str, does: str = "", **more: Any) -> Part:
    return Part(
        name=name, commands=(Command(text=f"vicreg-fast {does}".strip()),), **{"seconds": 1.0, **more}
    )


def act(job: PartJob) -> PartEnd:
    """What a fake part's process does: the word of its command."""
    does = job.part.commands[0].words[1] if len(job.part.commands[0].words) > 1 else ""
    print("vicreg-fast: something", flush=True)
    (job.folder / "seen").write_text("yes")
    if does == "fail":
        return PartEnd(code=4)
    if does == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "hang":
        try:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            (job.folder / "pid").write_text(str(child.pid))
            (job.folder / "pid").rename(job.folder / "child")
            time.sleep(600)
        finally:
            (job.folder / "cleaned").write_text("yes")
    return PartEnd(code=0, detail="a remark about /some/folder/file.txt")


@pytest.fixture(scope="module")
def context() -> Iterator[BaseContext]:
    with fork_server_with("bench.proof_run") as context:
        yield context


Prove = Callable[..., ProofRun]


@pytest.fixture
def prove(tmp_path: Path, context: BaseContext) -> Prove:
    def call(
        *parts: Part,
        asked: tuple[str, ...] = (),
        budget: float = 100.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> ProofRun:
        with ProofFolder(tmp_path / "proof") as folder:
            writer = RecordWriter(folder.file)
            run = ProofRun(
                folder=folder,
                parts=parts,
                asked=asked,
                budget=budget,
                data=None,
                rehearsal=True,
                writer=writer,
                context=context,
                main=act,
                stop=stop,
                show=lambda _: None,
                began=time.monotonic(),
            )
            writer.write(HERE)
            names = tuple(part.name for part in parts)
            writer.write(
                ProofPlan(device="p", rehearsal=True, budget_seconds=budget, parts=names, asked=names)
            )
            run.run()
            writer.close()
        return run

    return call


def ends(run: ProofRun) -> dict[str, str]:
    return {end.name: end.status for end in run.ends}


def test_each_part_leaves_a_record_and_a_folder(prove: Prove, tmp_path: Path) -> None:
    run = prove(part("loss"), part("dali", obstacle="DALI is not in /srv/here"), part("compare", "fail"))
    assert ends(run) == {"loss": "done", "dali": "missing", "compare": "failed"}
    recorded, problems = read_records(tmp_path / "proof" / "records.jsonl")
    assert problems == []
    loss, dali, compare = (record for record in recorded if isinstance(record, ProofPart))
    assert (loss.folder, loss.detail, loss.commands) == ("loss", "a remark about file.txt", ("vicreg-fast",))
    assert (dali.folder, dali.detail) == (None, "DALI is not in here")
    assert compare.detail == "something", "the last line of its log that is an error"
    assert (tmp_path / "proof" / "loss" / "log.txt").read_text() == "vicreg-fast: something\n"


def test_a_second_call_runs_what_is_not_done(prove: Prove, tmp_path: Path) -> None:
    prove(part("loss"), part("dali", "fail"), part("ladder", seconds=500.0))
    run = prove(part("loss"), part("dali"), part("ladder"))
    assert ends(run) == {"ladder": "done", "dali": "done"}, "what failed comes after what was not tried"
    assert [end.folder for end in run.ends] == ["ladder", "dali-2"]
    assert ends(prove(part("loss"), part("dali"), part("ladder"))) == {}
    again = prove(part("loss"), part("dali"), asked=("loss",))
    assert [(end.name, end.folder) for end in again.ends] == [("loss", "loss-2")]


def test_what_does_not_fit_into_the_budget_is_left_out_by_name(prove: Prove) -> None:
    run = prove(part("loss", seconds=50.0), part("compare", seconds=500.0), part("dali", seconds=2.0))
    assert ends(run) == {"loss": "done", "compare": "left-out", "dali": "done"}
    assert "thought to take 500 s" in run.ends[1].detail
    assert "of 100" in run.ends[1].detail


def test_a_part_over_its_limit_is_ended_with_all_it_started(
    prove: Prove, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which the limit is over as soon as it has begun."""
    folder = tmp_path / "proof" / "compare"
    clock = SimpleNamespace(monotonic=lambda: 240.5 * (folder / "child").exists())
    monkeypatch.setattr("bench.proof_process.time", clock)
    run = prove(part("compare", "hang"), part("loss"), budget=1000.0)
    assert ends(run) == {"compare": "cut", "loss": "done"}
    assert run.ends[0].detail == "it was ended after 240 s"
    assert (folder / "cleaned").exists(), "it could clean up"
    wait_until_gone(int((folder / "child").read_text()))


def test_an_interrupt_ends_the_part_and_the_call(prove: Prove, tmp_path: Path) -> None:
    child = tmp_path / "proof" / "compare" / "child"
    run = prove(part("compare", "hang"), part("loss"), stop=child.exists)
    assert ends(run) == {"compare": "cut"}
    assert run.ends[0].detail == "it was interrupted"


def test_a_process_that_is_killed_is_a_failure_in_words(prove: Prove) -> None:
    run = prove(part("compare", "crash"), part("loss"))
    assert ends(run) == {"compare": "failed", "loss": "done"}
    assert "killed by SIGKILL" in run.ends[0].detail
    assert how_it_ended(3) == "its process ended with exit code 3"


KILLED = """
import sys, time
from pathlib import Path
from bench.proof_process import PartProcess, fork_server
from bench.proof_run import PartJob
from tests.bench.test_proof_run import act, part
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    job = PartJob(part=part("compare", "hang"), folder=folder, data=None, rehearsal=True)
    process = PartProcess(fork_server(("bench.proof_run",)), act, job)
    process.wait(600, lambda: False, lambda: None)
"""


def test_a_killed_call_leaves_no_process_and_the_next_goes_on(prove: Prove, tmp_path: Path) -> None:
    script, folder = tmp_path / "killed.py", tmp_path / "proof" / "compare"
    script.write_text(KILLED)
    root = Path(__file__).parents[2]
    call = subprocess.Popen(
        [sys.executable, script, folder], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    wait_for(lambda: (folder / "child").exists() or call.poll() is not None, seconds=300)
    assert call.poll() is None
    call.kill()
    call.wait()
    wait_until_gone(int((folder / "child").read_text()))
    run = prove(part("compare"), part("loss"))
    assert [(end.name, end.status, end.folder) for end in run.ends] == [
        ("compare", "cut", "compare"),
        ("compare", "done", "compare-2"),
        ("loss", "done", "loss"),
    ]
    assert run.ends[0].detail == "the call that ran it was killed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpu": "NVIDIA L4"}, "another device (p; now NVIDIA L4)"),
        ({"commit": "b"}, "another commit (a; now b)"),
        ({"versions": {"torch": "2"}}, "another torch (1; now 2)"),
    ],
    ids=["device", "commit", "torch"],
)
def test_another_machine_is_refused(prove: Prove, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    prove(part("loss"))
    with ProofFolder(tmp_path / "proof") as folder:
        folder.require_same_machine(HERE)
        folder.require_same_mode(rehearsal=True)
        with pytest.raises(UsageError, match="--out") as refused:
            folder.require_same_machine(HERE.model_copy(update=change))
        assert words in str(refused.value)
        with pytest.raises(UsageError, match="another kind"):
            folder.require_same_mode(rehearsal=False)


def test_one_call_at_a_time_and_only_in_a_proofs_folder(tmp_path: Path) -> None:
    with (
        ProofFolder(tmp_path / "proof"),
        pytest.raises(RecordError, match="another `prove` is at work"),
        ProofFolder(tmp_path / "proof"),
    ):
        pass
    (tmp_path / "records.jsonl").write_text(HERE.model_dump_json() + "\n")
    with pytest.raises(RecordError, match="not of a proof"):
        ProofFolder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        ProofFolder(tmp_path / "file")


def test_the_log_of_a_part_says_what_went_wrong(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert last_complaint(log) == ""
    log.write_bytes(b"x\nvicreg-fast: first\nvicreg-fast: \xff last\nnot this\n")
    assert last_complaint(log) == "\ufffd last"
