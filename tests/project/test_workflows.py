"""What CI systems run of ours is of the form that they want, and names options that there are."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from vicreg_fast.cli import cli

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / "examples" / "ci" / "gitlab-ci.yml"
JENKINS = ROOT / "examples" / "ci" / "Jenkinsfile"
GUIDE = ROOT / "docs" / "REGRESSION.md"
SPENT = re.compile(r"[|;&>]+")


def calls(script: str) -> Iterator[list[str]]:
    """The arguments of each call of vicreg-fast in a shell script."""
    for line in script.replace("\\\n", " ").splitlines():
        if "vicreg-fast " not in line:
            continue
        words = shlex.split(re.sub(r"\$\((?:[^()]*)\)", "VALUE", line), comments=True)
        starts = [index for index, word in enumerate(words) if word.rpartition("/")[2] == "vicreg-fast"]
        for start in starts:
            rest = words[start + 1 :]
            end = next((index for index, word in enumerate(rest) if SPENT.fullmatch(word)), len(rest))
            yield rest[:end]


def refused(arguments: list[str]) -> str | None:
    """What click says of these arguments, without running them; None where it takes them."""
    command: click.Command = cli
    context = click.Context(cli, info_name="vicreg-fast")
    words = list(arguments)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        if inner is None:
            # A group that is a command too, as `report PATH`.
            break
        command, context = inner, click.Context(inner, info_name=words.pop(0), parent=context)
    known = {option: parameter for parameter in command.params for option in parameter.opts}
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            continue
        option, equals, _ = word.partition("=")
        if option not in known:
            return f"{command.name} has no {option}"
        parameter = known[option]
        takes = isinstance(parameter, click.Option) and not parameter.is_flag
        if takes and not equals:
            if not words or words[0].startswith("--"):
                return f"{option} needs a value"
            words.pop(0)
    return None


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_the_check_finds_what_it_looks_for() -> None:
    line = 'code=0; .venv/bin/vicreg-fast bench loss --against "$(git rev-parse HEAD^1)" --strict || code=$?'
    assert list(calls(line)) == [["bench", "loss", "--against", "VALUE", "--strict"]]
    assert refused(["bench", "loss", "--against", "VALUE", "--strict"]) is None
    assert refused(["bench", "loss", "--agianst", "VALUE"]) == "loss has no --agianst"
    assert refused(["bench", "loss", "--against", "--strict"]) == "--against needs a value"
    assert refused(["bench", "loss", "--static"]) is None


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_pinned_bounded_and_may_only_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", True, "jobs"} <= workflow.keys(), "YAML reads the key `on` as true"
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name
        assert "permissions" not in job, f"{name} widens what the workflow may do"
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]), step["uses"]
            if step["uses"].startswith("actions/upload-artifact@"):
                assert step["if"] == "always()", "what failed is what one wants to look at"


@pytest.mark.parametrize("path", [*WORKFLOWS, GITLAB, JENKINS, GUIDE], ids=lambda path: path.name)
def test_every_call_of_ours_has_options_that_there_are(path: Path) -> None:
    if path in WORKFLOWS:
        script = "\n".join(step.get("run", "") for step in steps(yaml.safe_load(path.read_text("utf-8"))))
    elif path == GITLAB:
        script = "\n".join(yaml.safe_load(path.read_text("utf-8"))["loss-regression"]["script"])
    elif path == JENKINS:
        script = path.read_text("utf-8")
    else:
        script = "\n".join(re.findall(r"```sh\n(.*?)```", path.read_text("utf-8"), re.DOTALL))
    found = list(calls(script))
    assert found or "vicreg-fast" not in script
    for arguments in found:
        assert refused(arguments) is None, arguments


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_of_a_workflow_are_shell(path: Path) -> None:
    for step in steps(yaml.safe_load(path.read_text(encoding="utf-8"))):
        script = re.sub(r"\$\{\{.*?\}\}", "VALUE", step.get("run", ""))
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), script


def test_a_pull_request_is_compared_with_what_it_would_be_merged_into() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "regression.yml").read_text("utf-8"))
    assert workflow[True] == {"pull_request": None}
    checkout, *_, compare, upload = steps(workflow)
    assert checkout["with"] == {"fetch-depth": 0}, "the base has to be there, and the merge to be checked out"
    (arguments,) = calls(compare["run"])
    assert arguments[:4] == ["bench", "loss", "--against", "VALUE"]
    assert "git rev-parse HEAD^1" in compare["run"]
    folder = arguments[arguments.index("--out") + 1]
    assert arguments[arguments.index("--junit") + 1].startswith(f"{folder}/")
    assert arguments[arguments.index("--summary") + 1] == "$GITHUB_STEP_SUMMARY"
    assert upload["with"]["path"] == f"{folder}/"
    for code in (1, 3, 4, 5):
        assert f"\n  {code}) echo" in compare["run"], f"exit code {code} is not explained"


@pytest.mark.parametrize(
    ("code", "said"), [(0, ""), (1, "regressed"), (3, "Inconclusive"), (9, "exit code 9")]
)
def test_the_step_ends_with_the_exit_code_and_says_it(tmp_path: Path, code: int, said: str) -> None:
    """Run with a vicreg-fast that only ends with that code."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "regression.yml").read_text("utf-8"))
    script = next(step["run"] for step in steps(workflow) if "--against" in step.get("run", ""))
    fake = tmp_path / ".venv" / "bin" / "vicreg-fast"
    fake.parent.mkdir(parents=True)
    fake.write_text(f"#!/bin/sh\nexit {code}\n")
    fake.chmod(0o755)
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith("::error title=") == bool(code)
    assert said in done.stdout


def test_gitlab_shows_the_report_and_warns_where_it_is_inconclusive() -> None:
    job = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))["loss-regression"]
    (arguments,) = calls("\n".join(job["script"]))
    assert job["variables"] == {"GIT_DEPTH": "0"}
    assert job["allow_failure"] == {"exit_codes": [3]}
    assert "--strict" in arguments, "without it inconclusive would be 0, and not be seen"
    artifacts = job["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"]["junit"] == arguments[arguments.index("--junit") + 1]
    assert artifacts["paths"] == [arguments[arguments.index("--out") + 1] + "/"]
    assert job["timeout"]


def test_the_jenkinsfile_nests_and_publishes_what_it_makes() -> None:
    text = JENKINS.read_text(encoding="utf-8")
    code = re.sub(r"'''.*?'''|'[^'\n]*'|\"[^\"\n]*\"|//[^\n]*", "", text, flags=re.DOTALL)
    closing = {"}": "{", ")": "(", "]": "["}
    open_now: list[str] = []
    for character in code:
        if character in closing.values():
            open_now.append(character)
        elif character in closing:
            assert open_now
            assert open_now.pop() == closing[character]
    assert open_now == []
    assert re.sub(r"//[^\n]*\n", "", text).startswith("pipeline {")
    (arguments,) = calls(text)
    assert "--strict" in arguments
    assert f"testResults: '{arguments[arguments.index('--junit') + 1]}'" in text
    assert f"reportDir: '{arguments[arguments.index('--out') + 1]}'" in text
