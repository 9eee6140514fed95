"""A number that a proof found, or why there is none."""

from dataclasses import dataclass

from bench.compare import Interval


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One quantity, in its claim's unit; shares in [0, 1]."""

    value: float
    interval: Interval | None = None
    """None for what is counted or comes from one peak or one trace, and has none."""
    floor: str = ""
    """The least that it could be, and how much of that is reached."""
    note: str = ""
    """What else the reader is to know."""


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """Why there is no number, beyond how the part ended; empty where that says it."""

    why: str = ""


Found = Measured | Unmeasured
