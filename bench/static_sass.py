"""What a cubin holds, read with the tools that Triton's package ships: registers, stack, and the opcodes.

`nvdisasm` takes a third of a second to begin, whatever it is given, so the code of many kernels is joined and
disassembled in one call. Addresses say which instruction is whose.
"""

import re
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

INSTRUCTION_BYTES = 16
# The mangled architectures of Triton's cubins, as nvdisasm calls them.
RAW_ARCHITECTURE = {80: "SM80", 90: "SM90a", 100: "SM100a"}

_INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
_RESOURCE = re.compile(r"\b(REG|STACK|LOCAL):(\d+)")


def kernel_resources(cubin: bytes, cuobjdump: str) -> tuple[int, int]:
    """Registers, and bytes of stack and local memory, of a thread of the cubin's only kernel."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        text = _run([cuobjdump, "--dump-resource-usage", str(path)])
    found = {name: int(value) for name, value in _RESOURCE.findall(text)}
    return found["REG"], found["STACK"] + found["LOCAL"]


def opcodes(cubins: Sequence[bytes], arch: int, nvdisasm: str) -> list[Counter[str]]:
    """Of each cubin's kernel, how often each instruction occurs, by its whole name; without the NOPs behind
    its end.
    """
    codes = [kernel_code(cubin) for cubin in cubins]
    ends: list[int] = []
    for code in codes:
        ends.append(len(code) + (ends[-1] if ends else 0))
    with TemporaryDirectory() as folder:
        path = Path(folder, "kernels.bin")
        path.write_bytes(b"".join(codes))
        text = _run([nvdisasm, "-ndf", "-b", RAW_ARCHITECTURE[arch], str(path)])
    counts: list[Counter[str]] = [Counter() for _ in codes]
    kernel = seen = 0
    for address, opcode in _INSTRUCTION.findall(text):
        while int(address, 16) >= ends[kernel]:
            kernel += 1
        seen += 1
        if opcode != "NOP":
            counts[kernel][opcode] += 1
    if seen * INSTRUCTION_BYTES != ends[-1]:
        raise RuntimeError(f"nvdisasm named {seen} of {ends[-1] // INSTRUCTION_BYTES} instructions")
    return counts


def kernel_code(cubin: bytes) -> bytes:
    """The one `.text.NAME` section of a 64-bit little-endian ELF file. Raises ValueError when there is none,
    or several.
    """
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + index * size) for index in range(count)]
    texts = sections[names][4]
    found = [
        cubin[offset : offset + length]
        for name, _, _, _, offset, length in sections
        if cubin[texts + name :].startswith(b".text.")
    ]
    if len(found) != 1:
        raise ValueError(f"a cubin with {len(found)} kernels")
    return found[0]


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


__all__ = ["kernel_code", "kernel_resources", "opcodes"]
