"""Imported by a fork server: processes that start from it find DALI's graph of views converted from Python
already, which takes each of them two seconds else. Nothing is built, and no thread is started.
"""

from pathlib import Path

from pipelines.dali_graph import views_pipeline
from pipelines.manifest import Manifest
from pipelines.position import Position
from tests.training.runs import CPU, TINY

views_pipeline(
    manifest=Manifest(
        root=Path("nowhere"),
        split="train",
        files=("a.jpg",),
        labels=(0,),
        classes=("a",),
        file_bytes=(1,),
        heights=(1,),
        widths=(1,),
        formats=("JPEG",),
        skipped=(),
    ),
    position=Position(
        pipeline="dali",
        data="nothing",
        augmentation=TINY.augmentation,
        image_size=TINY.image_size,
        batch_size=1,
        seed=0,
        rank=0,
        world_size=1,
    ),
    threads=1,
    device=CPU,
    cache_mib=0,
    checkpoint=None,
)
