"""Which test images are shown, which training images are nearest to them, and their thumbnails."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_probe import clusters, some_images
from vicreg_fast.evaluation.neighbours import choose_queries, nearest_images
from vicreg_fast.evaluation.thumbnails import thumbnails


def test_queries_are_the_first_right_and_the_first_wrong_of_each_class() -> None:
    labels = torch.tensor([2, 0, 0, 1, 1, 0, 2])
    assert choose_queries(labels, (0, 1, 0, 1, 1, 2, 2), 3) == (2, 1, 3, 6, 0)
    many = torch.arange(1000)
    assert choose_queries(many, tuple(range(1000)), 1000) == tuple(k * 999 // 9 for k in range(10))
    assert choose_queries(labels, (0, 1, 0, 1, 1, 2, 2), 1) == (2, 1)


def test_the_nearest_images_are_those_of_brute_force() -> None:
    train, test = clusters(60, 3.0, 0), clusters(30, 3.0, 1)
    found = nearest_images(train, test, (7, 3))
    bank = train.features.double().numpy()
    for query, near in zip((7, 3), found, strict=True):
        feature = test.features[query].double().numpy()
        cosine = bank @ feature / np.linalg.norm(bank, axis=1) / np.linalg.norm(feature)
        assert [one.image for one in near] == np.argsort(-cosine)[:5].tolist()
        assert [one.similarity for one in near] == pytest.approx(np.sort(cosine)[::-1][:5], abs=1e-6)
    assert len(nearest_images(clusters(3, 1.0, 0), test, (0,))[0]) == 3
    assert nearest_images(train, test, ()) == ()


def test_thumbnails_shrink_until_they_fit_and_are_never_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = some_images(count=4, side=96).images
    images = {str(number): pixel for number, pixel in enumerate(pixels)} | {"small": some_images().images[0]}

    def sides() -> list[int]:
        return [
            Image.open(io.BytesIO(base64.b64decode(text))).size[0] for text in thumbnails(images).values()
        ]

    assert sides() == [64, 64, 64, 64, 32]
    most = sum(map(len, thumbnails(images).values()))
    monkeypatch.setattr("vicreg_fast.evaluation.thumbnails.MOST_CHARACTERS", most - 1)
    assert sides() == [48, 48, 48, 48, 32]
    monkeypatch.setattr("vicreg_fast.evaluation.thumbnails.MOST_CHARACTERS", 100)
    assert thumbnails(images) == {}
