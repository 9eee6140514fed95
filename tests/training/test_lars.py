"""LARS against its formula, one parameter at a time, in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn

from vicreg_fast.config import Recipe
from vicreg_fast.training.lars import LARS
from vicreg_fast.training.optimizers import build_optimizer, set_learning_rate

SHAPES = {"conv": (5, 3, 3, 3), "linear": (4, 7), "bias": (4,), "zero": (3, 2), "zero bias": (3,)}
STEPS = 50


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [
        nn.Parameter((0 if name.startswith("zero") else 1) * torch.randn(shape, generator=generator).double())
        for name, shape in SHAPES.items()
    ]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    made = [torch.randn(shape, generator=generator).double() for shape in SHAPES.values()]
    return [torch.zeros_like(g) for g in made] if step % 10 == 3 else made


def rate(step: int) -> float:
    return 0.3 * (step + 1) / STEPS


def by_the_formula(decay: float, momentum: float = 0.9, eta: float = 0.001) -> list[Tensor]:
    weights = [p.detach().clone() for p in parameters()]
    velocity = [torch.zeros_like(w) for w in weights]
    for step in range(STEPS):
        for i, g in enumerate(gradients(step)):
            w, d = weights[i], g
            if w.ndim > 1:
                d = g + decay * w
                norm_w, norm_d = float((w * w).sum()) ** 0.5, float((d * d).sum()) ** 0.5
                if norm_w > 0 and norm_d > 0:
                    d = d * (eta * norm_w / norm_d)
            velocity[i] = momentum * velocity[i] + d
            weights[i] = w - rate(step) * velocity[i]
    return weights


def trained(
    optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: range, *, tensor_lr: bool
) -> None:
    for step in steps:
        for p, g in zip(params, gradients(step), strict=True):
            p.grad = g
        set_learning_rate(
            optimizer, torch.tensor(rate(step), dtype=torch.float64) if tensor_lr else rate(step)
        )  # type: ignore[arg-type]
        optimizer.step()


@pytest.mark.parametrize("tensor_lr", [False, True], ids=["float", "0-d tensor"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_fifty_steps_are_the_formulas(decay: float, tensor_lr: bool) -> None:
    params = parameters()
    trained(LARS(params, lr=0.0, weight_decay=decay), params, range(STEPS), tensor_lr=tensor_lr)
    for name, p, expected in zip(SHAPES, params, by_the_formula(decay), strict=True):
        torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=1e-12, msg=name)
    moved = [float((p - q).detach().abs().max()) for p, q in zip(params, parameters(), strict=True)]
    assert min(moved) > 1e-4  # each of them is trained


def test_other_momentum_and_trust_coefficient_are_used() -> None:
    params = parameters()
    optimizer = LARS(params, lr=0.0, weight_decay=0.01, momentum=0.5, trust_coefficient=0.02)
    trained(optimizer, params, range(STEPS), tensor_lr=False)
    for p, expected in zip(params, by_the_formula(0.01, 0.5, 0.02), strict=True):
        torch.testing.assert_close(p.detach(), expected, rtol=1e-12, atol=1e-12)


def test_a_state_dict_carries_the_momentum() -> None:
    params = parameters()
    optimizer = LARS(params, lr=0.0, weight_decay=0.01)
    trained(optimizer, params, range(20), tensor_lr=False)
    twin = [nn.Parameter(p.detach().clone()) for p in params]
    fresh = LARS(twin, lr=1.0)
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    trained(optimizer, params, range(20, STEPS), tensor_lr=False)
    trained(fresh, twin, range(20, STEPS), tensor_lr=False)
    assert all(torch.equal(p, q) for p, q in zip(params, twin, strict=True))


def test_a_parameter_without_gradient_is_left_and_gets_no_state() -> None:
    params = parameters()
    optimizer = LARS(params, lr=0.1, weight_decay=0.1)
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert not torch.equal(params[0], parameters()[0])
    assert all(torch.equal(p, q) for p, q in zip(params[1:], parameters()[1:], strict=True))
    assert set(optimizer.state) == {params[0]}


def test_a_closure_is_run_with_gradients_and_its_loss_returned() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([weight], lr=0.1)

    def closure() -> Tensor:
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 4.0
    assert not torch.equal(weight, torch.ones(2, 2))


@pytest.mark.parametrize("name", ["lars", "adamw", "sgd"])
def test_decay_spares_biases_and_norms_whichever_the_optimizer(name: str) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    before = copy.deepcopy(network.state_dict())
    recipe = Recipe(optimizer=name, weight_decay=0.5, trust_coefficient=1.0)  # type: ignore[arg-type]
    optimizer = build_optimizer(recipe, network)
    set_learning_rate(optimizer, 0.1)
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    after = network.state_dict()
    assert torch.equal(after["0.bias"], before["0.bias"])
    assert torch.equal(after["1.weight"], before["1.weight"])
    assert float(after["0.weight"].norm()) < float(before["0.weight"].norm())


def test_frozen_parameters_are_not_optimised() -> None:
    network = nn.Linear(4, 4)
    network.bias.requires_grad_(False)
    for name in ("lars", "adamw"):
        groups = build_optimizer(Recipe(optimizer=name), network).param_groups
        assert [p for group in groups for p in group["params"]] == [network.weight]
