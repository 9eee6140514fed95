"""The parts of a proof without a GPU: the same commands at toy size, to show that they run.

A network of four channels on batches of eight. Nothing is compiled, and no CUDA graph is captured: both take
a GPU, or longer than a rehearsal may.
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

_SIZES = "--set width=4 --set image_size=32 --set expander=32-32 --set batch_size=8 --set workers=1"
TOY = f"--recipe smoke --set stem=imagenet {_SIZES} --data {{small}} --out {{out}}"
TOY_CIFAR = f"--recipe cifar10-r18 {_SIZES}"
TWO_ROUNDS = "--rounds 2 --windows 1 --steps 1"
TWINS = "tests/loss/test_graphed.py"
"""Of the files with tests marked `gpu` one whose other tests take a second."""
NOT_COMPILED = "nothing is compiled in a rehearsal"


def rehearsal_parts(machine: Machine) -> tuple[Part, ...]:
    """All parts, in order of importance."""
    return (
        Part(name="environment", commands=environment_commands("float32"), seconds=6),
        Part(
            name="tests",
            commands=(Command(text=f"pytest -m 'not slow' {TWINS}"),),
            seconds=10,
            obstacle=tests_obstacle(machine),
            note=without(machine, "the tests of properties", "hypothesis"),
        ),
        Part(
            name="loss",
            commands=(
                bench(
                    "loss --shapes 16x32,32x64 --pairs 6 --providers official,auto,gram --ranks 8 --profile "
                    "--out {out}"
                ),
                bench("loss --shapes 16x32 --pairs 6 --providers official,auto --cold --out {out}/cold"),
            ),
            seconds=8,
            note=NOT_COMPILED,
        ),
        Part(
            name="capture",
            commands=(
                bench(f"--compare fast-foreach --metrics throughput --modes compute-only {TWO_ROUNDS} {TOY}"),
            ),
            seconds=10,
            note="a CPU captures no graph: fast-foreach is in the place of fast-capture",
        ),
        Part(
            name="dali",
            commands=(
                bench(
                    "loader --pipelines dali --batch-size 8 --sizes 32 --threads 1 --rounds 2 --seconds 0.05 "
                    "--data {small} --out {out}"
                ),
            ),
            seconds=12,
            obstacle=machine.obstacles.get("dali"),
        ),
        Part(
            name="compare",
            commands=(
                bench(
                    "--compare baseline,tuned-compile --metrics throughput "
                    f"--modes end-to-end,compute-only {TWO_ROUNDS} --trace {TOY}"
                ),
            ),
            seconds=25,
            note=NOT_COMPILED,
        ),
        Part(
            name="ladder",
            commands=(
                bench(
                    "--ladder --rungs fused_loss --metrics throughput --modes compute-only "
                    f"{TWO_ROUNDS} {TOY}"
                ),
            ),
            seconds=15,
            note="one rung of all",
        ),
        Part(
            name="cifar-r18",
            commands=(
                bench(
                    "--compare fast-fused_loss --metrics throughput --modes end-to-end,compute-only "
                    f"{TWO_ROUNDS} {TOY_CIFAR} --data {{small}} --out {{out}}"
                ),
            ),
            seconds=12,
            note=NOT_COMPILED,
        ),
        Part(
            name="memory",
            commands=(bench(f"--compare baseline --metrics memory {TOY}"),),
            seconds=15,
        ),
        Part(
            name="cifar10",
            commands=stretch_commands(f"--set max_steps=6 --set warmup_epochs=1 {TOY_CIFAR}"),
            seconds=15,
        ),
    )
