"""What the parent and a worker say to each other. Without torch, which neither needs to listen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.record import Mode, Record
from vicreg_fast.config import Recipe


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to measure. Fields that an action does not use are left alone."""

    action: Literal["throughput", "memory", "work", "ceilings", "trace"]
    mode: Mode = "end-to-end"
    round: int = 0
    position: int = 0
    steps_per_window: int = 1
    windows: int = 1
    dtypes: tuple[str, ...] = ()
    """Whose ceilings to measure."""
    folder: Path | None = None
    """Where the records are, and a trace is to be."""

    @property
    def kind(self) -> str:
        return f"{self.action} {self.mode}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    records: tuple[Record, ...] = ()
    problem: str | None = None
    """One line, when the order could not be carried out."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sign of life on the way to an Answer."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Setup:
    scenario: str
    recipe: Recipe
    data: Path
    device: str
    crowded: bool = False
    """So many scenarios share a GPU that each is to give its memory back when it is idle."""
    scratch: Path | None = None
    """A folder that lives as long as the run, for what torch.compile builds."""
