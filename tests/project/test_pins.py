"""constraints.txt: exact versions of everything that `make` installs, and no addresses."""

import configparser
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

DEFAULT_EXTRAS = ("dev", "cuda13")
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][A-Za-z0-9.]*)")


@pytest.fixture(scope="module")
def lines(root: Path) -> list[str]:
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def pins(lines: list[str]) -> dict[str, Version]:
    matches = [PIN.fullmatch(line) for line in lines]
    return {canonicalize_name(match[1]): Version(match[2]) for match in matches if match}


@pytest.fixture(scope="module")
def asked_for(root: Path) -> list[Requirement]:
    """What setup.cfg asks for with the default extras, and what the build needs."""
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg", encoding="utf-8")
    blocks = [setup["options"]["install_requires"]]
    blocks += [setup["options.extras_require"][extra] for extra in DEFAULT_EXTRAS]
    build = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    texts = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [Requirement(text) for text in (*texts, *build)]


def test_every_line_is_one_exact_pin(lines: list[str]) -> None:
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_no_package_is_pinned_twice(lines: list[str], pins: dict[str, Version]) -> None:
    assert len(pins) == len(lines)


def test_the_makefile_installs_the_extras_that_are_checked_here(root: Path) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    assert f"DEFAULT_EXTRAS := {','.join(DEFAULT_EXTRAS)}\n" in makefile


def test_what_setup_cfg_asks_for_is_pinned_within_its_range(
    pins: dict[str, Version], asked_for: list[Requirement]
) -> None:
    assert len(asked_for) > 20
    missing = [str(need) for need in asked_for if canonicalize_name(need.name) not in pins]
    assert missing == []
    outside = [str(need) for need in asked_for if pins[canonicalize_name(need.name)] not in need.specifier]
    assert outside == []


def test_what_those_need_in_turn_is_pinned(pins: dict[str, Version], asked_for: list[Requirement]) -> None:
    """Follows the requirements of the packages that are installed here, as pip did."""
    seen: set[tuple[str, str]] = set()
    unpinned: set[str] = set()
    queue = [(canonicalize_name(need.name), extra) for need in asked_for for extra in ("", *need.extras)]
    while queue:
        name, extra = entry = queue.pop()
        if entry in seen:
            continue
        seen.add(entry)
        if name not in pins:
            unpinned.add(name)
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # another set of extras is installed here
            continue
        for need in map(Requirement, requires):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                queue += [(canonicalize_name(need.name), wanted) for wanted in ("", *need.extras)]
    assert len(seen) > 50
    assert unpinned == set()
