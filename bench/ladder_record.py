"""What a comparison's plan says of its ladder: each change, and between which scenarios it is measured."""

from pydantic import BaseModel, ConfigDict


class LadderRung(BaseModel):
    """One change of the ladder, measured as the ratio of the scenario with it to its neighbour without it.

    `forwards` and `backwards` are the names of (without, with). Forwards the change comes on top of all that
    precede it; backwards it is taken away while all that follow it are still there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: str
    """Its name: amp, channels_last, dali, fused_loss, foreach, capture or compile."""
    description: str
    """What it changes, in words."""
    forwards: tuple[str, str] | None = None
    backwards: tuple[str, str] | None = None
    """None also for a change that `fast` does not have, and that is measured on top of it."""
    missing: str | None = None
    """Why it is not measured here, where it is not."""
