"""One side of a comparison: a process that imports torch and one checkout's loss once, and forks a fresh
process for each measurement.

    python -P server.py FD HEAD SUBJECT [CASES]

`SUBJECT` is the folder whose `vicreg_fast` is measured, `HEAD` the one whose suite measures it, `CASES` the
subject's own cases.py, if it has one. Orders and answers are JSON over the socket FD. The server starts no
thread, no OpenMP team and no CUDA context: each child starts its own, in the memory it was forked with. A
child that dies is told with the case it was at; the end of the connection ends everything.
"""

import gc
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

Message = dict[str, Any]


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    os.dup2(2, 1)  # what a library prints is no answer
    connection = Connection(int(arguments[0]))
    head, subject = arguments[1], arguments[2]
    # `vicreg_fast` is the subject's, `bench` is head's: the subject's folder holds no other package, unless
    # it is head.
    sys.path[:0] = [folder for folder in dict.fromkeys((subject, head)) if folder not in sys.path]
    import vicreg_fast.loss
    from bench.suite_loss.times import steady_allocator

    place = Path(vicreg_fast.loss.__file__).resolve()
    if Path(subject).resolve() not in place.parents:
        raise ImportError("vicreg_fast.loss was not imported from the checkout to be measured")
    suite = Path(arguments[3]) if len(arguments) > 3 else None
    steady_allocator()
    gc.collect()
    gc.freeze()  # so that a child's collector does not touch, and so copy, every page
    while True:
        try:
            order: Message = json.loads(connection.recv_bytes())
        except EOFError:
            return
        if not _carry_out(order, suite, connection):
            return


def _carry_out(order: Message, suite: Path | None, connection: Connection) -> bool:
    """In a child. False when the parent went away meanwhile."""
    receiver, sender = (Connection(number) for number in os.pipe())
    pid = os.fork()
    if pid == 0:
        receiver.close()
        connection.close()
        gc.disable()
        code = 1
        try:
            for message in carry_out(order, suite):
                sender.send_bytes(json.dumps(message).encode())
            code = 0
        except BrokenPipeError:
            pass
        except Exception as error:
            sender.send_bytes(json.dumps({"problem": _line(error)}).encode())
            code = 0
        finally:
            os._exit(code)  # without the clean-up of what the parent started
    sender.close()
    there = True
    while there:
        ready = wait([receiver, connection])
        if connection in ready:  # one order at a time: this is the end of the connection
            os.kill(pid, signal.SIGKILL)
            there = False
            break
        try:
            connection.send_bytes(receiver.recv_bytes())
        except EOFError:
            break
    receiver.close()
    _, status = os.waitpid(pid, 0)
    if there:
        code = os.waitstatus_to_exitcode(status)
        connection.send_bytes(json.dumps({"ended": code}).encode())
    return there


def carry_out(order: Message, suite: Path | None = None) -> Iterator[Message]:
    """The answers to one order: `describe`, `count`, `judge` or `time`. A case that raises is told as a
    problem of its own, and the next one begins."""
    import torch

    torch.set_num_threads(order["threads"])
    if order["do"] == "describe":
        yield _description(order["device"], suite)
        return
    device = torch.device(order["device"])
    from bench.suite_loss.cases import cases
    from bench.suite_loss.counts import count_call
    from bench.suite_loss.times import judge_calls, time_pairs

    known = cases(device.type)
    for asked in order["cases"]:
        name = asked["name"]
        try:
            case = known[name]
            if order["do"] == "count":
                yield {"case": name, "counts": count_call(case.build(device), *case.views(device))}
            elif order["do"] == "judge":
                calls, naive_calls = judge_calls(case, device, order["clock"])
                yield {"case": name, "calls": calls, "naive_calls": naive_calls}
            else:
                timed = time_pairs(
                    case,
                    device,
                    order["clock"],
                    calls=asked["calls"],
                    naive_calls=asked["naive_calls"],
                    pairs=order["pairs"],
                )
                yield {
                    "case": name,
                    "pid": os.getpid(),
                    "seconds": timed.seconds,
                    "naive_seconds": timed.naive_seconds,
                }
        # Whatever a checkout's loss raises must not end the measurement of the other cases.
        except Exception as error:
            yield {"case": name, "problem": _line(error)}
        gc.collect()


def _description(device_type: str, suite: Path | None) -> Message:
    """The subject's own cases, or head's where it has no suite, and the device that `auto` is."""
    import torch

    import bench.suite_loss.cases

    names = bench.suite_loss.cases if suite is None else _own_cases(suite)
    if device_type == "auto":
        device_type = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "device": device_type,
        "cuda": torch.cuda.is_available(),
        "cases": names.case_names(device_type),
        "timed": names.timed_names(device_type),
    }


def _own_cases(suite: Path) -> Any:
    """The module of the subject's own cases."""
    name = "_cases_of_the_subject"
    spec = importlib.util.spec_from_file_location(name, suite)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # which dataclasses look for
    spec.loader.exec_module(module)
    return module


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1:])
