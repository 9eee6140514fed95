"""Every page, opened: nothing on its console, nothing asked of a network, and no wider than a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.compare_render import render_compare_html
from reports.dispatch import KINDS, choose_kind
from reports.report_compare import compare_runs
from reports.sides import load_side
from tests.reports.browser import PHONE, Seen, find_browser, look
from tests.reports.every_kind import every_kind

BROKEN = """<!DOCTYPE html><html><body>
<script>nothing.here()</script><img src="http://planted.invalid/x.png"><svg><path d="M broken"/></svg>
<p style="width: 1000px">wide</p></body></html>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = find_browser()
    if found is None:
        pytest.skip("needs Chromium or Chrome on the PATH")
    return found


def test_pages_say_nothing_ask_for_nothing_and_fit_a_phone(
    new_run: Callable[..., Any], full_html: str, browser: str, tmp_path: Path
) -> None:
    records = every_kind(new_run, tmp_path)
    assert set(records) == {kind.name for kind in KINDS}
    side = load_side(records["a comparison"])
    compared = render_compare_html(compare_runs(side, side))
    pages = []
    for name, text in (("full", full_html), ("compared", compared), ("broken", BROKEN)):
        pages.append(tmp_path / f"{name}.html")
        pages[-1].write_text(text, encoding="utf-8")
    broken = pages[-1]
    for number, path in enumerate(records.values()):
        written = choose_kind([path]).write([path], tmp_path / f"out-{number}")
        (page,) = (file for file in written.values() if file.suffix == ".html")
        pages.append(page.rename(tmp_path / f"page-{number}.html"))

    seen = look(browser, pages, tmp_path)

    assert caught(seen, broken), "a page that is broken in every way was not"
    assert [line for line in seen.console if broken.name not in line] == []
    assert set(seen.requests) == {"http://planted.invalid/x.png"}
    assert {name: width for name, width in seen.widths.items() if width > PHONE} == {broken.name: 1008}


def caught(seen: Seen, page: Path) -> bool:
    of_page = [line for line in seen.console if page.name in line]
    return (
        any("nothing is not defined" in line for line in of_page)
        and any("attribute d" in line for line in of_page)
        and seen.widths[page.name] > PHONE
    )
