"""Records of `bench scaling` made by hand."""

from pathlib import Path

from bench.record import Environment, LossPrediction, Record, RecordWriter, ScalingRun


def prediction(provider: str, world_size: int, milliseconds: float = 1.0) -> LossPrediction:
    rates = dict.fromkeys(
        (
            *("bfloat16_tflops", "tf32_tflops", "float32_tflops", "memory_gbytes", "link_gbytes"),
            *("latency_us", "kernel_us", "capacity_gbytes"),
        ),
        10.0,
    )
    return LossPrediction(
        provider=provider,
        form="gram",
        backend="triton",
        exchange="gather",
        dtype="bfloat16",
        world_size=world_size,
        n=256,
        d=8192,
        flops=10**9,
        memory_bytes=10**6,
        exchange_bytes=10**6,
        kernels=4,
        peak_bytes=10**8,
        products_seconds=milliseconds / 1e3,
        elementwise_seconds=1e-4,
        launch_seconds=1e-5,
        exchange_seconds=1e-5,
        rates={"name": "Test GPU", **rates},
    )


def scaling_file(path: Path, *more: Record) -> Path:
    writer = RecordWriter(path)
    writer.write(Environment(processor="Test CPU", cores=2, memory_bytes=2**34, system="Linux"))
    writer.write(ScalingRun(command="vicreg-fast bench scaling --n 256", measured_on=("Measured GPU",)))
    for record in (*(prediction(p, w, w) for w in (1, 8) for p in ("ours", "official")), *more):
        writer.write(record)
    writer.close()
    return path
