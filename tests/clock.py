"""A clock that a test moves: in the place of the module `time` it makes what is timed exact."""


class Clock:
    """Stands still but for `sleep`, by the test or by what it calls."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter
