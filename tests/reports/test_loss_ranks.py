"""One rank's share of a loss in the report of losses."""

from pathlib import Path
from typing import Any

import pytest

from reports.loss_ranks import rank_rows, rank_tables, standing_for_ours
from reports.loss_render import render_loss_html, render_loss_markdown
from tests.reports.loss_runs import LossRun
from tests.reports.proof_runs import rank_timing


def run(folder: Path, *ranks: Any) -> LossRun:
    losses = LossRun(folder / "l.jsonl", "official", "auto").timed({"official": 2.0, "auto": 1.0})
    losses.records += ranks
    return losses


def test_a_share_has_a_table_with_the_authors_first(tmp_path: Path) -> None:
    report = run(tmp_path, rank_timing("auto", 1.0), rank_timing("official", 30.0)).report()
    (table,) = rank_tables(report)
    assert table.title.startswith("One rank of 8: 256 rows of 2048 × 8192, bfloat16, cuda")
    assert [row[0] for row in table.rows] == ["official", "auto"]
    assert table.rows[0][-2:] == ("–", "–")
    assert table.rows[1] == ("auto", "gram", "1.00", "0.98–1.02", "30×", "30–30")
    assert report.records[-2:] == report.ranks
    assert table.title in render_loss_html(report)
    assert "1.00 | 0.98–1.02 | 30×" in render_loss_markdown(report)


def test_a_share_is_no_time_of_the_whole_loss(tmp_path: Path) -> None:
    alone = run(tmp_path).report()
    (tmp_path / "l.jsonl").unlink()
    beside = run(tmp_path, rank_timing("auto", 1.0)).report()
    assert alone.timings == beside.timings
    assert alone.places == beside.places


@pytest.mark.parametrize("seconds", [(), (0.0,), (-1.0,), (1e12,)])
def test_a_share_that_no_call_takes_is_left_out(tmp_path: Path, seconds: tuple[float, ...]) -> None:
    report = run(tmp_path, rank_timing("auto", 1.0, seconds=seconds)).report()
    assert report.ranks == ()
    (problem,) = report.problems
    assert "a rank's share of auto at 256 × 8192, bfloat16" in problem


def test_of_two_timings_the_last_counts_and_auto_stands_for_ours(tmp_path: Path) -> None:
    ranks = (rank_timing("auto", 5.0), rank_timing("auto", 1.0), rank_timing("gram", 0.5))
    ((share, rows),) = rank_rows(run(tmp_path, *ranks).report()).items()
    assert (share.rows, share.world_size) == (256, 8)
    ours = standing_for_ours(rows)
    assert ours is not None
    assert (ours.provider, ours.seconds.estimate) == ("auto", pytest.approx(1e-3))
    assert standing_for_ours([row for row in rows if row.provider != "auto"]) == rows[1]
    assert standing_for_ours([]) is None
