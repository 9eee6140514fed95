"""A reader meets vicreg-fast; files for machines keep the scenario's name."""

import base64
import io
import re

from rich.console import Console

from bench.limits_record import TraceShares
from bench.record import Startup
from reports.names import as_shown, shown_name
from reports.render import print_report, render_html, render_markdown
from tests.reports.test_render import Page


def test_a_reader_meets_vicreg_fast_and_a_machine_meets_fast(new_run, new_scenario) -> None:
    names = ("baseline", "fast", "fast-fused_loss", "fast+compile", "fastest", "breakfast")
    run = new_run(*(new_scenario(name, description="a way") for name in names), rounds=1)
    for name in names:
        run.throughput(name, [100.0]).memory(name, 1.0).accuracy(name, [60.0], [(1.0, 50.0)])
        run.records += [
            Startup(scenario=name, seconds=1.0),
            TraceShares(scenario=name, file="x", steps=1, step_seconds=1.0, host={}),
        ]
    report = run.failure("fast", "linear probe", "no memory").report()
    console = Console(file=io.StringIO(), width=250)
    print_report(report, console)
    page = Page(render_html(report))
    labels = [str(attributes.get("aria-label")) for _, attributes in page.tags]
    for text in (" ".join([page.words, *labels]), render_markdown(report), console.file.getvalue()):  # type: ignore[attr-defined]
        assert "vicreg-fast" in text
        assert "fastest" in text
        assert not re.search(r"(?<!vicreg-)(?<!as )\bfast\b(?! as)", text.replace("vicreg-fast bench", ""))
        assert "vicreg-breakfast" not in text
        assert "vicreg-fastest" not in text
    links = {a["download"]: str(a["href"]) for tag, a in page.tags if tag == "a"}
    for url in links.values():
        assert "vicreg-fast-" not in base64.b64decode(url.split(",", 1)[1]).decode()
    assert shown_name("fast-fused_loss") == "vicreg-fast-fused_loss"
    assert as_shown(report).plan.contender == "vicreg-fast"
    assert report.plan.contender == "fast"
