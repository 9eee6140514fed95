"""The parts of a proof, in order of importance: what each runs, what it needs, how long it should take.

Data, and a pure function of the machine. With a GPU the parts have the sizes that the project's targets are
about; without one the same commands run at toy size, to show that they run. No estimate has been measured:
each says how it comes about, for one H100 and 16 cores.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Device = Literal["cuda", "cpu"]

TITLES = {
    "environment": "the machine, and what it reaches",
    "tests": "the tests marked gpu",
    "loss": "the loss alone",
    "capture": "the captured step beside the eager one",
    "dali": "DALI's views alone",
    "compare": "vicreg-fast beside baseline and tuned",
    "ladder": "one change at a time, from plain to fast",
    "cifar-r18": "ResNet-18 on images of 32×32",
    "memory": "peak memory of a step",
    "cifar10": "a first stretch of pretraining, and its probe",
}
PART_NAMES = tuple(TITLES)
"""Of every machine, in order of importance."""

MARGIN = 2.0
"""A part is ended after so many times its estimate."""
LEAST_LIMIT = 240.0
"""Seconds that every part is given: a busy machine takes its time to start one."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the parts depend on. `obstacles` names what cannot be had here, each with why."""

    device: Device
    name: str
    """Of the GPU, or of the processor."""
    obstacles: Mapping[str, str] = field(default_factory=dict)
    """Of dali, pytest, tests, hypothesis, compiler, triton, apex."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a part."""

    text: str
    """As one would type it. `{out}` stands for the part's folder, `{photos}` for generated JPEGs of 500×375
    pixels, `{small}` for small labelled images."""
    into: str | None = None
    """A file of the part's folder that gets its standard output; None for the log."""

    @property
    def words(self) -> tuple[str, ...]:
        """The program, `vicreg-fast` or `pytest`, and its arguments."""
        return tuple(shlex.split(self.text))

    def shown(self) -> str:
        """As one would type it in the part's folder, with no path of this machine."""
        text = self.text.replace("{out}/", "").replace("{out}", ".")
        text = text.replace("{photos}", "photos").replace("{small}", "small")
        return f"{text} > {self.into}" if self.into else text


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    commands: tuple[Command, ...]
    seconds: float
    """The estimate."""
    obstacle: str | None = None
    """Why it cannot run here; None where it can."""
    note: str = ""
    """What it leaves out here, or does otherwise."""

    @property
    def title(self) -> str:
        return TITLES[self.name]

    @property
    def limit(self) -> float:
        """Seconds after which it is ended."""
        return max(LEAST_LIMIT, MARGIN * self.seconds)


def plan_parts(machine: Machine) -> tuple[Part, ...]:
    """All parts, in order of importance, as they are on that machine."""
    from bench.proof_full import full_parts
    from bench.proof_rehearsal import rehearsal_parts

    return full_parts(machine) if machine.device == "cuda" else rehearsal_parts(machine)


def bench(text: str) -> Command:
    return Command(text=f"vicreg-fast bench {text}")


def environment_commands(dtypes: str) -> tuple[Command, ...]:
    return (
        bench(f"ceilings --dtypes {dtypes} --out {{out}}"),
        Command(text="vicreg-fast doctor --json", into="doctor.json"),
    )


def stretch_commands(options: str) -> tuple[Command, ...]:
    """Pretraining, its probe and the run's report."""
    return (
        Command(text=f"vicreg-fast pretrain {options} --data {{small}} --out {{out}}/run"),
        Command(text="vicreg-fast linear {out}/run --floors --data {small}"),
        Command(text="vicreg-fast report {out}/run --quiet --out {out}/run"),
    )


def tests_obstacle(machine: Machine) -> str | None:
    return machine.obstacles.get("tests") or machine.obstacles.get("pytest")


def without(machine: Machine, what: str, need: str) -> str:
    """A note that `what` is left out where `need` is missing; empty where it is there."""
    missing = machine.obstacles.get(need)
    return f"without {what}: {missing}" if missing else ""
