"""What can be measured where, and what is said of the rest."""

import importlib.util
from typing import Any

import pytest
import torch

from bench import loss_providers
from bench.loss_providers import PROVIDERS, LossProvider, choose_providers
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import vicreg_loss
from vicreg_fast.loss.triton_support import triton_obstacle

CPU, FLOAT32 = torch.device("cpu"), (torch.float32,)


def _obstacles() -> dict[str, str | None]:
    return {provider.name: why for provider, why in choose_providers(None, CPU, FLOAT32)}


def test_every_provider_is_there_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    obstacles = _obstacles()
    assert list(obstacles) == list(PROVIDERS)
    for name in ("official", "solo-learn", "augwester", "auto", "gram", "covariance"):
        assert obstacles[name] is None
    for name in ("gram-triton", "covariance-triton"):
        assert "CUDA" in str(obstacles[name]) or "not installed" in str(obstacles[name])


def test_a_graph_is_captured_once_for_views_of_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = []

    def capture(shape: tuple[int, int], dtype: torch.dtype, *, device: torch.device) -> Any:
        captured.append((shape, dtype, device))
        return vicreg_loss

    monkeypatch.setattr(loss_providers, "graphed", capture)
    provider = PROVIDERS["auto-graphed"]
    assert provider.obstacle(CPU) == "CUDA graphs need CUDA"
    assert provider.obstacle(torch.device("cuda")) is None
    x, y = torch.randn(2, 8, 4)
    loss = provider.build()
    assert torch.equal(loss(x, y), vicreg_loss(x, y))
    assert torch.equal(loss(x, y), vicreg_loss(x, y))
    assert captured == [((8, 4), torch.float32, CPU)]


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("lightly", "lightly", "rivals"), ("stable-pretraining", "stable_pretraining", "rivals-all")],
)
def test_a_missing_package_is_named_with_its_extra(
    name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == module else find(n))
    expected = f"the package {name} is not installed; pip install 'vicreg-fast[{extra}]'"
    assert _obstacles()[name] == expected
    with pytest.raises(UsageError) as caught:
        choose_providers((name,), CPU, FLOAT32)
    assert str(caught.value) == f"--providers {name}: {expected}"


def test_torch_compile_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_providers.shutil, "which", lambda name: None)
    assert "C++ compiler" in str(_obstacles()["official-compiled"])


def test_interpreted_triton_is_timed_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    if (missing := triton_obstacle("cpu")) is not None:
        pytest.skip(missing)
    assert "interpreted" in str(_obstacles()["gram-triton"])
    assert choose_providers(("gram-triton",), CPU, FLOAT32) == [(PROVIDERS["gram-triton"], None)]
    with pytest.raises(UsageError, match="--providers gram-triton: it does not take float64"):
        choose_providers(("gram-triton",), CPU, (torch.float64,))


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'official'"):
        choose_providers(("oficial",), CPU, FLOAT32)


def test_providers_come_in_one_order() -> None:
    chosen = choose_providers(("gram", "official"), CPU, FLOAT32)
    assert [provider.name for provider, _ in chosen] == ["official", "gram"]


def test_the_record_says_what_the_plan_took() -> None:
    auto = PROVIDERS["auto"]
    assert auto.ran_as(4, 8, torch.float32, CPU) == ("gram", "torch")
    assert auto.ran_as(8, 4, torch.float32, CPU) == ("covariance", "torch")
    assert PROVIDERS["gram-triton"].ran_as(8, 4, torch.float32, CPU) == ("gram", "triton")


def test_a_provider_that_differs_says_by_what_and_why() -> None:
    def differs(provider: LossProvider) -> bool:
        return provider.preset != "official"

    assert [p.name for p in PROVIDERS.values() if differs(p)] == ["solo-learn", "augwester"]
    assert all(bool(p.convention) == differs(p) for p in PROVIDERS.values())
    assert "as in its source" in PROVIDERS["augwester"].record(None).convention
