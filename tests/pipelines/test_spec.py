from collections import Counter

import pytest
import torch

from pipelines.position import Position
from pipelines.sampling import (
    batch_indices,
    batches_in_epoch,
    derived_seed,
    epoch_order,
    image_uniforms,
    view_vectors,
)
from pipelines.spec import AUGMENTATIONS, UNIFORMS, ViewSpec
from pipelines.view_parameters import Column, ViewParameters


def drawn(spec: ViewSpec, seed: int, count: int, height: int, width: int) -> list[ViewParameters]:
    """Of `count` images of that size."""
    uniforms = image_uniforms(seed, 0, range(count), UNIFORMS)
    return [ViewParameters.of(vector) for vector in spec.sample(uniforms, [height] * count, [width] * count)]


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
    for parameters in drawn(ViewSpec(), 0, 200, height, width):
        top, left, h, w = parameters.crop
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
    ours = [parameters.crop for parameters in drawn(ViewSpec(), 0, 3000, 375, 500)]
    expected = torch.tensor(theirs, dtype=torch.float64)
    actual = torch.tensor(ours, dtype=torch.float64)
    error = (expected.std(dim=0) + actual.std(dim=0)) / 3000**0.5
    assert ((expected.mean(dim=0) - actual.mean(dim=0)).abs() < 4 * error).all()
    assert torch.allclose(expected.std(dim=0), actual.std(dim=0), rtol=0.08)


def test_rates_and_ranges_are_the_specified_ones() -> None:
    spec = AUGMENTATIONS["official"][1]
    views = drawn(spec, 1, 4000, 100, 100)
    rates = {
        "flip": (sum(p.flip for p in views), 0.5),
        "jitter": (sum(p.jitter is not None for p in views), 0.8),
        "gray": (sum(p.gray for p in views), 0.2),
        "blur": (sum(p.sigma is not None for p in views), 0.1),
        "solarize": (sum(p.solarize for p in views), 0.2),
    }
    for name, (count, rate) in rates.items():
        assert abs(count / 4000 - rate) < 4 * (rate * (1 - rate) / 4000) ** 0.5, name
    jitters = [dict(p.jitter) for p in views if p.jitter is not None]
    for name, low, high in (("brightness", 0.6, 1.4), ("saturation", 0.8, 1.2), ("hue", -0.1, 0.1)):
        values = [factors[name] for factors in jitters]  # type: ignore[index]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


def test_every_order_of_the_jitter_is_as_likely() -> None:
    views = drawn(ViewSpec(jitter=1.0), 2, 4800, 50, 50)
    orders = Counter(tuple(name for name, _ in view.jitter or ()) for view in views)
    assert len(orders) == 24
    assert min(orders.values()) > 140
    assert max(orders.values()) < 260


def test_a_view_depends_on_seed_epoch_and_index_alone() -> None:
    def views(seed: int, epoch: int, *indices: int) -> list[str]:
        """Both views of each image."""
        sizes = [375] * len(indices), [500] * len(indices)
        both = view_vectors("official", seed, epoch, indices, *sizes)
        return [str([ViewParameters.of(vector) for vector in pair]) for pair in zip(*both, strict=True)]

    assert views(0, 1, 2, 7) == views(0, 1, 2) + views(0, 1, 7)
    keys = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 1, 2), (0, 1, 3), (-1, 1, 2), (2**63 - 1, 1, 2))
    assert len({views(*key)[0] for key in keys}) == len(keys)


def test_random_numbers_are_those_of_every_version() -> None:
    """A run that resumes under another numpy has to see the same views."""
    found = image_uniforms(3, 5, [0, 1_281_166], 2)
    assert found.tolist() == [
        [0.08910064623458391, 0.33189185276481004],
        [0.8959219378208185, 0.4947810370206649],
    ]


def test_a_vector_says_what_the_parameters_say() -> None:
    for view in drawn(ViewSpec(blur=0.5, solarize=0.5), 3, 100, 70, 90):
        again = ViewParameters.of(view.vector())
        assert again == view
    some = ViewParameters(
        crop=(1, 2, 3, 4),
        flip=True,
        jitter=(("hue", 0.1), ("contrast", 1.2)),
        gray=False,
        sigma=None,
        solarize=True,
    )
    vector = some.vector()
    order = vector[Column.ORDER : Column.ORDER + 4].tolist()
    assert order == [3, 1, -1, -1]
    assert ViewParameters.of(vector) == some
    assert vector[Column.FACTORS : Column.FACTORS + 4].tolist() == [1.0, 1.2, 1.0, 0.1]


def test_ranks_share_each_global_batch_in_order() -> None:
    order = epoch_order(50, 4, 2).tolist()
    shares = []
    for rank in range(3):
        position = Position(
            pipeline="dali", data="", augmentation="official", image_size=8, batch_size=4, seed=4, rank=rank,
            world_size=3, epoch=2, step=1,
        )  # fmt: skip
        shares += batch_indices(position, 50)
    assert shares == order[12:24]


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
