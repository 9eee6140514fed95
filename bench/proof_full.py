"""The parts of a proof on a GPU, at the sizes of the project's targets.

The estimates assume: a ResNet-50 step of 256 pairs at 224² takes 0.2 s (15 TFLOP, 0.05 s at 40 % of
790 TFLOP/s; memory binds it, hence four times that), without half precision 0.4 s; the authors' loader makes
800 pairs/s on 16 cores (59 a core were measured on another machine).
"""

from bench.proof_parts import (
    Command,
    Machine,
    Part,
    bench,
    environment_commands,
    stretch_commands,
    tests_obstacle,
    without,
)

START = 15.0
"""Seconds in which the processes of a comparison import torch and open their loaders, side by side."""
COMPILE = 45.0
"""Seconds of torch.compile on a ResNet, forward and backward."""

R50 = "--recipe imagenet-r50-100ep --set batch_size=256 --set decoder_cache=off --data {photos} --out {out}"
"""Without the decoder's cache: the generated set is small enough for it, and ImageNet is not."""
CIFAR = "--recipe cifar10-r18"
SIX_ROUNDS = "--rounds 6 --windows 1"
"""The fewest that give a verdict."""
GPU_TESTS = (
    "tests/loss tests/training tests/pipelines tests/bench/test_cold_caches.py tests/bench/test_limits.py "
    "tests/bench/test_loss_bench.py"
)
"""Where tests marked `gpu` are: to collect all the others takes longer than to run these."""


def full_parts(machine: Machine) -> tuple[Part, ...]:
    """All parts, in order of importance. What is missing leaves out as little as it can."""
    compiles = "compiler" not in machine.obstacles
    rivals = "baseline,tuned" if compiles else "baseline"
    no_tuned = without(machine, "tuned", "compiler")
    return (
        Part(
            name="environment",
            commands=environment_commands("bfloat16,tf32,float32"),
            # Eight products of 16,384² in float32 at 50 TFLOP/s take 1.4 s; the rest is CUDA's start.
            seconds=15,
        ),
        Part(
            name="tests",
            commands=(Command(text=f"pytest -m gpu {GPU_TESTS}"),),
            # 640 tests, most of them one small loss and its gradient; some 100 compile Triton kernels.
            seconds=90,
            obstacle=tests_obstacle(machine),
            note=without(machine, "the tests of properties", "hypothesis"),
        ),
        _loss(machine),
        Part(
            name="capture",
            commands=(
                bench(
                    "--compare fast-capture --metrics throughput --modes compute-only "
                    f"{SIX_ROUNDS} --steps 6 --trace {R50}"
                ),
            ),
            # 6 rounds of two scenarios, each 4 steps to warm up and 6 timed: 24 s; the traces 6 s.
            seconds=START + 30,
        ),
        Part(
            name="dali",
            commands=(
                bench(
                    "loader --pipelines dali --decoders dali-mixed --batch-size 256 --sizes 224 "
                    "--rounds 6 --seconds 1.5 --data {photos} --out {out}"
                ),
            ),
            # 6 rounds of 1.5 s and as much to fill the queue; the fidelity of some views 7 s.
            seconds=START + 25,
            obstacle=machine.obstacles.get("dali"),
        ),
        _compare(rivals, no_tuned),
        Part(
            name="ladder",
            commands=(
                bench(
                    "--ladder --metrics throughput --modes compute-only --rounds 2 --windows 1 --steps 5 "
                    f"{R50}"
                ),
            ),
            # Some 12 scenarios: the first batch of each loader 6 s, then 2 rounds of 8 steps of 0.3 s. The
            # loader waits from then on.
            seconds=START + COMPILE + 130,
            note=without(machine, "apex", "apex"),
        ),
        Part(
            name="cifar-r18",
            commands=(
                bench(
                    f"--compare {rivals} --metrics throughput,memory --modes end-to-end,compute-only "
                    f"{SIX_ROUNDS} --steps 40 --trace {CIFAR} --data {{small}} --out {{out}}"
                ),
            ),
            # Of a round: two modes of three scenarios, 50 steps of 25 ms each. Before the first, 2 s a loader
            # to find out that it is the slower one.
            seconds=START + COMPILE + 60,
            note=no_tuned,
        ),
        Part(
            name="memory",
            commands=(bench(f"--compare baseline --metrics memory {R50}"),),
            # The authors' loader has 66 batches of 256 to make: the first, what it made ahead, a turn of 16
            # workers to find out how fast it is, and a window; 21 s.
            seconds=START + 30,
        ),
        Part(
            name="cifar10",
            commands=stretch_commands(f"--trace --set max_steps=1500 --set warmup_epochs=1 {CIFAR}"),
            # 1,500 steps at 10,000 pairs/s: 38 s; three probes of at most 60,000 images, 10 s each.
            seconds=START + 70,
        ),
    )


def _loss(machine: Machine) -> Part:
    """Where nothing can be compiled for the GPU, without what needs it."""
    lacking = [need for need in ("triton", "compiler") if need in machine.obstacles]
    losses = "official,auto,auto-graphed,gram"
    if not lacking:
        losses = "official,official-compiled,auto,auto-graphed,gram,gram-triton"
    shapes = "--shapes 256x8192,2048x8192 --dtype bfloat16"
    return Part(
        name="loss",
        commands=(
            bench(f"loss {shapes} --providers {losses} --ranks 8 --profile --out {{out}}"),
            bench(f"loss {shapes} --providers official,auto --pairs 10 --cold --out {{out}}/cold"),
        ),
        # Compiling and tuning 20 s a shape; 30 pairs of six losses in windows of 10 ms, 2 s a shape, and as
        # much for a rank's share. With cold caches 5 s.
        seconds=70,
        note=without(machine, "compiled losses", lacking[0]) if lacking else "",
    )


def _compare(rivals: str, note: str) -> Part:
    """Without its memory, which the part for that measures."""
    return Part(
        name="compare",
        commands=(
            bench(
                f"--compare {rivals} --metrics throughput --modes end-to-end,compute-only "
                f"{SIX_ROUNDS} --steps 8 --trace {R50}"
            ),
        ),
        # An end-to-end window behind the authors' loader takes 18 of its batches, 6 s, and a step or two
        # before them: 6 rounds of two such scenarios 85 s. What else there is of a round takes 13 s. Before
        # the first 16 s each to find out that the loader is slower than the step, after the last the traces.
        seconds=START + COMPILE + 85 + 78 + 32 + 8,
        note=note,
    )
