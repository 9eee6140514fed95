"""Where the time of a step went, from a trace that `--trace` wrote. Needs no torch.

The host's time is the time of the thread that runs the steps. Each moment of a step belongs to the innermost
of the ranges around it, or to "outside", so the shares of a step add up to 1. On a GPU the host only queues
work, and what the device did is told apart: over the traced steps, from the start of the first to the end of
the last, a moment is compute if a kernel ran, communication if only NCCL's did, a copy if only the copy
engines were busy, and idle otherwise.

The trace is Chrome's trace event format as torch.profiler writes it: complete events ("ph": "X") with `ts`
and `dur` in microseconds.
"""

import gzip
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vicreg_fast.errors import RecordError

PHASES = ("pipeline", "forward", "backward", "optimizer")
"""The ranges of a step, by the names that the loop and the step give them."""
OUTSIDE = "outside"

_STEP = re.compile(r"ProfilerStep#(\d+)")
_COPIES = ("gpu_memcpy", "gpu_memset")

Found = TypeVar("Found")
Interval = tuple[float, float]
"""Start and end, in microseconds."""


@dataclass(frozen=True, kw_only=True)
class TracedStep:
    number: int
    """Step of the run, counted from 1."""
    seconds: float
    phases: Mapping[str, float]
    """Seconds of each of PHASES and of "outside"; they add up to `seconds`."""


@dataclass(frozen=True, kw_only=True)
class DeviceTime:
    """What the GPU did over the traced steps, in seconds. The first four add up to `seconds`."""

    compute: float
    communication: float
    """NCCL's kernels while no other kernel ran: what the exchange adds to the step."""
    copies: float
    """Copies and fills while no kernel ran."""
    idle: float
    seconds: float
    communication_hidden: float
    """NCCL's kernels while others ran."""


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """All calls of one kernel, or of one kind of copy."""

    name: str
    calls: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class KernelTimes:
    """What a GPU did, from the first kernel's start to the last one's end."""

    kernels: tuple[KernelTime, ...]
    """The longest first."""
    busy: float
    """Seconds in which any ran."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TraceSummary:
    steps: tuple[TracedStep, ...]
    device: DeviceTime | None
    """None where no kernel ran on a GPU."""

    @property
    def seconds(self) -> float:
        """Of a step, on average."""
        return sum(step.seconds for step in self.steps) / len(self.steps)

    def share(self, phase: str) -> float:
        """Of the steps' time, from 0 to 1."""
        return sum(step.phases[phase] for step in self.steps) / sum(step.seconds for step in self.steps)

    def table(self) -> str:
        """The summary in lines of words and numbers."""
        first, last = self.steps[0].number, self.steps[-1].number
        lines = [f"steps {first} to {last}: {1e3 * self.seconds:.1f} ms each"]
        for phase in (*PHASES, OUTSIDE):
            lines.append(
                f"  {phase:<14}{self.share(phase):6.1%}{1e3 * self.share(phase) * self.seconds:10.1f} ms"
            )
        if self.device is not None:
            device = self.device
            if self.share("forward") == 0:
                lines.append("  the step is a CUDA graph, whose start and what waits for it are outside")
            lines.append("the GPU over these steps")
            for name in ("compute", "communication", "copies", "idle"):
                lines.append(f"  {name:<14}{getattr(device, name) / device.seconds:6.1%}")
            lines.append(
                f"  communication hidden behind compute: {device.communication_hidden / device.seconds:.1%}"
            )
        return "\n".join(lines)


def summarize_trace(file: Path) -> TraceSummary:
    """The summary of a `.pt.trace.json` or `.pt.trace.json.gz` file.

    A step in which none of the ranges began, such as the rest of a session that ended, is left out. Raises
    RecordError where the file cannot be read or holds no step.
    """
    return _read(file, _summary)


def kernel_times(file: Path) -> KernelTimes | None:
    """The kernels and copies in a file as `summarize_trace` takes, whatever ran them; None where none did.
    Raises RecordError where the file cannot be read."""
    return _read(file, _kernel_times)


def _read(file: Path, read: Callable[[list[dict[str, Any]], Path], Found]) -> Found:
    """What is read of the complete events. Raises RecordError where the file cannot be."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            events = json.load(stream)["traceEvents"]
        return read([event for event in events if event.get("ph") == "X"], file)
    except OSError as error:
        raise RecordError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{file}: is not a whole trace of torch.profiler; trace anew with --trace"
        ) from error


def _kernel_times(events: list[dict[str, Any]], _: Path) -> KernelTimes | None:
    spans: dict[str, list[Interval]] = {}
    for event in events:
        if event.get("cat") in ("kernel", *_COPIES):
            spans.setdefault(event["name"], []).append(_interval(event))
    if not spans:
        return None
    every = [span for found in spans.values() for span in found]
    window = (min(start for start, _ in every), max(end for _, end in every))
    kernels = (
        KernelTime(name=name, calls=len(found), seconds=sum(end - start for start, end in found) / 1e6)
        for name, found in spans.items()
    )
    return KernelTimes(
        kernels=tuple(sorted(kernels, key=lambda kernel: -kernel.seconds)),
        busy=_covered(every, window) / 1e6,
        seconds=(window[1] - window[0]) / 1e6,
    )


def _summary(events: list[dict[str, Any]], file: Path) -> TraceSummary:
    annotations = [event for event in events if event.get("cat") == "user_annotation"]
    steps = []
    for event in sorted(annotations, key=lambda event: float(event["ts"])):
        match = _STEP.fullmatch(event["name"])
        if match is None:
            continue
        ranges = [
            (other["name"], _interval(other))
            for other in annotations
            if other["name"] in PHASES and (other["pid"], other["tid"]) == (event["pid"], event["tid"])
        ]
        window = _interval(event)
        phases = _innermost(ranges, window)
        if set(phases) != {OUTSIDE}:
            steps.append((window, _traced(int(match[1]), window, phases)))
    if not steps:
        raise RecordError(f"{file}: holds no step with a range named {', '.join(PHASES)}")
    window = (steps[0][0][0], steps[-1][0][1])
    return TraceSummary(steps=tuple(step for _, step in steps), device=_device_time(events, window))


def _traced(number: int, window: Interval, phases: Mapping[str, float]) -> TracedStep:
    return TracedStep(
        number=number,
        seconds=(window[1] - window[0]) / 1e6,
        phases={phase: phases.get(phase, 0.0) / 1e6 for phase in (*PHASES, OUTSIDE)},
    )


def _innermost(ranges: Iterable[tuple[str, Interval]], window: Interval) -> dict[str, float]:
    """Microseconds of the window by the name of the range that began last of those around each moment."""
    clipped = [(name, *_clip(span, window)) for name, span in ranges]
    clipped = [(name, start, end) for name, start, end in clipped if start < end]
    edges = sorted({*window, *(edge for _, start, end in clipped for edge in (start, end))})
    total: dict[str, float] = {}
    for left, right in itertools.pairwise(edges):
        around = [(start, -end, name) for name, start, end in clipped if start <= left and right <= end]
        name = max(around)[2] if around else OUTSIDE
        total[name] = total.get(name, 0.0) + right - left
    return total


def _device_time(events: Iterable[dict[str, Any]], window: Interval) -> DeviceTime | None:
    kernels: list[Interval] = []
    exchanges: list[Interval] = []
    copies: list[Interval] = []
    for event in events:
        if event.get("cat") == "kernel":
            (exchanges if event["name"].lower().startswith("nccl") else kernels).append(_interval(event))
        elif event.get("cat") in _COPIES:
            copies.append(_interval(event))
    if not kernels and not exchanges:
        return None
    compute = _covered(kernels, window)
    busy = _covered([*kernels, *exchanges], window)
    active = _covered([*kernels, *exchanges, *copies], window)
    length = window[1] - window[0]
    return DeviceTime(
        compute=compute / 1e6,
        communication=(busy - compute) / 1e6,
        copies=(active - busy) / 1e6,
        idle=(length - active) / 1e6,
        seconds=length / 1e6,
        communication_hidden=(_covered(exchanges, window) - (busy - compute)) / 1e6,
    )


def _covered(spans: Iterable[Interval], window: Interval) -> float:
    return sum(end - start for start, end in _union(_clip(span, window) for span in spans))


def _union(spans: Iterable[Interval]) -> Iterator[Interval]:
    """The same moments without overlaps."""
    current: Interval | None = None
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if current is not None and start <= current[1]:
            current = (current[0], max(current[1], end))
            continue
        if current is not None:
            yield current
        current = (start, end)
    if current is not None:
        yield current


def _interval(event: Mapping[str, Any]) -> Interval:
    start = float(event["ts"])
    return start, start + float(event["dur"])


def _clip(span: Interval, window: Interval) -> Interval:
    return max(span[0], window[0]), min(span[1], window[1])
