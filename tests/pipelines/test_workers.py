"""The processes of the torchvision back end, and what DALI's absence means."""

import builtins
import multiprocessing
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import psutil
import pytest
import torch

from pipelines.factory import make_views, resolve_pipeline
from pipelines.manifest import Manifest
from pipelines.torchvision_views import TorchvisionViews
from tests.processes import wait_until_gone
from vicreg_fast.errors import UsageError

RUN_FOREVER = """
import sys
from pipelines.factory import make_views
from pipelines.manifest import load_manifest
views = make_views("torchvision", load_manifest(sys.argv[1]), augmentation="official", image_size=32,
                   batch_size=4, seed=0, workers=2, device="cpu")
for number, batch in enumerate(views):
    if number == 2:
        print("running", flush=True)
"""


def test_workers_die_with_a_killed_parent(one_class_an_image: Manifest) -> None:
    root = one_class_an_image.root.parent
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", RUN_FOREVER, str(root)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "running\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
        parent.kill()
        parent.wait()
        wait_until_gone(*(worker.pid for worker in workers))


def test_workers_leave_signals_to_the_parent_and_end_on_close(one_class_an_image: Manifest) -> None:
    before = set(multiprocessing.active_children())
    views = TorchvisionViews(
        one_class_an_image,
        augmentation="official",
        image_size=32,
        batch_size=4,
        seed=0,
        workers=2,
        device=torch.device("cpu"),
    )
    batches = iter(views)
    assert len(list(islice(batches, 4))) == 4  # by now both have begun
    workers = [psutil.Process(child.pid) for child in set(multiprocessing.active_children()) - before]
    assert len(workers) == 2
    for worker in workers:
        worker.send_signal(signal.SIGINT)
        # Not from the parent, which this process is: from a scheduler, say.
        subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    assert len(list(islice(batches, 6))) == 6
    workers[0].terminate()
    wait_until_gone(workers[0].pid)
    assert workers[1].is_running()
    batches.close()  # type: ignore[attr-defined]
    views.close()
    wait_until_gone(*(worker.pid for worker in workers))


def test_work_in_process_gives_the_same_batches(one_class_an_image: Manifest) -> None:
    given = []
    for workers in (0, 2):
        views = TorchvisionViews(
            one_class_an_image,
            augmentation="small-images",
            image_size=32,
            batch_size=4,
            seed=0,
            workers=workers,
            device=torch.device("cpu"),
        )
        given.append(list(islice(iter(views), 7)))
        views.close()
    for first, second in zip(*given, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def no_dali(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("nvidia.dali")]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name: str, *args: object, **options: object) -> object:
        if name.startswith("nvidia.dali"):
            raise ImportError("libdali.so: cannot open shared object file")
        return real(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("no_dali")
def test_without_dali_auto_falls_back_and_says_why(one_class_an_image: Manifest) -> None:
    name, reason = resolve_pipeline("auto", "cpu")
    assert name == "torchvision"
    assert reason is not None
    assert "vicreg-fast[cuda13]" in reason
    options = {"augmentation": "official", "image_size": 32, "batch_size": 4, "seed": 0, "workers": 1}
    views = make_views("auto", one_class_an_image, device="cpu", **options)  # type: ignore[arg-type]
    assert views.name == "torchvision"
    views.close()
    with pytest.raises(UsageError, match=r"cuda13.*cuda12.*--pipeline torchvision") as caught:
        make_views("dali", one_class_an_image, device="cpu", **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_without_numba_dali_is_refused_on_a_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    name, reason = resolve_pipeline("auto", "cpu")
    assert name == "torchvision"
    assert reason is not None
    assert "Numba" in reason
    assert "vicreg-fast[cuda13]" in reason
    assert resolve_pipeline("auto", "cuda") == ("dali", None)


def test_with_dali_auto_takes_it() -> None:
    assert resolve_pipeline("auto", "cpu") == ("dali", None)
    assert resolve_pipeline("torchvision", "cpu") == ("torchvision", None)
