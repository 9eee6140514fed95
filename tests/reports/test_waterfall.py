"""The picture, the sentences and the table of a ladder."""

import math
import re
from typing import Any

import pytest

from bench.changes import CHANGES
from bench.compare import Interval
from bench.ladder import Ladder, Rung, judge
from reports.waterfall import ladder_sentences, ladder_table, ladder_unmeasured, ladders, log_ticks, waterfall


def interval(estimate: float, spread: float = 0.02, samples: int = 8) -> Interval:
    return Interval(
        estimate=estimate, low=estimate * (1 - spread), high=estimate * (1 + spread), samples=samples
    )


def rung(
    change: str, forwards: Interval | None = None, backwards: Interval | None = None, **more: Any
) -> Rung:
    effects = [effect for effect in (forwards, backwards) if effect is not None]
    fields: dict[str, Any] = {"beyond": False, "missing": None, **more}
    paid = "not here" if fields["missing"] else judge(effects)
    return Rung(
        change=change,
        description=CHANGES.get(change, change),
        forwards=forwards,
        backwards=backwards,
        paid=paid,
        **fields,
    )


def ladder(*rungs: Rung, total: Interval | None) -> Ladder:
    return Ladder(mode="end-to-end", bottom="plain", top="fast", rungs=rungs, total=total)


FULL = ladder(
    rung("amp", missing="needs CUDA"),
    rung("channels_last", interval(1.2), interval(1.1)),
    rung("dali", interval(2.0), interval(1.5)),
    rung("foreach", interval(0.96), interval(0.98)),
    rung("fused_loss", interval(1.3), interval(1.0)),
    rung("compile", interval(1.05, 0.1), beyond=True),
    total=interval(3.0),
)


def test_the_finding_and_what_does_not_pay_are_the_title() -> None:
    picture = waterfall(FULL)
    assert picture.title == "dali brings most end to end: 2.0×; foreach does not pay"
    for words in ("+ channels_last", "does not pay", "undecided", "not here", "fast", "plain"):
        assert f">{words}<" in picture.svg
    assert "amp: not here, needs CUDA" in picture.alt
    assert "foreach: (0.96×, 0.94–0.98; backwards 0.98×, 0.96–1.00), does not pay" in picture.alt
    assert "all together 3.0×" in picture.alt


def test_bars_stand_on_one_another_and_the_last_spans_all() -> None:
    """On the page a factor is a length: that of `fast` is as long as its factor says beside the others."""
    svg = waterfall(FULL).svg
    found = [
        [float(number) for number in re.findall(r"[ML] ([\d.]+) [\d.]+", path)]
        for path in re.findall(
            r'<path d="(M [^"]+z)[^"]*"[^>]*clip-path[^>]*style="fill: var\(--scenario', svg
        )
    ]
    spans = [(min(xs), max(xs)) for xs in found]
    start = min(left for left, _ in spans)
    grow = {change: spans[index] for index, change in enumerate(("plain", "channels_last", "dali"))}
    assert grow["channels_last"][0] == pytest.approx(start, abs=0.1)
    assert grow["dali"][0] == pytest.approx(grow["channels_last"][1], abs=0.1)
    whole = max(spans, key=lambda span: span[1] - span[0])
    unit = (grow["dali"][1] - grow["dali"][0]) / math.log(2.0)
    assert whole[0] == pytest.approx(start, abs=0.1)
    assert (whole[1] - whole[0]) / unit == pytest.approx(math.log(3.0), rel=0.02)


def test_sentences_say_what_pays_what_does_not_and_what_is_not_here() -> None:
    text = "\n".join(ladder_sentences(FULL))
    assert text.startswith("All changes together make plain 3.0× as fast end to end (95 % interval")
    assert re.search(r"What pays end to end: channels_last \(1\.20×.*and dali|channels_last.*dali", text)
    assert "What does not pay end to end, by bringing less than 2 % or costing speed: foreach (0.96×" in text
    assert "Undecided end to end: fused_loss" in text
    assert "On top of fast, compile is undecided (1.05×" in text
    assert "Not here" not in text
    assert ladder_unmeasured(FULL) == "Not here: amp (needs CUDA)."


def test_the_table_has_a_row_for_every_change_and_one_for_all() -> None:
    table = ladder_table(FULL)
    assert [row[0] for row in table.rows] == [
        "amp",
        "channels_last",
        "dali",
        "foreach",
        "fused_loss",
        "compile, on top of fast",
        "fast ÷ plain",
    ]
    assert table.rows[0][-1] == "not here: needs CUDA"
    assert table.rows[2][2:6] == ("2.0×", "1.96–2.04", "1.50×", "1.47–1.53")


@pytest.mark.parametrize(
    "odd",
    [
        ladder(total=None),
        ladder(rung("amp", missing="<b>no\nCUDA</b> " * 20), total=None),
        ladder(rung("dali", interval(1.0, 0.0, 1)), total=interval(1.0, 0.0, 1)),
        ladder(rung("dali", None, interval(1e-6)), rung("amp", interval(1e6)), total=interval(1e6, 0.9)),
        ladder(rung("<script>" * 9, interval(1.5)), total=interval(1.5)),
    ],
)
def test_an_odd_ladder_is_drawn_too(odd: Ladder) -> None:
    picture = waterfall(odd)
    assert "<script>" not in picture.svg
    assert "nan" not in picture.svg
    assert len(ladder_sentences(odd)) >= 1
    assert len(ladder_table(odd).rows) >= len(odd.rungs)


@pytest.mark.parametrize(
    ("low", "high"), [(0.98, 1.03), (0.9, 1.6), (0.95, 3.4), (1, 14), (0.01, 300), (1, 1e6)]
)
def test_ticks_are_round_and_few(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    assert all(len(f"{tick:g}") <= 7 for tick in ticks)


def test_a_report_without_a_ladder_has_none(full_run: Any) -> None:
    from reports.summary import summarise

    assert ladders(summarise(full_run.report())) == ()
