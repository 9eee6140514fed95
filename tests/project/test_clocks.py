"""No test asserts how long something took, in either direction, nor in which state a process is just now.

Both depend on what else the machine does. Bounds on time belong into benchmarks; tests assert order, counts
and values, by a clock of their own where they need one (`tests.clock`).
"""

import ast
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

CLOCKS = {"perf_counter", "monotonic", "process_time", "thread_time", "time"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS}
STATES = {"STATUS_RUNNING", "STATUS_SLEEPING", "STATUS_DISK_SLEEP", "STATUS_IDLE", "STATUS_WAKING"}
MEASURED = {"seconds", "elapsed", "duration"}
"""Attributes that hold a span, of whatever."""
MOMENT, SPAN = "moment", "span"


class Measured:
    """What the names in a function are: a moment, read from a clock, or a span between two."""

    def __init__(self, function: ast.AST, makers: set[str]) -> None:
        self.makers = makers
        """Functions that return a span, which a call of them or with them may give."""
        self.names: dict[str, str] = {}
        while self._learn(function):
            pass

    def _learn(self, function: ast.AST) -> bool:
        before = dict(self.names)
        for node in ast.walk(function):
            match node:
                case ast.Assign(targets=targets, value=value):
                    self._note(targets, value)
                case (
                    ast.AnnAssign(target=target, value=ast.expr() as value)
                    | ast.AugAssign(target=target, value=value)
                ):
                    self._note([target], value)
                case ast.NamedExpr(target=target, value=value) | ast.For(target=target, iter=value):
                    self._note([target], value)
                case ast.Call(func=ast.Attribute(value=ast.Name() as target, attr="append"), args=[value]):
                    self._note([target], value)
        return self.names != before

    def _note(self, targets: list[ast.expr], value: ast.expr) -> None:
        found = self.kind(value)
        for name in (name for target in targets for name in ast.walk(target) if found is not None):
            if isinstance(name, ast.Name):
                self.names[name.id] = SPAN if self.names.get(name.id) == SPAN else str(found)

    def kind(self, node: ast.AST) -> str | None:
        if _reads_clock(node):
            return MOMENT
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Call):
            named = {part.id for part in (node.func, *node.args) if isinstance(part, ast.Name)}
            if named & self.makers:
                return SPAN
        if isinstance(node, ast.Lambda | ast.Attribute | ast.Compare):
            return None
        inside = {self.kind(child) for child in ast.iter_child_nodes(node)}
        if isinstance(node, ast.BinOp) and MOMENT in inside:
            return SPAN if isinstance(node.op, ast.Sub) else MOMENT
        return SPAN if SPAN in inside else MOMENT if MOMENT in inside else None


def _reads_clock(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr=name)):
            return name in CLOCKS
        case ast.Call(func=ast.Name(id=name)):
            return name in CLOCKS - {"time"}
    return False


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def refused(source: str) -> list[int]:
    """Lines of the asserts that compare a span with anything but zero, or what holds one with a number, and
    of those that ask for a process's state."""
    tree = ast.parse(source)
    makers: set[str] = set()
    for _ in range(2):  # a maker may call another
        for function in _functions(tree):
            known = Measured(function, makers)
            returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
            if any(value is not None and known.kind(value) == SPAN for value in returned):
                makers.add(function.name)
    found = set()
    for function in _functions(tree):
        known = Measured(function, makers)
        for node in ast.walk(function):
            if isinstance(node, ast.Assert) and _depends_on_the_machine(node.test, known):
                found.add(node.lineno)
    return sorted(found)


def _depends_on_the_machine(test: ast.expr, known: Measured) -> bool:
    for node in ast.walk(test):
        if isinstance(node, ast.Attribute) and node.attr in STATES:
            return True
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(partial(_bounds, known), node.ops, sides, sides[1:])):
                return True
    return False


def _bounds(known: Measured, operator: ast.cmpop, *sides: ast.expr) -> bool:
    """Whether it says more of a span than that there was one."""
    numbers = [side.value for side in sides if isinstance(side, ast.Constant)]
    if 0 in numbers or isinstance(operator, ast.Is | ast.IsNot | ast.In | ast.NotIn):
        return False
    if any(known.kind(side) == SPAN for side in sides):
        return True
    measured = any(isinstance(side, ast.Attribute) and side.attr in MEASURED for side in sides)
    ordered = not isinstance(operator, ast.Eq | ast.NotEq)
    return measured and ordered and any(isinstance(number, int | float) for number in numbers)


def test_no_test_asserts_a_wall_time_or_a_state_of_the_scheduler(tracked: list[Path], root: Path) -> None:
    files = [file for file in tracked if file.suffix == ".py" and file.is_relative_to(root / "tests")]
    assert len(files) > 100
    found = {
        f"{file.relative_to(root)}:{line}" for file in files for line in refused(file.read_text("utf-8"))
    }
    assert sorted(found) == []


TIMED = "def test():\n    began = time.{clock}()\n    work()\n    "


@pytest.mark.parametrize(
    "source",
    [
        TIMED + "assert time.perf_counter() - began < 0.05",
        TIMED + "assert 0.1 <= time.monotonic() - began",
        TIMED + "took = time.time() - began\n    assert took < LIMIT, took",
        TIMED + "took: float = perf_counter() - began\n    assert 0.9 < took < 10",
        TIMED + "took = time.monotonic() - began\n    assert 0 < took < 10",
        TIMED + "took = round(time.process_time() - began, 2)\n    assert not took > 3",
        TIMED + "times = []\n    times.append(time.perf_counter() - began)\n    assert min(times) < 0.5",
        TIMED + "one = time.perf_counter() - began\n    other = one\n    assert other < 1.3 * took_before",
        TIMED + "assert (took := time.perf_counter_ns() - began) // 10**6 == 3",
        TIMED + "return time.monotonic() - began\n\ndef test_it():\n    assert test() < 5",
        TIMED + "return 1, time.time() - began\n\ndef test_2():\n    _, s = ask(test)\n    assert s < 5",
        "def test():\n    assert summary.seconds >= 0.1, summary.table()",
        "def test():\n    assert psutil.Process(pid).status() == psutil.STATUS_SLEEPING",
    ],
)
@pytest.mark.parametrize("clock", ["perf_counter", "monotonic"])
def test_a_bound_on_a_time_is_found(source: str, clock: str) -> None:
    (line,) = refused(source.format(clock=clock))
    assert "assert" in source.splitlines()[line - 1]


@pytest.mark.parametrize(
    "source",
    [
        "def test():\n    deadline = time.monotonic() + 30\n    while not done():\n"
        "        assert time.monotonic() < deadline\n        time.sleep(0.01)",
        TIMED + "assert time.monotonic() - began > 0",
        TIMED + "took = time.monotonic() - began\n    assert work(took) is None and calls == 3",
        "def test():\n    clock = Clock()\n    assert clock.now - 3.0 == 4.0",
        "def test(run):\n    assert run.seconds == 32 and run.waited == 0\n    assert run.seconds > 0",
        "def test():\n    until = time.monotonic() + 5\n    assert connection.poll(until - time.monotonic())",
        "def test():\n    assert not psutil.pid_exists(pid)",
    ],
)
def test_order_counts_and_deadlines_are_not(source: str) -> None:
    assert refused(source.format(clock="monotonic")) == []
