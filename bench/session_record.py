"""What a pretraining run notes of each of its sessions, in RUN/sessions.jsonl: where it began and on what.

A session is one start of `vicreg-fast pretrain`: the first, or one that goes on from a checkpoint.
"""

from typing import Literal

from bench.record import Environment
from bench.record_base import RecordBase


class Session(RecordBase):
    kind: Literal["session"] = "session"
    from_step: int
    """Steps that the run had done before."""
    steps_per_epoch: int
    total_steps: int
    device: str
    pipeline: str
    precision: str = ""
    """What it trained in, never `auto`; empty in a record of an older version."""
    precision_why: str = ""
    world_size: int
    environment: Environment
