"""How numbers and names are written, the same in every output."""

import math

from bench.compare import Interval

GIB = 2**30
MIB = 2**20
NOTHING = "–"
"""Stands where a number was not measured."""


def printable(text: str) -> str:
    """`text` on one line without control or formatting characters: a record may come from anyone."""
    if text.isprintable():
        return text.strip()
    return "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text).strip()


def shortened(text: str, length: int) -> str:
    """`printable` text of at most `length` characters."""
    text = printable(text)
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def decimals(value: float) -> int:
    """Decimals that show a ratio to better than some 2 %."""
    magnitude = abs(value)
    if magnitude >= 20:
        return 0
    if magnitude >= 2:
        return 1
    if magnitude >= 0.1 or magnitude == 0:
        return 2
    return min(1 - math.floor(math.log10(magnitude)), 12)


def times(value: float) -> str:
    return f"{value:,.{decimals(value)}f}×" if value < 1e7 else f"{value:.3g}×"


def span(interval: Interval) -> str:
    """`low–high` with the digits of the estimate, and up to two more where both ends would read the same."""
    if interval.high >= 1e7:
        return f"{interval.low:.3g}–{interval.high:.3g}"
    digits = decimals(interval.estimate)
    if interval.high - interval.low > 1e-6 * abs(interval.estimate):
        for _ in range(2):
            digits += f"{interval.low:.{digits}f}" == f"{interval.high:.{digits}f}"
    return f"{interval.low:,.{digits}f}–{interval.high:,.{digits}f}"


def signed(value: float) -> str:
    """One decimal, with a sign: a difference in percentage points."""
    text = f"{abs(value):.1f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def amount(value: float) -> str:
    """Three digits or more, with thousands apart."""
    if value >= 1e9 or (value != 0 and abs(value) < 0.01):
        return f"{value:.3g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def seconds(value: float) -> str:
    """A time that a person waits: no more digits than he would say."""
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 1 else f"{amount(value)} s"


def memory(count: float, beside: float = 0) -> str:
    """Bytes in GiB, or in MiB where neither they nor those they stand `beside` come to one GiB."""
    if max(abs(count), abs(beside)) >= GIB:
        return f"{amount(count / GIB)} GiB"
    return f"{amount(count / MIB)} MiB"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
