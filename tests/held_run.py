"""`vicreg-fast` in a process of its own, whose run holds after a step until it is killed or told to stop:
however slowly a test looks, it finds the run in the middle.

`python -m tests.held_run RANK:START:STEP[,...] ARGUMENT...`: that rank holds after that step of that start of
the ranks; ranks and starts are counted from 0.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    where, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    here = [os.environ.get("RANK", "0"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")]
    holds = [int(step) for *place, step in (hold.split(":") for hold in where.split(",")) if place == here]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, as the command does
    from vicreg_fast.training.loop import Progress, Trainer

    run = Trainer.run

    def held(
        trainer: Trainer, *, on_step: Callable[[Progress], None], stop: Callable[[], bool], **more: Any
    ) -> bool:
        def hold(progress: Progress) -> None:
            on_step(progress)
            while progress.step in holds and not stop():
                time.sleep(0.01)

        return run(trainer, on_step=hold, stop=stop, **more)

    Trainer.run = held  # type: ignore[method-assign, assignment]
    from vicreg_fast.cli import main as command

    command()


if __name__ == "__main__":
    main()
