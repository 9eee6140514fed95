"""The public surface, the terms, and what is said to a caller whose views are wrong."""

import inspect

import pytest
import torch
from torch import Tensor

import vicreg_fast.loss
from vicreg_fast.errors import UsageError
from vicreg_fast.loss import VICRegLoss, VICRegTerms, vicreg_loss


def _views(n: int = 11, d: int = 23) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(2, n, d, generator=torch.Generator().manual_seed(0))
    return x, y


def test_public_names() -> None:
    names = ["GraphedLoss", "LossPlan", "VICRegLoss", "VICRegTerms", "graphed", "plan_loss", "vicreg_loss"]
    assert sorted(vicreg_fast.loss.__all__) == names


def test_signatures() -> None:
    def parameters(call: object) -> list[tuple[str, str, object]]:
        signature = inspect.signature(call)  # type: ignore[arg-type]
        return [(p.name, p.kind.name, p.default) for p in signature.parameters.values()]

    required, named, free = inspect.Parameter.empty, "KEYWORD_ONLY", "POSITIONAL_OR_KEYWORD"
    assert parameters(vicreg_loss) == [
        ("x", free, required),
        ("y", free, required),
        ("preset", named, "official"),
        ("form", named, "auto"),
        ("backend", named, "auto"),
        ("return_terms", named, False),
        ("invariance_weight", named, 25.0),
        ("variance_weight", named, 25.0),
        ("covariance_weight", named, 1.0),
        ("gamma", named, 1.0),
        ("eps", named, None),
        ("group", named, None),
        ("distributed", named, True),
    ]
    assert parameters(VICRegLoss) == [
        ("preset", free, "official"),
        ("invariance_weight", free, 25.0),
        ("variance_weight", free, 25.0),
        ("covariance_weight", free, 1.0),
        ("gamma", free, 1.0),
        ("eps", free, None),
        ("form", free, "auto"),
        ("backend", free, "auto"),
        ("group", free, None),
        ("distributed", free, True),
    ]
    assert parameters(VICRegLoss.forward)[1:] == [
        ("x", free, required),
        ("y", free, required),
        ("return_terms", free, False),
    ]
    assert VICRegTerms._fields == (
        "invariance",
        "variance",
        "covariance",
        "std_mean",
        "std_min",
        "dead_fraction",
        "effective_rank",
        "off_diagonal_energy",
    )


def test_the_module_is_the_function() -> None:
    x, y = _views()
    options = {"preset": "paper", "invariance_weight": 2.0, "variance_weight": 3.0, "covariance_weight": 4.0}
    options |= {"gamma": 0.5, "eps": 1e-3, "form": "covariance", "backend": "torch"}
    module = VICRegLoss(**options)
    loss, terms = module(x, y, return_terms=True)
    expected, expected_terms = vicreg_loss(x, y, return_terms=True, **options)
    assert torch.equal(loss, expected)
    assert torch.equal(module(x, y), expected)
    assert terms == expected_terms
    assert "preset='paper'" in repr(module)
    assert "gamma=0.5, eps=0.001" in repr(module)
    assert not module.state_dict()


def test_the_module_refuses_options_when_it_is_built() -> None:
    for wrong in ({"preset": "papers"}, {"form": "gramm"}, {"backend": "cuda"}, {"gamma": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            VICRegLoss(**wrong)


@pytest.mark.parametrize("form", ["gram", "covariance"])
def test_terms_are_what_torch_says_of_the_views(form: str) -> None:
    x, y = _views()
    x[:, :4] *= 1e-3
    x[:, 4] = 2.0
    loss, terms = vicreg_loss(x, y, form=form, return_terms=True)
    std = torch.sqrt(torch.stack([x.var(dim=0), y.var(dim=0)]) + 1e-4)
    torch.testing.assert_close(terms.std_mean, std.mean())
    torch.testing.assert_close(terms.std_min, torch.tensor(0.01))
    assert float(terms.dead_fraction) == pytest.approx(5 / 46)
    weighted = 25 * terms.invariance + 25 * terms.variance + terms.covariance
    torch.testing.assert_close(loss, weighted)
    assert all(term.shape == () and term.dtype == torch.float32 for term in terms)


def test_dead_is_relative_to_gamma() -> None:
    x, y = _views()
    for gamma, share in ((1.0, 0.0), (1e3, 1.0)):
        assert float(vicreg_loss(x, y, gamma=gamma, return_terms=True)[1].dead_fraction) == share


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.ones(4, 3), torch.ones(4, 5), r"one shape: they are \(4, 3\) and \(4, 5\)"),
        (torch.ones(4), torch.ones(4), r"must be 2-D, \(N, D\)"),
        (torch.ones(2, 4, 3), torch.ones(2, 4, 3), r"must be 2-D"),
        (torch.ones(1, 3), torch.ones(1, 3), "at least two rows and one dimension"),
        (torch.ones(4, 0), torch.ones(4, 0), "at least two rows and one dimension"),
        (
            torch.ones(4, 3, dtype=torch.int64),
            torch.ones(4, 3, dtype=torch.int64),
            r"convert them with .float\(\)",
        ),
        (torch.ones(4, 3), torch.ones(4, 3).half(), "one dtype: they are torch.float32 and torch.float16"),
        (torch.ones(4, 3), torch.ones(4, 3, device="meta"), "one device: they are on cpu and meta"),
    ],
)
def test_views_that_are_not_a_pair(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vicreg_loss(x, y)
    with pytest.raises(ValueError, match=message):
        VICRegLoss()(x, y)
