"""Writes the expected numbers anew, from what the commands say now: `python -m tests.frozen.write`.

Only for a number that is meant to change: the difference in `expected` is then looked at line by line. A
heading in better words goes into `RENAMED` in `numbers.py` instead, and a moved module needs neither.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.frozen.cases import CASES, EXPECTED


def main() -> None:
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(CASES):
            found.setdefault(case.kind, {})[case.name] = case.numbers(Path(folder) / str(number))
    for kind, cases in found.items():
        text = json.dumps(cases, ensure_ascii=False, indent=1, sort_keys=True)
        (EXPECTED / f"{kind}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
