"""What a GPU and its link can do, for predictions: named presets, taken from data sheets. Imports no
torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

ATTAINED = 0.8
"""The share of a data sheet's peak that a large matrix product, a large copy or a large collective reaches.
It is an assumption, one for all of them; rates given by hand are taken as they are.
"""

RATES = ("float16", "bfloat16", "tf32", "float32", "float64")
"""What a matrix product can run at; `tf32` is float32 factors rounded for the tensor cores."""


@dataclass(frozen=True, kw_only=True)
class GpuRates:
    """Attained rates of one GPU and of the link it is reached by."""

    name: str
    matmul_tflops: Mapping[str, float]
    """For each of RATES."""
    memory_gbytes: float
    """GB/s of the GPU's own memory, reads and writes together."""
    link_gbytes: float
    """GB/s that a ring receives at in each rank, as nccl-tests' bus bandwidth."""
    latency_us: float
    """Of one step of a ring."""
    kernel_us: float = 3.0
    """From the start of a small kernel to the start of the next."""
    capacity_gbytes: float
    """Memory of the GPU, in GB."""

    def flat(self) -> dict[str, float | str]:
        """As a record holds it."""
        fields = asdict(self)
        tflops = fields.pop("matmul_tflops")
        return fields | {f"{rate}_tflops": tflops[rate] for rate in RATES}


def _attained(
    name: str, tflops: tuple[float, ...], memory: float, link: float, latency_us: float, capacity: float
) -> GpuRates:
    return GpuRates(
        name=name,
        matmul_tflops={rate: ATTAINED * peak for rate, peak in zip(RATES, tflops, strict=True)},
        memory_gbytes=ATTAINED * memory,
        link_gbytes=ATTAINED * link,
        latency_us=latency_us,
        capacity_gbytes=capacity,
    )


_H100 = (989.4, 989.4, 494.7, 66.9, 66.9)
_A100 = (312.0, 312.0, 156.0, 19.5, 19.5)

# Peaks: NVIDIA's data sheets of the H100 SXM (80 GB, 3.35 TB/s, NVLink 450 GB/s each way) and the A100 SXM
# (80 GB, 2.04 TB/s, NVLink 300 GB/s each way), dense. h100-ib: nodes of eight GPUs with eight 400 Gb/s
# adapters; each byte enters a node once, by any of them, so a ring gets their sum, 400 GB/s. A step of a ring
# over NVLink: 3.4 µs, in NCCL's tuning table (src/graph/tuning.cc, simple protocol). Over nodes one step in
# eight crosses the network: 5 µs on average, assumed.
PRESETS: dict[str, GpuRates] = {
    rates.name: rates
    for rates in (
        _attained("h100-nvlink", _H100, 3350, 450, 3.4, 80),
        _attained("h100-ib", _H100, 3350, 400, 5.0, 80),
        _attained("a100", _A100, 2039, 300, 3.4, 80),
    )
}
