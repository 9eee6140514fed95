"""DALI's decoder and Pillow give the same RGB for every format that passes the check."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.dali_ops import fn, types
from pipelines.image_check import decode_rgb

LOSSY_PALETTE = 1.0
"""Out of 255: rounding of 16-bit colours to 8."""


def decoded_by_dali(path: Path) -> np.ndarray:
    from nvidia.dali import pipeline_def

    @pipeline_def
    def graph() -> Any:
        encoded, _ = fn.readers.file(files=[str(path)], labels=[0])
        return fn.decoders.image(encoded, output_type=types.RGB, adjust_orientation=False, device="cpu")

    pipeline = graph(batch_size=1, num_threads=1, device_id=None, exec_dynamic=True)
    pipeline.build()
    (output,) = pipeline.run()
    return np.array(output.at(0))


def test_both_decoders_agree(usable: list[str], tmp_path: Path) -> None:
    assert len(usable) > 20
    for name in usable:
        ours = decoded_by_dali(tmp_path / name).astype(np.int64)
        theirs = np.asarray(decode_rgb(tmp_path / name)).astype(np.int64)
        assert ours.shape == theirs.shape == (64, 96, 3), name
        assert np.abs(ours - theirs).max() <= LOSSY_PALETTE, name


@pytest.mark.parametrize("name", ["empty.jpg", "cut.jpg", "cut.png", "no end.png", "moving.gif", "text.jpg"])
def test_what_is_skipped_would_have_ended_dali(name: str, unusable: dict[str, str], tmp_path: Path) -> None:
    assert name in unusable
    with pytest.raises(RuntimeError, match=r"(?s)."):
        decoded_by_dali(tmp_path / name)
