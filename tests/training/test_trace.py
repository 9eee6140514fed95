"""`--trace` and its summary: synthetic traces by hand, and real ones."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import record_function

from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import load_manifest
from tests.training.runs import TINY
from vicreg_fast.commands.observers import Observers
from vicreg_fast.errors import CheckpointError, RecordError
from vicreg_fast.training.pretrain import pretrain
from vicreg_fast.training.run_folder import RunFolder
from vicreg_fast.training.trace import StepTrace
from vicreg_fast.training.trace_summary import OUTSIDE, PHASES, TraceSummary, summarize_trace

CPU = torch.device("cpu")


def event(name: str, start: float, end: float, cat: str = "user_annotation", tid: int = 1) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": tid, "ts": start, "dur": end - start}


@pytest.fixture
def summarized(tmp_path: Path) -> Callable[..., TraceSummary]:
    def summarize(*events: dict[str, Any]) -> TraceSummary:
        file = tmp_path / "rank_0.10.pt.trace.json.gz"
        with gzip.open(file, "wt") as stream:
            json.dump({"traceEvents": [{"ph": "M", "name": "process_name", "pid": 7}, *events]}, stream)
        return summarize_trace(file)

    return summarize


def milliseconds(summary: TraceSummary) -> list[dict[str, float]]:
    return [
        {name: round(1e3 * value, 6) for name, value in step.phases.items() if value}
        for step in summary.steps
    ]


def test_a_step_is_divided_among_its_ranges(summarized: Callable[..., TraceSummary]) -> None:
    summary = summarized(
        event("ProfilerStep#10", 0, 10_000),
        event("pipeline", 1_000, 2_000),
        event("forward", 2_000, 5_000),
        event("aten::conv2d", 2_100, 4_900, cat="cpu_op"),
        event("backward", 5_000, 9_000),
        event("optimizer", 9_000, 9_500),
        event("ProfilerStep#11", 10_000, 16_000),
        event("pipeline", 10_000, 15_000),
        event("forward", 15_000, 16_000),
    )
    assert [step.number for step in summary.steps] == [10, 11]
    assert milliseconds(summary) == [
        {"pipeline": 1, "forward": 3, "backward": 4, "optimizer": 0.5, OUTSIDE: 1.5},
        {"pipeline": 5, "forward": 1},
    ]
    assert summary.seconds == pytest.approx(0.008)
    assert summary.share("pipeline") == pytest.approx(6 / 16)
    assert summary.share(OUTSIDE) == pytest.approx(1.5 / 16)
    assert summary.device is None


def test_nested_and_overlapping_ranges_count_once_to_the_innermost(
    summarized: Callable[..., TraceSummary],
) -> None:
    summary = summarized(
        event("ProfilerStep#3", 0, 10_000),
        event("forward", 0, 6_000),
        event("pipeline", 1_000, 2_000),  # nested
        event("backward", 5_000, 8_000),  # overlaps the forward's end
        event("forward", 7_000, 7_500),  # a checkpointed forward, say, inside the backward
        event("optimizer", 9_500, 12_000),  # goes on after the step
    )
    assert milliseconds(summary) == [
        {"forward": 4.5, "pipeline": 1, "backward": 2.5, "optimizer": 0.5, OUTSIDE: 1.5}
    ]


def test_ranges_of_other_threads_and_other_names_do_not_count(
    summarized: Callable[..., TraceSummary],
) -> None:
    summary = summarized(
        event("ProfilerStep#3", 0, 1_000),
        event("forward", 0, 400),
        event("backward", 0, 1_000, tid=2),
        event("optimizer", 0, 1_000, cat="gpu_user_annotation"),
        event("Optimizer.step#AdamW.step", 400, 900),
    )
    assert milliseconds(summary) == [{"forward": 0.4, OUTSIDE: 0.6}]


def test_a_step_without_a_range_is_left_out(summarized: Callable[..., TraceSummary]) -> None:
    summary = summarized(
        event("ProfilerStep#3", 0, 1_000), event("forward", 0, 400), event("ProfilerStep#4", 1_000, 90_000)
    )
    assert [step.number for step in summary.steps] == [3]


def test_the_gpu_is_told_apart(summarized: Callable[..., TraceSummary]) -> None:
    summary = summarized(
        event("ProfilerStep#3", 0, 10_000),
        event("forward", 0, 400),
        event("gemm", -1_000, 2_000, cat="kernel", tid=7),  # begun before the first step
        event("relu", 1_000, 3_000, cat="kernel", tid=8),  # on another stream, at the same time
        event("ncclDevKernel_AllGather", 2_500, 5_000, cat="kernel", tid=9),
        event("Memcpy HtoD", 4_500, 6_000, cat="gpu_memcpy", tid=10),
        event("Memset", 7_000, 7_500, cat="gpu_memset", tid=7),
    )
    device = summary.device
    assert device is not None
    assert device.compute == pytest.approx(3e-3)
    assert device.communication == pytest.approx(2e-3)
    assert device.communication_hidden == pytest.approx(0.5e-3)
    assert device.copies == pytest.approx(1.5e-3)
    assert device.idle == pytest.approx(3.5e-3)
    assert device.seconds == pytest.approx(10e-3)
    words = summary.table()
    for line in (r"steps 3 to 3: 10\.0 ms each", r"forward +4\.0%", r"outside +96\.0%", r"idle +35\.0%"):
        assert re.search(line, words), words


def test_a_captured_step_has_no_ranges_and_the_table_says_why(
    summarized: Callable[..., TraceSummary],
) -> None:
    events = [event("ProfilerStep#3", 0, 1_000), event("pipeline", 0, 100)]
    on_gpu = [*events, event("gemm", 100, 900, cat="kernel", tid=7)]
    assert "CUDA graph" in summarized(*on_gpu).table()
    assert "CUDA graph" not in summarized(*on_gpu, event("forward", 100, 200)).table()
    assert "CUDA graph" not in summarized(*events).table()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"cannot be read \(No such file or directory\)"),
        (b"", "is not a whole trace"),
        (b"text", r"cannot be read \(Not a gzipped file"),
        (gzip.compress(b"{"), "is not a whole trace"),
        (gzip.compress(b"[]"), "is not a whole trace"),
        (gzip.compress(b'{"traceEvents": []}')[:-12], "is not a whole trace"),
        (gzip.compress(b'{"traceEvents": []}'), "holds no step with a range named pipeline, forward"),
    ],
    # Not by the content: an archive says when it was made.
    ids=["missing", "empty", "text", "torn", "no trace", "torn archive", "no step"],
)
def test_what_is_no_trace_is_named(content: bytes | None, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "rank_0.pt.trace.json.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RecordError, match=f"^{re.escape(str(file))}: {reason}") as caught:
        summarize_trace(file)
    assert "\n" not in str(caught.value)


def traced_session(trace: StepTrace, steps: int, from_step: int = 0) -> None:
    x = torch.randn(64, 64, device=trace.device)
    trace.start(from_step)
    for _ in range(steps):
        for phase in PHASES:
            with record_function(phase):
                x @ x
        trace.step()
    trace.stop()


@pytest.mark.parametrize(
    ("steps", "from_step", "recorded", "name"),
    [
        (20, 0, [4, 5, 6], "rank_0.4.pt.trace.json.gz"),
        (20, 100, [104, 105, 106], "rank_0.104.pt.trace.json.gz"),
        (5, 0, [4, 5], "rank_0.4.pt.trace.json.gz"),  # the session ended first
        (3, 0, None, None),
        (2, 0, None, None),
        (0, 0, None, None),
    ],
)
def test_the_steps_asked_for_are_recorded_and_no_others(
    steps: int, from_step: int, recorded: list[int] | None, name: str | None, tmp_path: Path
) -> None:
    trace = StepTrace(tmp_path / "trace", CPU, first_step=4, steps=3)
    traced_session(trace, steps, from_step)
    if recorded is None:
        assert trace.file is None
        assert not (tmp_path / "trace").exists()
        return
    assert trace.file == tmp_path / "trace" / str(name)
    assert list((tmp_path / "trace").iterdir()) == [trace.file]
    summary = summarize_trace(trace.file)
    assert [step.number for step in summary.steps] == recorded
    assert all(summary.share(phase) > 0 for phase in PHASES)


def test_a_trace_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("a file")
    with pytest.raises(CheckpointError, match=r"rank_0\.3\.pt\.trace\.json\.gz: cannot be written \(.+\)"):
        traced_session(StepTrace(tmp_path / "trace", CPU, first_step=3, steps=1), 4)


def test_a_first_step_too_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="first_step is at least 3"):
        StepTrace(tmp_path, CPU, first_step=2)


@pytest.mark.gpu
def test_what_a_gpu_did_is_recorded(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    trace = StepTrace(tmp_path, torch.device("cuda"), first_step=4, steps=3)
    traced_session(trace, 10)
    assert trace.file is not None
    device = summarize_trace(trace.file).device
    assert device is not None
    assert device.compute > 0
    assert device.idle < device.seconds


@pytest.fixture(scope="module")
def traced_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of steps 4 to 8 of a run of one epoch, of which the fifth is logged."""
    root = tmp_path_factory.mktemp("traced")
    manifest = load_manifest(make_builtin_set(root / "set", train=72, test=1, size=(40, 36)))
    recipe = TINY.replace(pipeline="dali", max_steps=9, log_every_steps=5)
    trace = StepTrace(root / "run" / "trace", CPU, first_step=4, steps=5)
    observers = Observers(root / "run", CPU, rank=0, tensorboard=False, trace=False)
    observers.trace = trace
    with RunFolder(root / "run", recipe) as folder, observers:
        pretrain(recipe, manifest, folder, CPU, on_start=observers.start, on_step=observers.update)
    assert trace.file is not None
    return trace.file


def complete_events(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file) as stream:
        return [event for event in json.load(stream)["traceEvents"] if event["ph"] == "X"]


def test_pretrain_does_its_work_in_the_four_phases(traced_run: Path) -> None:
    """In this order, and between them only what a step hands over; a step that logs reads the numbers too."""
    summary = summarize_trace(traced_run)
    assert [step.number for step in summary.steps] == [4, 5, 6, 7, 8]
    assert all(summary.share(phase) > 0 for phase in PHASES), summary.table()
    events = sorted(complete_events(traced_run), key=lambda event: event["ts"])
    operators = [event for event in events if event.get("cat") == "cpu_op"]
    for step in events:
        if not step["name"].startswith("ProfilerStep#"):
            continue
        phases = [event for event in events if event["name"] in PHASES and within(event, step)]
        assert [event["name"] for event in phases] == list(PHASES)
        mine = [event for event in operators if within(event, step)]
        outside = [event["name"] for event in mine if not any(within(event, phase) for phase in phases)]
        if step["name"] == "ProfilerStep#5":
            assert outside.count("aten::item") == 1, "the numbers are read at once"
            assert len(outside) < 40, outside
        else:
            assert {name.removeprefix("aten::") for name in outside} <= {"detach"}
        assert len(mine) > 1000


def within(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(other["ts"] <= one["ts"] and one["ts"] + one["dur"] <= other["ts"] + other["dur"])


def test_torch_tb_profiler_loads_a_trace(traced_run: Path) -> None:
    pytest.importorskip("torch_tb_profiler", reason="needs the package torch-tb-profiler (extra: profile)")
    from torch_tb_profiler.consts import WORKER_PATTERN
    from torch_tb_profiler.profiler.data import RunProfileData
    from torch_tb_profiler.profiler.run_generator import RunGenerator

    match = WORKER_PATTERN.match(traced_run.name)
    assert match is not None
    assert match.groups() == ("rank_0", ".4")
    data = RunProfileData.parse("rank_0", 1, str(traced_run), str(traced_run.parent))
    assert [str(name) for name in data.steps_names] == ["4", "5", "6", "7", "8"]
    operators = {operator.name for operator in data.op_list_groupby_name}
    assert {"aten::conv2d", "aten::native_batch_norm"} <= operators
    profile = RunGenerator("rank_0", 1, data).generate_run_profile()
    assert {view.name for view in profile.views} >= {"overall", "operator", "trace"}


def test_the_trace_is_chromes_format(traced_run: Path) -> None:
    """What Perfetto asks of a trace: see "Trace Event Format", complete events."""
    complete = complete_events(traced_run)
    assert len(complete) > 1000
    for entry in complete:
        assert isinstance(entry["name"], str)
        assert entry["dur"] >= 0
        assert {"ts", "pid", "tid"} <= entry.keys()
