"""`bench --trace`: a trace of a few steps of each scenario, for the usual viewers, and its summary."""

import re
from collections.abc import Callable
from pathlib import Path

import torch

from bench.limits_record import TraceShares
from vicreg_fast.training.trace import StepTrace
from vicreg_fast.training.trace_summary import OUTSIDE, PHASES, TraceSummary, summarize_trace

FOLDER = "traces"
FIRST_STEP = 3
"""The first that the profiler can record; whoever calls has brought the steps into their steady state."""
STEPS = 5


def record_trace(
    scenario: str, step: Callable[[], object], device: torch.device, folder: Path, *, steps: int = STEPS
) -> TraceShares:
    """Calls `step` a few times, records the last `steps` of them and sums them up.

    `step` has the ranges of `trace_summary.PHASES` around its parts. The trace is
    `folder`/traces/SCENARIO/rank_0.3.pt.trace.json.gz: a run of its own to torch-tb-profiler, and a folder of
    its own to HTA. Raises CheckpointError when it cannot be written.
    """
    trace = StepTrace(folder / FOLDER / folder_name(scenario), device, first_step=FIRST_STEP, steps=steps)
    trace.start()
    try:
        for _ in range(FIRST_STEP + steps - 1):
            step()
            trace.step()
    finally:
        trace.stop()
    assert trace.file is not None
    return trace_shares(scenario, summarize_trace(trace.file), trace.file.relative_to(folder).as_posix())


def trace_shares(scenario: str, summary: TraceSummary, file: str) -> TraceShares:
    """The summary as a record."""
    device = summary.device
    return TraceShares(
        scenario=scenario,
        file=file,
        steps=len(summary.steps),
        step_seconds=summary.seconds,
        host={phase: summary.share(phase) for phase in (*PHASES, OUTSIDE)},
        device_work=None
        if device is None
        else {
            name: getattr(device, name) / device.seconds
            for name in ("compute", "communication", "copies", "idle")
        },
        communication_hidden=None if device is None else device.communication_hidden / device.seconds,
    )


def folder_name(scenario: str) -> str:
    """The scenario's name with what a file system or a shell could stumble over replaced."""
    return re.sub(r"[^\w.+=-]", "_", scenario).lstrip(".") or "scenario"
