"""The network against torchvision's own, and the layout the authors' code has."""

from typing import Any

import pytest
import torch
import torchvision
import torchvision.transforms.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vicreg_fast.config import Recipe
from vicreg_fast.model import Backbone, Normalize, build_network
from vicreg_fast.model.backbone import LAYOUTS, Shortcut
from vicreg_fast.model.expander import build_expander
from vicreg_fast.model.normalize import MEAN, STD

TINY = Recipe(
    backbone="resnet10", width=4, stem="cifar", image_size=32, expander="16-16-8", zero_init_residual=False
)


def images(count: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_at_width_64_it_is_torchvisions_resnet_without_fc(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)()
    theirs.fc = nn.Identity()
    ours = Backbone(name, width=64, stem="imagenet")
    ours.load_state_dict(theirs.state_dict())  # strict: the same names and shapes, none more
    theirs.load_state_dict(ours.state_dict())
    x = images(2, 64)
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    assert ours.features == ours(x).shape[1]


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_any_width_and_stem_gives_the_features_it_says(name: str, stem: str) -> None:
    backbone = Backbone(name, width=4, stem=stem)
    assert backbone(images(2)).shape == (2, backbone.features)
    assert backbone.features == 4 * 8 * (4 if name in ("resnet50", "resnet101") else 1)


def test_the_cifar_stem_keeps_the_resolution_and_imagenets_quarters_it() -> None:
    sides = {}
    for stem in ("imagenet", "cifar"):
        backbone = Backbone("resnet10", width=4, stem=stem)
        sides[stem] = backbone.maxpool(backbone.conv1(images(1))).shape[-1]
    assert sides == {"imagenet": 8, "cifar": 32}


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_init_residual_starts_every_block_as_its_shortcut(name: str) -> None:
    last = "bn3" if name == "resnet50" else "bn2"
    for zero in (True, False):
        backbone = Backbone(name, width=4, zero_init_residual=zero)
        gains = [block.get_parameter(f"{last}.weight") for block in backbone.layer2]
        assert all(bool((gain == (0 if zero else 1)).all()) for gain in gains)
    block = Backbone(name, width=4, zero_init_residual=True).layer2[1]
    x = images(2).new_ones(2, block.conv1.in_channels, 8, 8)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_convolutions_start_from_kaiming_normal_of_the_fan_out() -> None:
    torch.manual_seed(0)
    weight = Backbone("resnet18", width=64).layer4[1].conv2.weight
    expected = (2 / (512 * 9)) ** 0.5
    assert float(weight.detach().std()) == pytest.approx(expected, rel=0.01)


def test_the_expander_is_the_authors_projector() -> None:
    expander = build_expander(32, (16, 8, 4))
    kinds = [type(layer).__name__ for layer in expander]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    shapes = {name: tuple(value.shape) for name, value in expander.named_parameters()}
    assert shapes == {
        "0.weight": (16, 32), "0.bias": (16,), "1.weight": (16,), "1.bias": (16,),
        "3.weight": (8, 16), "3.bias": (8,), "4.weight": (8,), "4.bias": (8,), "6.weight": (4, 8),
    }  # fmt: skip


def test_an_expander_of_one_layer_is_that_layer() -> None:
    assert [tuple(p.shape) for p in build_expander(8, (4,)).parameters()] == [(4, 8)]


def test_the_recipes_network_has_its_widths_and_is_the_seeds() -> None:
    torch.manual_seed(3)
    first = build_network(TINY)
    torch.manual_seed(3)
    second = build_network(TINY)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    z_1, z_2 = first(images(4), images(4, seed=1))
    assert z_1.shape == z_2.shape == (4, 8)


@pytest.mark.parametrize("forward", ["separate", "joint"])
def test_channels_last_survives_to_the_last_stage(forward: str) -> None:
    network = build_network(TINY.replace(forward=forward)).to(memory_format=torch.channels_last)
    seen: list[bool] = []

    def note(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen.extend(t.is_contiguous(memory_format=torch.channels_last) for t in (*inputs, output))

    for module in network.backbone.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(note)
    views = [images(4, seed=s).contiguous(memory_format=torch.channels_last) for s in (0, 1)]
    channels_last = network(*views)
    assert len(seen) == (96 if forward == "separate" else 48)  # in and out of 12 convolutions and 12 norms
    assert all(seen)
    plain = build_network(TINY.replace(forward=forward))
    plain.load_state_dict(network.state_dict())
    for one, other in zip(channels_last, plain(*(v.contiguous() for v in views)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_joint_and_separate_differ_by_batch_statistics_alone() -> None:
    torch.manual_seed(0)
    separate, joint = build_network(TINY), build_network(TINY.replace(forward="joint"))
    joint.load_state_dict(separate.state_dict())
    separate.double()
    joint.double()
    x, y = images(6).double(), 3 + 2 * images(6, seed=1).double()
    with torch.no_grad():
        trained = torch.cat(separate(x, y)) - torch.cat(joint(x, y))
        assert float(trained.abs().max()) > 1e-3  # views of other statistics: one BatchNorm sees both
        joint.load_state_dict(separate.state_dict())
        evaluated = torch.cat(separate.eval()(x, y)) - torch.cat(joint.eval()(x, y))
        assert float(evaluated.abs().max()) < 1e-12


def test_separate_forwards_see_one_view_at_a_time() -> None:
    torch.manual_seed(0)
    network = build_network(TINY).double()
    x, y, other = images(6).double(), images(6, seed=1).double(), 5 + images(6, seed=2).double()
    with torch.no_grad():
        torch.testing.assert_close(network(x, y)[0], network(x, other)[0], rtol=0, atol=0)
        network.joint = True
        assert float((network(x, y)[0] - network(x, other)[0]).abs().max()) > 1e-3


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_normalize_is_torchvisions_to_fp32_rounding(memory_format: torch.memory_format) -> None:
    every_byte = torch.arange(256, dtype=torch.uint8).repeat(6).view(2, 3, 16, 16)
    views = every_byte.contiguous(memory_format=memory_format)
    exact = F.normalize(every_byte.double() / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    normalized = Normalize()(views)
    assert normalized.dtype == torch.float32
    assert normalized.is_contiguous(memory_format=memory_format)
    assert float((normalized.double() - exact).abs().max()) < 4 * torch.finfo(torch.float32).eps
    assert Normalize(torch.float64)(views).dtype == torch.float64
    torch.testing.assert_close(Normalize(torch.float64)(views), exact, rtol=1e-14, atol=1e-14)
    assert Normalize().state_dict() == {}
    assert (MEAN, STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Strides(TorchDispatchMode):
    """The strides of the 1×1 convolutions and how many channels come into each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, int]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default and args[1].shape[-1] == 1:
            self.seen.add((args[1].shape[1], args[3][0]))
        return func(*args, **(kwargs or {}))


def test_a_narrow_shortcut_takes_its_stride_first() -> None:
    """Where torch would write past the end of its weights' gradient, and the process crash later."""
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    narrow = Shortcut(8, 16, kernel_size=1, stride=2, bias=False).double()
    plain = nn.Conv2d(8, 16, kernel_size=1, stride=2, bias=False).double()
    plain.load_state_dict(narrow.state_dict())
    torch.testing.assert_close(narrow(x), plain(x.contiguous()))
    with Strides() as strides:
        for width in (4, 8, 16):
            build_network(TINY.replace(width=width)).backbone(images(2))
    assert strides.seen == {(4, 1), (8, 1), (16, 2), (32, 2), (64, 2)}
