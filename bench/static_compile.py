"""Compiles every kernel that the Triton backend launches, for GPUs that need not be there.

The loss itself runs, forward and backward, on empty tensors and under a stand-in for the driver: where a
kernel would be launched it is compiled, once for each committed tile, with the very arguments and
specialisation of that launch. So nothing here repeats a kernel's signature, and a new variant is found when
the loss launches it.

`python -m bench.static_compile PART PARTS` compiles one part of the work and prints one JSON list a kernel:
the place of its launch among all, Triton's hash of it, and its figures. Parts may hold the same kernel.
It must run in a process of its own: it changes Triton's classes, and TRITON_INTERPRET must not be set when
Triton is imported.
"""

import json
import re
import sys
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.autotuner import Autotuner
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from bench.static_record import Arithmetic, KernelFigures
from bench.static_sass import kernel_resources, opcodes
from vicreg_fast.distributed import SINGLE, Ranks
from vicreg_fast.loss.fused import fused_backward, fused_forward
from vicreg_fast.loss.plan import plan_loss
from vicreg_fast.loss.presets import Objective, preset_named

ARCHITECTURES = (80, 90, 100)
# What the embeddings are, and how their products are made.
PRECISIONS = {
    "bfloat16": (torch.bfloat16, "highest"),
    "float16": (torch.float16, "highest"),
    "float32": (torch.float32, "highest"),
    "tf32": (torch.float32, "high"),
}
# (N, D) and ranks. Sizes of which 16 is a divisor, as those in use have: Triton compiles them apart.
FORMS = {
    "gram": (256, 512, 1),
    "covariance": (512, 256, 1),
    "gram of ranks": (256, 512, 4),
    "covariance of ranks": (256, 256, 4),
}
RANKS = 4


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A kernel as one launch compiled it."""

    kernel: str
    launch: str
    tile: str
    products: Arithmetic
    binary: Any
    """Triton's CompiledKernel."""


class Compiler:
    """Stands in for Triton's driver, and keeps what is compiled in place of being launched."""

    def __init__(self, arch: int) -> None:
        self.arch = arch
        self.launch = ""
        self.found: dict[str, Compiled] = {}
        """By Triton's hash: launches share kernels."""

    # what Triton asks of a driver in order to compile; the device's number keeps its in-process caches of
    # the architectures apart
    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return self.arch

    def get_current_stream(self, device: int) -> int:
        return 0

    def add(self, function: Any, binary: Any, arguments: dict[str, Any]) -> None:
        blocks = [str(size) for name, size in arguments.items() if name.startswith("BLOCK")]
        options = binary.metadata
        products: Arithmetic = "none"
        if "PRECISION" in arguments:
            in_float32 = self.launch.startswith("float32") and arguments["PRECISION"] == "ieee"
            products = "float32" if in_float32 else "tensor-cores"
        compiled = Compiled(
            kernel=function.__name__,
            launch=self.launch,
            tile=f"{'×'.join(blocks)}, {options.num_warps} warps, {options.num_stages} stages",
            products=products,
            binary=binary,
        )
        self.found.setdefault(binary.hash, compiled)


def compile_in_place_of_launching() -> None:
    """From here on, in this process, a launch compiles for the active `Compiler` and runs nothing; a tuned
    one compiles every tile.
    """
    compile_or_launch = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        binary = compile_or_launch(self, *args, grid=grid, warmup=True, **kwargs)
        driver.active.add(self, binary, kwargs)
        return binary

    def compile_every_tile(self: Any, *args: Any, **kwargs: Any) -> None:
        for config in self.configs:
            self.fn.run(*args, **kwargs, **config.all_kwargs())

    JITFunction.run = compile_only
    Autotuner.run = compile_every_tile


def compile_loss(arch: int, precision: str) -> dict[str, KernelFigures]:
    """The figures of every kernel of the loss for embeddings of one kind, by Triton's hash of the kernel.
    `compile_in_place_of_launching` must have been called.
    """
    dtype, float32_precision = PRECISIONS[precision]
    torch.set_float32_matmul_precision(float32_precision)
    compiler = Compiler(arch)
    driver.set_active(compiler)
    for form, (N, D, world_size) in FORMS.items():
        compiler.launch = f"{precision}, {form}"
        ranks = SINGLE if world_size == 1 else Ranks(rank=0, world_size=RANKS, group=dist.group.WORLD)
        _launch(N, D, dtype, form.split()[0], ranks)
    cubins = [kernel.binary.asm["cubin"] for kernel in compiler.found.values()]
    counts = opcodes(cubins, arch, knobs.nvidia.nvdisasm.path)
    return {
        kernel.binary.hash: _figures(arch, kernel, count)
        for kernel, count in zip(compiler.found.values(), counts, strict=True)
    }


def _launch(N: int, D: int, dtype: torch.dtype, form: str, ranks: Ranks) -> None:
    n = N // ranks.world_size
    x_nD, y_nD = torch.zeros(2, n, D, dtype=dtype)
    objective = Objective(preset=preset_named("official"))
    plan = plan_loss(n, N, D, dtype, "cuda", ranks.world_size, form, "triton")
    _, saved = fused_forward(x_nD, y_nD, objective=objective, plan=plan, ranks=ranks)
    fused_backward(
        saved,
        x_nD,
        y_nD,
        torch.ones(()),
        objective=objective,
        plan=plan,
        ranks=ranks,
        views=slice(0, 2),
    )


def _figures(arch: int, kernel: Compiled, count: dict[str, int]) -> KernelFigures:
    registers, stack_bytes = kernel_resources(kernel.binary.asm["cubin"], knobs.nvidia.cuobjdump.path)

    def named(pattern: str) -> dict[str, int]:
        return {opcode: count[opcode] for opcode in sorted(count) if re.match(rf"(?:{pattern})\b", opcode)}

    def number(pattern: str) -> int:
        return sum(named(pattern).values())

    return KernelFigures(
        kernel=kernel.kernel,
        launch=kernel.launch,
        tile=kernel.tile,
        arch=arch,
        products=kernel.products,
        registers=registers,
        stack_bytes=stack_bytes,
        spill_instructions=number("LDL|STL"),
        shared_bytes=kernel.binary.metadata.shared,
        tensor_memory_columns=getattr(kernel.binary.metadata, "tmem_size", None) or 0,
        instructions=sum(count.values()),
        async_copies=named("LDGSTS"),
        matrix=named(r"\w+MMA"),
        matrix_groups=number(r"WARPGROUP\.ARRIVE"),
        fused_multiply_adds=number("FFMA|FFMA2"),
    )


def main(part: int, parts: int) -> None:
    compile_in_place_of_launching()
    dist.init_process_group("fake", rank=0, world_size=RANKS, store=FakeStore())
    work = [(arch, precision) for precision in PRECISIONS for arch in ARCHITECTURES]
    for place in range(part, len(work), parts):
        for key, figures in compile_loss(*work[place]).items():
            print(json.dumps([place, key, figures.model_dump()]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
