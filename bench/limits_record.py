"""What a comparison leaves behind about limits: the work of a step, the energy of its rounds, and where a
traced step's time went. The ceilings beside them are `bench.loss_record.Ceiling`."""

from typing import Literal

from bench.record_base import Mode, RecordBase


class StepWork(RecordBase):
    """The products of one training step (one update of the weights) of a scenario, and the bytes it cannot do
    without.

    FLOPs are those of matrix products and convolutions, a multiplication and an addition two of them;
    normalisation, activations, pooling and the optimiser's arithmetic are not counted.
    """

    kind: Literal["step-work"] = "step-work"
    scenario: str
    device: str
    dtype: str
    """What the network's products run in, whose ceiling holds: `float32`, `tf32`, `bfloat16` or `float16`."""
    batch_size: int
    network_flops: int
    """Of both views, forward and backward, all micro-batches: the same for every scenario of a recipe."""
    loss_least_flops: int
    """The least that the exact loss takes (`bench.roofline.least_work`): the same for every scenario."""
    loss_flops: int
    """What the scenario's loss takes."""
    loss_counted: Literal["operators", "formula"] = "operators"
    """`formula`: its products are in kernels that torch's counter does not see; counted as dense ones."""
    parameter_bytes: int
    gradient_bytes: int
    optimizer_state_bytes: int
    view_bytes: int
    """Of the step's images, as the loader hands them over."""
    operator_bytes: int
    """The tensors that each operator of the step reads and writes, added up: what it moves where nothing is
    fused and nothing stays in a cache."""
    eager_twin: bool = False
    """The scenario compiles or captures its step; what was counted is the same step run eagerly."""

    @property
    def model_flops(self) -> int:
        """The algorithm's own, by which scenarios are compared: MFU counts no work that a scenario adds."""
        return self.network_flops + self.loss_least_flops

    @property
    def flops(self) -> int:
        """What the scenario does."""
        return self.network_flops + self.loss_flops

    @property
    def least_bytes(self) -> int:
        """Parameters, gradients and optimiser state read once and written once, views read once. Activations
        are not in it: how many are written and read again is a scenario's own choice."""
        return 2 * (self.parameter_bytes + self.gradient_bytes + self.optimizer_state_bytes) + self.view_bytes


class Energy(RecordBase):
    """What the device drew in the windows of one round, and its state at their end.

    The counter is the device's, so whatever else runs on it is in the joules, and so is what it draws idle.
    """

    kind: Literal["energy"] = "energy"
    scenario: str
    mode: Mode
    round: int
    source: Literal["nvml", "rapl"]
    """`nvml`: the GPU alone. `rapl`: the processor's packages, without memory and disks."""
    joules: tuple[float, ...] = ()
    """Of each window; empty where the device has no counter."""
    window_seconds: tuple[float, ...]
    pairs_per_window: int
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    throttled_by: tuple[str, ...] = ()
    """What held the clocks back at the end of the round, in NVML's words."""


class TraceShares(RecordBase):
    """Where the time of traced steps went. They take longer than others, and are in no throughput."""

    kind: Literal["trace-shares"] = "trace-shares"
    scenario: str
    file: str
    """Of the trace, as seen from the folder of the records."""
    steps: int
    step_seconds: float
    host: dict[str, float]
    """Of the thread that runs the steps: phase to its share, in [0, 1], adding up to 1. `pipeline` is the
    wait for the loader."""
    device_work: dict[str, float] | None = None
    """What the GPU did meanwhile: compute, communication, copies, idle, adding up to 1; None without one."""
    communication_hidden: float | None = None
    """The share of time in which communication ran behind compute; part of `compute`."""
