"""`--trace`: torch.profiler over a few steps of a session, for Perfetto, TensorBoard and `trace_summary`."""

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vicreg_fast.errors import CheckpointError

if TYPE_CHECKING:
    from torch.profiler import profile

FIRST_STEP = 20
"""Of the session: by then kernels are chosen, the step is captured and the loader has filled its queue."""
STEPS = 5


class StepTrace:
    """Records steps `first_step` to `first_step + steps − 1` of a session, counted from 1.

    Call `start` before the first step, `step` after each, and `stop` at the end, which keeps what is there
    of a session that ended early; `file` is then the trace, or None where no whole step was recorded. While
    it records, a step takes longer than it would; before, some 40 µs of the host; after, nothing.

    The file is `folder`/rank_R.S.pt.trace.json.gz for rank R, where S is the first recorded step of the run:
    the name that torch-tb-profiler looks for, whose number between the dots it takes for a span of its own,
    so that a resumed run's traces lie beside the earlier ones. Raises CheckpointError when it cannot be
    written.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        *,
        rank: int = 0,
        first_step: int = FIRST_STEP,
        steps: int = STEPS,
    ) -> None:
        if first_step < 3:
            raise ValueError("the profiler needs a step to wait and one to warm up: first_step is at least 3")
        self.folder = folder
        self.device = device
        self.rank = rank
        self.first_step = first_step
        self.steps = steps
        self.file: Path | None = None
        self._from_step = 0
        self._done = 0
        self._profile: profile | None = None

    def start(self, from_step: int = 0) -> None:
        """from_step: steps that the run had done before this session."""
        from torch.profiler import ProfilerActivity, profile, schedule

        # Kineto writes its stages to stderr, and an error on each machine without a GPU.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
            # As torch.profiler does for inductor's CUDA graphs: CUPTI, torn down and begun anew, can crash
            # beside them.
            os.environ.setdefault("TEARDOWN_CUPTI", "0")
        self._from_step, self._done = from_step, 0
        number = from_step + 1
        self._profile = profile(
            activities=activities,
            # One step that warms the profiler up, and then the recorded ones, once.
            schedule=schedule(
                skip_first=number, wait=self.first_step - 2, warmup=1, active=self.steps, repeat=1
            ),
            on_trace_ready=self._write,
        )
        self._profile.step_num = number  # so that ProfilerStep#N in the trace is step N of the run
        self._profile.start()

    def step(self) -> None:
        if self._profile is None:
            return
        self._done += 1
        self._profile.step()
        if self._done == self.first_step - 1 and not _distributed():
            # torch writes the ranks into a trace only where there is a process group; HTA refuses a trace
            # without them.
            self._profile.add_metadata_json("distributedInfo", json.dumps({"rank": self.rank}))
        if self._done == self.first_step + self.steps - 1:
            self.stop()

    def stop(self) -> None:
        if self._profile is None:
            return
        finished, self._profile = self._profile, None
        finished.stop()

    def _write(self, recorded: "profile") -> None:
        if self._done < self.first_step:  # stopped within the first recorded step
            return
        number = self._from_step + self.first_step
        file = self.folder / f"rank_{self.rank}.{number}.pt.trace.json.gz"
        scratch = file.with_name(f".{file.name}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            recorded.export_chrome_trace(str(scratch))
            scratch.replace(file)
        except OSError as error:
            raise CheckpointError(
                f"{file}: cannot be written ({error.strerror}); leave --trace out, or free space"
            ) from error
        finally:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
        self.file = file


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
