"""The page is one file that asks for nothing, shows what a record holds as text, and never varies."""

import base64
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from bench.ladder_record import LadderRung
from bench.limits_record import Energy, StepWork, TraceShares
from bench.loss_record import Ceiling
from bench.record import read_records
from reports.frames import samples_csv
from reports.load import load_report
from reports.render import print_report, render_html, render_markdown, write_files, write_report
from reports.verdict import verdict
from vicreg_fast.errors import RecordError

HOSTILE = '</style><script>alert(1)</script><img src="http://evil.test/x" onerror=alert(2)>\x1b[31m\u202e'
VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use", "rect", "circle", "line"}


class Page(HTMLParser):
    """Tags in order, with their attributes, and the text outside of them; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def assert_self_contained(page: Page, html: str) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "poster", "srcset", "data"):
                assert str(value).startswith(("#", "data:")), (tag, name, value)
            elif not name.startswith("xmlns") and name != "aria-label":
                assert "url(h" not in str(value)
                assert "url(/" not in str(value)
    styles = re.findall(r"<style>(.*?)</style>", html, flags=re.DOTALL)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]


def test_the_page_asks_for_nothing_and_nests(full_html: str) -> None:
    assert_self_contained(Page(full_html), full_html)


def test_pictures_come_at_once_then_what_stands_against_them_and_the_rest(full_run) -> None:
    full_run.plan |= {"energy": "not measured: no counter"}
    report = full_run.failure("tuned", "throughput", "no C compiler").report()
    words = Page(render_html(report)).words
    said = verdict(report)
    places = [
        words.index(text)
        for text in (
            said.headline,
            *(card.detail for card in said.cards),
            "vicreg-fast reaches the baseline's final accuracy after",
            "vicreg-fast was faster than baseline in 8 of 8 rounds",
            "Before you believe it",
            *(words for title, sentences in said.sections for words in (title, *sentences)),
            *("More pictures", "Numbers", "Scenarios", "Everything else", "Energy was not measured"),
        )
    ]
    assert places == sorted(places)
    assert [title for title, _ in said.sections] == [
        "The other scenarios",
        "What sets the pace",
        "How much is learnt",
    ]
    for text in (said.machine, "DALI decodes on the CPU: there is no GPU", "gram (triton)", "Test CPU"):
        assert text in words


def test_the_terminal_says_the_verdict_on_one_screen(full_report) -> None:
    console = Console(file=io.StringIO(), width=120)
    print_report(full_report, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    said = verdict(full_report)
    opening = [line.strip() for line in lines[: lines.index(next(x for x in lines if "Throughput" in x))]]
    assert opening[0] == f"✓ {said.headline}"
    assert [line[0] for line in opening[1:4]] == ["✓"] * 3
    assert opening[-1] == said.others[0]
    assert len(opening) <= 6
    assert "Measured on Test CPU" in " ".join(lines[-2:])


def test_hostile_text_is_shown_as_text(new_run, new_scenario) -> None:
    scenario = new_scenario(HOSTILE, description=HOSTILE, notes=(HOSTILE,), loss=HOSTILE)
    run = new_run(
        "baseline", scenario, contender=HOSTILE, command=HOSTILE, data=HOSTILE, recipe={HOSTILE: HOSTILE}
    )
    run.environment |= {"processor": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    run.throughput("baseline", [100.0] * 2).throughput(HOSTILE, [200.0] * 2).accuracy(
        HOSTILE, [61.0], [(1.0, 50.0)]
    )
    run.memory(HOSTILE, 1.0).failure(HOSTILE, HOSTILE, HOSTILE)
    html = render_html(run.report())
    page = Page(html)
    assert_self_contained(page, html)
    assert "alert(1)</script>" in page.words
    assert "\x1b" not in html
    assert "\u202e" not in html
    console = Console(file=io.StringIO(), width=100)
    print_report(run.report(), console)
    assert "\x1b" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_problems_and_failures_are_on_every_output(full_run) -> None:
    full_run.failure("tuned", "throughput", "no C compiler")
    report = full_run.line('{"schema_version": 3}\n{"torn').report()
    console = Console(file=io.StringIO(), width=200)
    print_report(report, console)
    outputs = (Page(render_html(report)).words, console.file.getvalue())  # type: ignore[attr-defined]
    for text in outputs:
        assert "schema 3 is newer than this version reads (1); upgrade vicreg-fast" in text
        assert "not a whole JSON object" in text
        assert "no C compiler" in text
    markdown = render_markdown(report)
    assert "schema 3 is newer than this version reads (1); upgrade vicreg-fast" in markdown
    assert "tuned failed during throughput: no C compiler" in markdown


def test_markdown_begins_with_the_verdict(full_run) -> None:
    report = full_run.report()
    lines = render_markdown(report).splitlines()
    assert lines[0] == "## vicreg-fast bench"
    assert lines[2] == f"**✓ {verdict(report).headline}**"
    assert {"### Throughput", "### Memory", "### Linear accuracy", "### Environment"} <= set(lines)


def test_every_record_can_be_taken_from_the_page(full_report, full_html: str, tmp_path: Path) -> None:
    links = {a["download"]: a["href"] for tag, a in Page(full_html).tags if tag == "a"}
    assert set(links) == {"records.jsonl", "samples.csv"}
    body = base64.b64decode(str(links["records.jsonl"]).split(",", 1)[1])
    (tmp_path / "taken.jsonl").write_bytes(body)
    assert load_report([tmp_path / "taken.jsonl"]).records == full_report.records


def test_an_unfinished_loss_and_an_empty_run_render(new_run) -> None:
    assert "was not measured" in Page(render_html(new_run().report())).words
    run = new_run().accuracy("fast", [61.0])
    run.records[0] = run.records[0].model_copy(update={"final_loss": 1.5})
    line = run.records[0].model_dump_json().replace("1.5", "NaN").replace('"seed":0', '"seed":1')
    report = run.line(line + "\n").report()
    assert len(report.accuracies) == 2
    assert "nan" in Page(render_html(report)).words


def test_equal_records_give_equal_bytes(full_run, full_report, full_html: str, tmp_path: Path) -> None:
    written = write_report([full_run.write()], tmp_path / "two" / "deeper")
    assert set(written) == {"report.html", "report.md", "samples.csv"}
    assert written["report.html"].read_text(encoding="utf-8") == full_html
    assert written["report.md"].read_text(encoding="utf-8") == render_markdown(full_report)
    assert written["samples.csv"].read_text(encoding="utf-8") == samples_csv(full_report)


def test_a_report_replaces_itself_and_leaves_nothing_else(new_run, tmp_path: Path) -> None:
    path = new_run().write()
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    write_report([path], out)
    write_report([path], out)
    assert sorted(entry.name for entry in out.iterdir()) == [
        "mine.txt",
        "report.html",
        "report.md",
        "samples.csv",
    ]
    assert (out / "report.html").stat().st_mode & 0o044 == 0o044
    assert read_records(path)[1] == []


def test_an_unwritable_folder_is_one_line(new_run, tmp_path: Path) -> None:
    path = new_run().write()
    occupied = tmp_path / "file"
    occupied.write_text("kept")
    for out in (occupied, occupied / "below"):
        with pytest.raises(
            RecordError, match=r"the report cannot be written there .*; choose another --out"
        ) as caught:
            write_report([path], out)
        assert "\n" not in str(caught.value)
    assert occupied.read_text() == "kept"


def test_a_full_disk_leaves_the_old_report(new_run, tmp_path: Path, monkeypatch) -> None:
    path, out = new_run().write(), tmp_path / "out"
    write_report([path], out)
    before = {entry.name: entry.read_bytes() for entry in out.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left on device"):
        write_report([path], out)
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == before


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_files({"pipe": "words"}, tmp_path)
        assert os.read(reader, 100) == b"words"
    finally:
        os.close(reader)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_reports_import_no_torch() -> None:
    code = "import sys, reports.render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_many_scenarios_of_any_name_with_extreme_numbers_render(new_run, tmp_path: Path) -> None:
    """Twelve scenarios, one round, one seed, and every number as large or as small as is still believed."""
    names = [f"{HOSTILE}{number}" for number in range(12)]
    change = LadderRung(change=HOSTILE, description=HOSTILE, forwards=(names[0], names[1]))
    run = new_run(*names, baseline=names[0], contender=names[1], rounds=1, seeds=(0,), ladder=(change,))
    for number, name in enumerate(names):
        rate = (1e-3, 1e10, 100.0)[number % 3]
        run.throughput(name, [rate]).throughput(name, [rate], "compute-only", wait=0.0)
        run.memory(name, (1e-9, 1e6, 1.0)[number % 3], device=(None, 0.0, 1e6)[number % 3])
        run.accuracy(name, [(0.0, 100.0)[number % 2]], [(0.0, 0.0), ((0.0, 1e8)[number % 2], 100.0)])
        count = (1, 10**20)[number % 2]
        run.records += [
            StepWork(
                scenario=name, device="cpu", dtype="float32", batch_size=1, network_flops=count,
                loss_least_flops=0, loss_flops=0, parameter_bytes=1, gradient_bytes=0,
                optimizer_state_bytes=0, view_bytes=0, operator_bytes=count,
            ),
            Energy(
                scenario=name, mode="end-to-end", round=0, source="nvml", joules=(0.0,),
                window_seconds=(1e-9,), pairs_per_window=1, throttled_by=(HOSTILE,),
            ),
            TraceShares(scenario=name, file=HOSTILE, steps=1, step_seconds=1e-9, host={HOSTILE: 1.0}),
        ]  # fmt: skip
    run.records.append(
        Ceiling(
            dtype="float32", device="cpu", product_size=1, flops_per_second=1e-3, copied_bytes=1,
            bytes_per_second=1e20,
        )
    )  # fmt: skip
    report = run.accuracy("random-trunk", [0.0]).accuracy("raw-pixels", [100.0]).report()
    html = render_html(report)
    assert_self_contained(Page(html), html)
    assert "nan" not in render_markdown(report).replace(HOSTILE, "")
