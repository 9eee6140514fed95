"""A worker that measures nothing: what the parent does can be tried in a second, without torch."""

import os
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

from bench.orders import Answer, Note, Order, Setup
from bench.record import Memory, Throughput

SECONDS = {"plain": 0.25, "baseline": 0.25, "tuned": 0.15}
SECONDS |= dict.fromkeys(("fast-channels_last", "plain+foreach", "plain+fused_loss+foreach"), 0.25)
"""Of a step, in what it says it measured; 0.1 for any other scenario. So channels_last is all that pays."""


def serve(trouble: Mapping[str, tuple[int, str]], connection: Connection, setup: Setup) -> None:
    """`trouble` is scenario → (round, what it does when it is asked for that round): a signal's name, `exit`,
    `fail` or `hang`."""
    while (order := connection.recv()) is not None:
        when, what = trouble.get(setup.scenario, (-1, ""))
        if order.action == "throughput" and order.round == when:
            connection.send(Note(text="about to"))
            if what.startswith("SIG"):
                os.kill(os.getpid(), signal.Signals[what])
            elif what == "exit":
                os._exit(3)
            elif what == "hang":
                time.sleep(3600)
            elif what == "fail":
                connection.send(Answer(problem="RuntimeError: out of memory in /some/where/net.py"))
                continue
        connection.send(answer(order, setup))


def answer(order: Order, setup: Setup) -> Answer:
    if order.action == "memory":
        record = Memory(
            scenario=setup.scenario, pid=os.getpid(), host_before_bytes=10**8, host_peak_bytes=3 * 10**8
        )
        return Answer(records=(record,))
    if order.action != "throughput":
        return Answer()
    seconds = order.steps_per_window * SECONDS.get(setup.scenario, 0.1)
    timed = Throughput(
        scenario=setup.scenario,
        mode=order.mode,
        round=order.round,
        position=order.position,
        pid=os.getpid(),
        batch_size=setup.recipe.batch_size,
        image_size=setup.recipe.image_size,
        steps_per_window=order.steps_per_window,
        window_seconds=(seconds * (1 + 0.01 * (order.round % 3)),) * order.windows,
    )
    return Answer(records=(timed,))
