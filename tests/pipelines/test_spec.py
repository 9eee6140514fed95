from collections import Counter

import pytest
import torch

from pipelines.sampling import batches_in_epoch, derived_seed, epoch_order, sample_generator
from pipelines.spec import AUGMENTATIONS, ViewSpec


def test_official_views_are_those_of_the_authors_code() -> None:
    first, second = AUGMENTATIONS["official"]
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.1, 0.2)
    for spec in (first, second):
        assert (spec.crop_area, spec.flip, spec.jitter, spec.gray) == ((0.08, 1.0), 0.5, 0.8, 0.2)
        assert (spec.brightness, spec.contrast, spec.saturation, spec.hue) == (0.4, 0.4, 0.2, 0.1)


def test_small_images_do_not_blur() -> None:
    for spec in AUGMENTATIONS["small-images"]:
        assert (spec.crop_area, spec.blur, spec.solarize, spec.gray) == ((0.2, 1.0), 0.0, 0.1, 0.2)


@pytest.mark.parametrize(("height", "width"), [(375, 500), (1, 1), (500, 20), (20, 500), (33, 32)])
def test_crops_lie_inside_the_image(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        top, left, h, w = ViewSpec().sample(generator, height, width).crop
        assert min(top, left) >= 0
        assert min(h, w) >= 1
        assert top + h <= height
        assert left + w <= width


def test_crops_have_the_distribution_of_torchvision() -> None:
    import torchvision.transforms as transforms

    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    image = torch.empty(3, 375, 500)
    theirs = [transforms.RandomResizedCrop.get_params(image, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(3000)]
    torch.set_rng_state(torch_state)
    generator = torch.Generator().manual_seed(0)
    ours = [ViewSpec().sample(generator, 375, 500).crop for _ in range(3000)]
    expected = torch.tensor(theirs, dtype=torch.float64)
    actual = torch.tensor(ours, dtype=torch.float64)
    error = (expected.std(dim=0) + actual.std(dim=0)) / 3000**0.5
    assert ((expected.mean(dim=0) - actual.mean(dim=0)).abs() < 4 * error).all()
    assert torch.allclose(expected.std(dim=0), actual.std(dim=0), rtol=0.08)


def test_rates_and_ranges_are_the_specified_ones() -> None:
    spec = AUGMENTATIONS["official"][1]
    generator = torch.Generator().manual_seed(1)
    drawn = [spec.sample(generator, 100, 100) for _ in range(4000)]
    rates = {
        "flip": (sum(p.flip for p in drawn), 0.5),
        "jitter": (sum(p.jitter is not None for p in drawn), 0.8),
        "gray": (sum(p.gray for p in drawn), 0.2),
        "blur": (sum(p.sigma is not None for p in drawn), 0.1),
        "solarize": (sum(p.solarize for p in drawn), 0.2),
    }
    for name, (count, rate) in rates.items():
        assert abs(count / 4000 - rate) < 4 * (rate * (1 - rate) / 4000) ** 0.5, name
    jitters = [dict(p.jitter) for p in drawn if p.jitter is not None]
    for name, low, high in (("brightness", 0.6, 1.4), ("saturation", 0.8, 1.2), ("hue", -0.1, 0.1)):
        values = [factors[name] for factors in jitters]  # type: ignore[index]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


def test_every_order_of_the_jitter_is_as_likely() -> None:
    generator = torch.Generator().manual_seed(2)
    spec = ViewSpec(jitter=1.0)
    drawn = (spec.sample(generator, 50, 50).jitter for _ in range(4800))
    orders = Counter(tuple(name for name, _ in jitter or ()) for jitter in drawn)
    assert len(orders) == 24
    assert min(orders.values()) > 140
    assert max(orders.values()) < 260


def test_a_view_depends_on_seed_epoch_and_index_alone() -> None:
    def view(*key: int) -> object:
        return ViewSpec().sample(sample_generator(*key), 375, 500)

    assert view(0, 1, 2) == view(0, 1, 2)
    assert len({str(view(*key)) for key in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 1, 2), (0, 1, 3))}) == 5


def test_orders_are_permutations_that_differ() -> None:
    orders = [epoch_order(50, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(order.sort().values.equal(torch.arange(50)) for order in orders)
    assert not any(orders[a].equal(orders[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert derived_seed(0, 1) != derived_seed(1, 0)


def test_steps_are_the_same_on_every_rank() -> None:
    assert batches_in_epoch(103, 10, 2) == 5
    assert batches_in_epoch(99, 10, 2) == 4
    assert batches_in_epoch(103, 10, 2, 2) == 4
    assert batches_in_epoch(39, 10, 1, 4) == 0


def test_another_solarize_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="only 128"):
        ViewSpec(solarize_threshold=64)
