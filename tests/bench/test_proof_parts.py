"""The parts of a proof as data: on every machine the same names, and commands that the command line knows."""

import shlex
from pathlib import Path

import click
import pytest

from bench.proof_full import GPU_TESTS
from bench.proof_parts import PART_NAMES, Command, Machine, Part, plan_parts
from vicreg_fast.cli import cli
from vicreg_fast.config import load_recipe

BARE = {
    name: f"no {name} here"
    for name in ("dali", "pytest", "tests", "hypothesis", "compiler", "triton", "apex")
}
MACHINES = {
    "gpu": Machine(device="cuda", name="NVIDIA H100 80GB HBM3"),
    "bare gpu": Machine(device="cuda", name="NVIDIA H100 80GB HBM3", obstacles=BARE),
    "cpu": Machine(device="cpu", name="a processor"),
    "bare cpu": Machine(device="cpu", name="a processor", obstacles=BARE),
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_every_machine_has_every_part_in_the_order_of_importance(machine: Machine) -> None:
    parts = plan_parts(machine)
    assert tuple(part.name for part in parts) == PART_NAMES
    for part in parts:
        assert part.title
        assert part.commands
        assert 0 < part.seconds < part.limit


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_every_command_can_be_typed(machine: Machine) -> None:
    """Its options are those of the command line, and its recipe is one."""
    for part in plan_parts(machine):
        for command in part.commands:
            program, *words = command.words
            if program == "pytest":
                continue
            assert program == "vicreg-fast"
            context = _parsed(words)
            settings = context.params.get("settings", ())
            if context.params.get("recipe_name"):
                load_recipe(context.params["recipe_name"], settings)
            assert "{" not in command.shown()


def test_every_test_marked_gpu_is_run() -> None:
    root = Path(__file__).parents[2]
    asked = [root / place for place in GPU_TESTS.split()]
    others = (file for file in root.glob("tests/**/*.py") if file != Path(__file__))
    marked = [file for file in others if "mark.gpu" in file.read_text("utf-8")]
    assert len(marked) >= 10
    assert [file for file in marked if not any(file.is_relative_to(place) for place in asked)] == []


def _parsed(words: list[str]) -> click.Context:
    """The context of the last subcommand, its options read and nothing run."""
    command: click.Command = cli
    context = click.Context(cli, info_name="vicreg-fast")
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0]) if words and not words[0].startswith("-") else None
        if found is None:
            break
        command, words = found, words[1:]
    return command.make_context(command.name or "", words, parent=context)


def test_what_is_missing_is_named_and_leaves_out_as_little_as_it_can() -> None:
    parts = {part.name: part for part in plan_parts(MACHINES["bare gpu"])}
    missing = {name for name, part in parts.items() if part.obstacle is not None}
    assert missing == {"tests", "dali"}
    assert parts["dali"].obstacle == "no dali here"
    assert "tuned" not in parts["compare"].commands[0].text
    assert {"environment", "memory", "cifar10"} <= {n for n, part in parts.items() if not part.note}
    assert parts["compare"].note == "without tuned: no compiler here"
    assert "triton" not in parts["loss"].commands[0].text
    assert parts["ladder"].note == "without apex: no apex here"
    whole = {part.name: part for part in plan_parts(MACHINES["gpu"])}
    assert all(part.obstacle is None and part.note == "" for part in whole.values())


def test_the_sizes_on_a_gpu_are_those_of_the_targets() -> None:
    parts = {part.name: part for part in plan_parts(MACHINES["gpu"])}
    loss = _parsed(list(parts["loss"].commands[0].words[1:])).params
    assert loss["shapes"] == ((256, 8192), (2048, 8192))
    assert loss["dtypes"] == ("bfloat16",)
    assert {"official", "official-compiled", "auto", "gram-triton"} <= set(loss["providers"])
    for name in ("capture", "compare", "ladder", "memory"):
        given = _parsed(list(parts[name].commands[0].words[1:])).params
        recipe = load_recipe(given["recipe_name"], given["settings"])
        assert (recipe.backbone, recipe.image_size, recipe.batch_size) == ("resnet50", 224, 256)
        assert recipe.expander == "8192-8192-8192"
        assert "{photos}" in parts[name].commands[0].text
    assert _parsed(list(parts["compare"].commands[0].words[1:])).params["rounds"] >= 6


def test_a_command_is_shown_without_a_path_of_this_machine() -> None:
    command = Command(text="vicreg-fast doctor --out {out}/run --data {small}", into="doctor.json")
    assert command.shown() == "vicreg-fast doctor --out run --data small > doctor.json"
    assert shlex.join(command.words) == shlex.join(shlex.split(command.text))


def test_a_part_is_given_more_than_it_is_thought_to_take() -> None:
    assert Part(name="loss", commands=(), seconds=300).limit == 600
    assert Part(name="loss", commands=(), seconds=1).limit == 240
