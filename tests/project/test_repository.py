"""Rules that hold for every file of the repository."""

import re
import tomllib
from pathlib import Path

import yaml

from vicreg_fast.cli import COMMANDS

LONGEST_FILE = 350
"""Lines. A file is one idea, and about 300 lines at most."""
LONGEST_README = 120
INDEX = re.compile(
    r"https?://[^\s\"'`<>()]+/(?:simple|whl(?:/[\w.+-]+)*)/?(?=[\s\"'`<>()\\,;]|$)"  # what an index lists
    r"|https?://[^\s\"'`<>()]+\.whl\b"  # and what it holds
    r"|(?:index|index[-_]url|find[-_]links)[\s=:\"']+(?:https?|file)://"
    r"|\w\]?\s+@\s+(?:git\+)?https?://",  # a requirement with an address
    re.IGNORECASE,
)
"""The shape of a package index's address, whoever's it is: which one is used, a machine's settings say."""
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:work|root|home|Users|mnt|opt)/\w")


def test_no_file_names_a_package_index(tracked: list[Path]) -> None:
    assert _mentions(tracked, INDEX) == []


def test_no_file_names_a_path_of_a_machine(tracked: list[Path]) -> None:
    assert _mentions(tracked, MACHINE_PATH) == []


def test_the_two_searches_find_what_they_look_for() -> None:
    web = "https" + "://"
    for planted in (
        f"{web}index.test/simple",
        f"'{web}a.test/root/pypi/+simple/', '{web}a.test/simple/'",
        f"see {web}wheels.test/whl/cu130.",
        f"{web}files.test/packages/ab/torch-2.15-cp311.whl#sha256=0",
        f"--index-url {web}index.test/of/ours",
        f"--extra-index-url={web}index.test",
        f"--find-links '{web}index.test/torch.html'",
        f"index-url = {web}index.test/of/ours",
        f"PIP_INDEX_URL={web}index.test",
        f'[[tool.uv.index]]\nurl = "{web}index.test/simple"',
        f"torch @ {web}files.test/torch.tar.gz",
        f"lightly[all] @ git+{web}code.test/lightly",
    ):
        assert INDEX.search(planted), planted
    for innocent in (
        f"{web}simple.test/paper", f"{web}a.test/simple-siamese", f"<a href='{web}a.test/whl.html'>",
        "--index-url ADDRESS", f"write to me@a.test, or see {web}a.test",
    ):  # fmt: skip
        assert not INDEX.search(innocent), innocent
    assert MACHINE_PATH.search("data: /" + "home/me/images")
    assert not MACHINE_PATH.search("see docs/" + "work/notes")


def test_no_python_file_is_too_long_to_be_one_idea(tracked: list[Path]) -> None:
    sources = [file for file in tracked if file.suffix == ".py"]
    assert sources
    assert [file.name for file in sources if len(_text(file).splitlines()) > LONGEST_FILE] == []


def test_every_make_target_in_the_documents_exists(root: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", _text(root / "Makefile"), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        document = _text(root / name)
        commands = "\n".join(
            re.findall(r"```sh\n(.*?)```", document, re.DOTALL) + re.findall(r"`(.*?)`", document)
        )
        used = set(re.findall(r"^make ([a-z]+)", commands, re.MULTILINE))
        assert used, f"{name} names no make target"
        assert used <= targets, name


def test_every_command_in_the_readme_exists(root: Path) -> None:
    used = set(re.findall(r"^vicreg-fast ([a-z]+)", _text(root / "README.md"), re.MULTILINE))
    assert used == set(COMMANDS)


def test_the_readme_is_short_and_leads_to_every_page(root: Path) -> None:
    readme = _text(root / "README.md")
    assert len(readme.splitlines()) <= LONGEST_README
    linked = set(re.findall(r"\]\(([\w./-]+\.md)\)", readme))
    assert linked == {f"docs/{page.name}" for page in (root / "docs").glob("*.md")} | {"CONTRIBUTING.md"}


def test_ci_runs_what_make_knows(root: Path) -> None:
    script = _text(root / ".ci" / "run")
    assert "in setup lint types layers; do" in script
    assert script.rstrip().endswith("make test"), (
        "the tests come last, so that their summary closes the output"
    )
    assert (root / ".ci" / "run").stat().st_mode & 0o111, "CI cannot start a file that is not executable"
    workflow = yaml.safe_load(_text(root / ".github" / "workflows" / "ci.yml"))
    assert workflow["permissions"] == {"contents": "read"}
    checks = workflow["jobs"]["checks"]
    assert checks["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    assert ".ci/run" in [step.get("run") for step in checks["steps"]]
    actions = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in actions), actions


def test_pyproject_holds_the_build_system_and_ruff_only(root: Path) -> None:
    content = tomllib.loads(_text(root / "pyproject.toml"))
    assert set(content) == {"build-system", "tool"}
    assert set(content["tool"]) == {"ruff"}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _mentions(files: list[Path], pattern: re.Pattern[str]) -> list[str]:
    """`file:line` of each mention. Binary files are read too: a path can hide in one."""
    found = []
    for file in files:
        for number, line in enumerate(file.read_bytes().decode("utf-8", "replace").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{file.name}:{number}: {line.strip()[:80]}")
    return found
