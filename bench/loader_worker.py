"""The process that loaders are measured in, so that one that crashes or hangs takes nothing else with it.

It says after a batch, once a second at most, that it is alive, and looks whether it is still asked for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

import torch

from bench.loader import LoaderSetting, measure_rate
from bench.loader_fidelity import measure_fidelity
from bench.loader_record import LoaderSubject
from bench.orders import Answer, Note
from bench.worker_process import serve_orders
from pipelines.manifest import Manifest

SECONDS_BETWEEN_BEATS = 1.0


@dataclass(frozen=True, kw_only=True)
class LoaderWork:
    """What is the same for all that one process measures."""

    manifest: Manifest
    augmentation: str
    device: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class LoaderOrder:
    """What to measure: a fidelity, at the setting's image size, or a rate."""

    action: Literal["rate", "fidelity"]
    subject: LoaderSubject
    setting: LoaderSetting
    round: int = 0
    position: int = 0

    @property
    def kind(self) -> str:
        return self.action


def serve(connection: Connection, work: LoaderWork) -> None:
    """The process's main: one record an answer, until there are no more orders."""
    torch.set_num_threads(1)  # as in a DataLoader's worker: what is computed here is for comparison

    def answer(order: LoaderOrder) -> Answer:
        if order.action == "fidelity":
            fidelity = measure_fidelity(
                order.subject,
                work.manifest,
                order.setting.image_size,
                augmentation=work.augmentation,
                device=work.device,
                on_view=_beat(connection),
            )
            return Answer(records=(fidelity,))
        rate = measure_rate(
            order.subject,
            work.manifest,
            order.setting,
            augmentation=work.augmentation,
            seconds=work.seconds,
            device=work.device,
            round=order.round,
            position=order.position,
            on_batch=_beat(connection),
        )
        return Answer(records=(rate,))

    serve_orders(connection, answer)


def _beat(connection: Connection) -> Callable[[], None]:
    """To be called after each batch: tells the parent of it, once a second at most; where the parent wants no
    more, ends this process as it would end by itself, with its loader's workers."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if connection.poll():  # while an order is carried out, all that can come is the end
            raise SystemExit
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_BEATS:
            last = now
            connection.send(Note(text="a batch"))

    return beat
