import pytest

from bench.compare import throughput_ratio
from bench.loader import measure_loaders
from pipelines.manifest import Manifest


def test_rounds_alternate_and_records_pair(one_class_an_image: Manifest) -> None:
    records = measure_loaders(
        one_class_an_image,
        augmentation="official",
        image_size=32,
        batch_size=4,
        workers=2,
        rounds=2,
        seconds=0.1,
        pipelines=("dali", "torchvision"),
    )
    placed = [(record.round, record.position, record.scenario) for record in records]
    assert placed == [(0, 0, "dali"), (0, 1, "torchvision"), (1, 0, "torchvision"), (1, 1, "dali")]
    for record in records:
        assert (record.mode, record.batch_size, record.image_size) == ("loader-only", 4, 32)
        assert record.steps_per_window == 2
        assert len(record.window_seconds) >= 3
        assert sum(record.window_seconds) >= 0.1
        assert min(record.pairs_per_second) > 0
    ratio = throughput_ratio(records, "torchvision", "dali", "loader-only")
    assert ratio is not None
    assert ratio.samples == 2


def test_one_pipeline_is_enough(one_class_an_image: Manifest) -> None:
    records = measure_loaders(
        one_class_an_image,
        augmentation="small-images",
        image_size=32,
        batch_size=4,
        workers=1,
        rounds=1,
        seconds=0.05,
        pipelines=["torchvision"],
    )
    assert [record.scenario for record in records] == ["torchvision"]
    assert records[0].pairs_per_second[0] == pytest.approx(4 / records[0].window_seconds[0])
