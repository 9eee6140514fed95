"""The losses that `bench loss` measures: ours in every form and backend, and what else people use."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from types import MappingProxyType

import torch
from torch import Tensor

from bench.loss_record import LossSubject
from bench.rival_losses import (
    LossFunction,
    augwester_loss,
    lightly_loss,
    solo_learn_loss,
    stable_pretraining_loss,
)
from bench.rivals import official_loss
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import GraphedLoss, graphed, plan_loss, vicreg_loss
from vicreg_fast.loss.presets import require_name
from vicreg_fast.loss.triton_support import TRITON_DTYPES, interpreting, triton_obstacle

OFFICIAL = "official"


def _no_obstacle(device: torch.device) -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class LossProvider:
    """A loss to be measured."""

    name: str
    source: str
    build: Callable[[], LossFunction]
    """Makes the loss, anew at every shape."""
    ours: bool = False
    preset: str = OFFICIAL
    """The oracle's preset that its value and gradient are held to."""
    convention: str = ""
    """By what it differs from the official loss, and why; empty where it does not."""
    form: str = "covariance"
    """`gram`, `covariance`, or `auto`: then the plan of each shape says which."""
    backend: str = "torch"
    package: str | None = None
    dtypes: frozenset[torch.dtype] | None = None
    """Those it takes; None for any."""
    obstacle: Callable[[torch.device], str | None] = _no_obstacle
    """Why it cannot be measured on a device, in words; None where it can."""
    graphed: bool = False
    """Its first call captures what the others replay, and keeps the memory of it."""

    def record(self, obstacle: str | None) -> LossSubject:
        return LossSubject(
            name=self.name,
            ours=self.ours,
            source=self.source,
            preset=self.preset,
            convention=self.convention,
            version=metadata.version(self.package) if self.package and obstacle is None else None,
            obstacle=obstacle,
        )

    def ran_as(self, n: int, d: int, dtype: torch.dtype, device: torch.device) -> tuple[str, str]:
        """(form, backend) of a call on views (n, d)."""
        if self.form != "auto":
            return self.form, self.backend
        plan = plan_loss(n, n, d, dtype, device.type, backend=self.backend)
        return plan.form, plan.backend


def _compiler_obstacle(device: torch.device) -> str | None:
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "torch.compile needs Triton for CUDA"
    wanted = (os.environ.get("CXX"), "g++", "clang++")
    if any(shutil.which(name) for name in wanted if name):
        return None
    return "torch.compile needs a C++ compiler; install g++ or set CXX"


def _package_obstacle(module: str, how: str, device: torch.device) -> str | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return f"the package {module.replace('_', '-')} is not installed; {how}"


def _triton_obstacle(device: torch.device) -> str | None:
    if device.type == "cpu" and interpreting():
        return "Triton is interpreted, whose time says nothing; name it in --providers to run it all the same"
    return triton_obstacle(device.type)


def _graph_obstacle(device: torch.device) -> str | None:
    return None if device.type == "cuda" else "CUDA graphs need CUDA"


class _Graphed:
    """The loss as CUDA graphs, captured by the first call for views like its own."""

    def __init__(self) -> None:
        self._replay: GraphedLoss | None = None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        if self._replay is None:
            self._replay = graphed((x.shape[0], x.shape[1]), x.dtype, device=x.device)
        loss = self._replay(x, y)
        assert isinstance(loss, Tensor)
        return loss


def _ours(form: str, backend: str = "torch") -> LossProvider:
    name = form if backend in ("torch", "auto") else f"{form}-{backend}"
    return LossProvider(
        name=name,
        source="vicreg_fast.loss, the form and backend its plan takes"
        if form == "auto"
        else f"vicreg_fast.loss, {form} form, {backend}",
        build=lambda: partial(vicreg_loss, form=form, backend=backend),
        ours=True,
        form=form,
        backend=backend,
        dtypes=TRITON_DTYPES if backend == "triton" else None,
        obstacle=_triton_obstacle if backend == "triton" else _no_obstacle,
    )


def _compiled() -> LossFunction:
    compiled: LossFunction = torch.compile(official_loss, fullgraph=True, dynamic=False)
    return compiled


PROVIDERS: MappingProxyType[str, LossProvider] = MappingProxyType(
    {
        provider.name: provider
        for provider in (
            LossProvider(
                name=OFFICIAL,
                source="facebookresearch/vicreg, main_vicreg.py, eager",
                build=lambda: official_loss,
            ),
            LossProvider(
                name="official-compiled",
                source="the official loss under torch.compile, compile time excluded",
                build=_compiled,
                obstacle=_compiler_obstacle,
            ),
            LossProvider(
                name="lightly",
                source="the package lightly, lightly.loss.VICRegLoss",
                build=lightly_loss,
                package="lightly",
                obstacle=partial(_package_obstacle, "lightly", "pip install 'vicreg-fast[rivals]'"),
            ),
            LossProvider(
                name="stable-pretraining",
                source="the package stable-pretraining, stable_pretraining.losses.VICRegLoss",
                build=stable_pretraining_loss,
                package="stable-pretraining",
                obstacle=partial(
                    _package_obstacle, "stable_pretraining", "pip install 'vicreg-fast[rivals-all]'"
                ),
            ),
            LossProvider(
                name="solo-learn",
                source="solo-learn, solo/losses/vicreg.py, as a formula",
                build=lambda: solo_learn_loss,
                preset="summed",
                convention="its variance term is the sum over the views, not half of it, as in its source",
            ),
            LossProvider(
                name="augwester",
                source="augwester/vicreg, loss.py, as a formula",
                build=lambda: augwester_loss,
                preset="no-eps",
                convention="its variance term is the sum over the views, not half of it, and its standard "
                "deviation has no ε, as in its source",
            ),
            _ours("auto", "auto"),
            LossProvider(
                name="auto-graphed",
                source="vicreg_fast.loss.graphed: forward and backward each one CUDA graph",
                build=_Graphed,
                ours=True,
                form="auto",
                backend="auto",
                obstacle=_graph_obstacle,
                graphed=True,
            ),
            _ours("gram"),
            _ours("covariance"),
            _ours("gram", "triton"),
            _ours("covariance", "triton"),
        )
    }
)


def choose_providers(
    names: tuple[str, ...] | None, device: torch.device, dtypes: tuple[torch.dtype, ...]
) -> list[tuple[LossProvider, str | None]]:
    """Providers, in the order of PROVIDERS, each with why it cannot be measured, None where it can.

    All of them where `names` is None. Raises UsageError for a name that is none, and for a provider that was
    asked for by name and cannot be measured.
    """
    for name in names or ():
        require_name("--providers", name, PROVIDERS)
    chosen = []
    for provider in PROVIDERS.values():
        if names is not None and provider.name not in names:
            continue
        asked_in_spite = names is not None and provider.backend == "triton" and interpreting()
        why = triton_obstacle(device.type) if asked_in_spite else provider.obstacle(device)
        if why is None and provider.dtypes is not None and not set(dtypes) & provider.dtypes:
            why = f"it does not take {', '.join(str(d).removeprefix('torch.') for d in dtypes)}"
        if why is not None and names is not None:
            raise UsageError(f"--providers {provider.name}: {why}")
        chosen.append((provider, why))
    return chosen
