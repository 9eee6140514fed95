"""Pages opened in headless Chromium: what they said on the console, asked the network for, and how wide they
are on a phone.

One start for all of them, each in a frame as wide as a phone: a start is what takes the seconds.
"""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE = 390
"""Width of the frames, in px."""

# Files of one folder may look into each other, nothing has an address, and nothing is left behind.
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-extensions", "--disable-sync", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0", "--dump-dom"),
)

INDEX = """<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>{frames}<pre id="widths"></pre>
<script>
addEventListener("load", () => {{
  const widths = [...document.querySelectorAll("iframe")].map((frame) => {{
    for (const details of frame.contentDocument.querySelectorAll("details")) details.open = true;
    return frame.contentDocument.documentElement.scrollWidth;
  }});
  document.getElementById("widths").textContent = JSON.stringify(widths);
}});
</script></body></html>"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    console: tuple[str, ...]
    """Every line, with the page it came from."""
    requests: tuple[str, ...]
    """Addresses that a page, not the browser itself, asked for over any protocol that leaves the machine."""
    widths: Mapping[str, int]
    """Name of the page to the width it takes, unfolded, in px."""


def find_browser() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def look(browser: str, pages: Sequence[Path], folder: Path) -> Seen:
    """`folder` is for the browser's own files."""
    frames = "".join(
        f'<iframe src="{html.escape(page.as_uri())}" width="{PHONE}" height="800" frameborder="0"></iframe>'
        for page in pages
    )
    index, log = folder / "index.html", folder / "network.json"
    index.write_text(INDEX.format(frames=frames), encoding="utf-8")
    own = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}")
    done = subprocess.run(
        [browser, *OPTIONS, *own, index.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    widths = re.search(r'<pre id="widths">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert widths is not None, done.stderr
    return Seen(
        console=tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line),
        requests=_requests(json.loads(log.read_text(encoding="utf-8"))),
        widths=dict(zip([page.name for page in pages], json.loads(widths[1]), strict=True)),
    )


def _requests(log: dict) -> tuple[str, ...]:
    """Chromium asks for things of its own, which have no initiator; files and data URLs are not logged."""
    start = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    found = (event.get("params", {}) for event in log["events"] if event["type"] == start)
    return tuple(
        params["url"]
        for params in found
        if params.get("initiator", "not an origin") != "not an origin"
        and not params["url"].startswith(("file:", "data:"))
    )
