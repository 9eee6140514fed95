"""The command line. Subcommands load when they are called, so that `--help` answers at once and never imports
torch."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import click

from vicreg_fast import __version__
from vicreg_fast.errors import UsageError, VICRegFastError

COMMANDS = {
    "pretrain": "Pretrain a backbone with VICReg; the same command resumes a run that stopped.",
    "linear": "Evaluate a pretrained backbone: linear probe and nearest neighbours.",
    "bench": "Compare with the baseline: throughput, memory, accuracy; or time the loss, or the loaders.",
    "prove": "Measure every claim about GPUs on yours, in one resumable command.",
    "report": "Render records as HTML, Markdown and CSV.",
    "data": "Make, check or describe a data set.",
    "doctor": "Show what is installed, what will be used, and what falls back and why.",
}


class LazyGroup(click.Group):
    """A group whose commands are modules of `vicreg_fast.commands`, imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"vicreg_fast.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="vicreg-fast")
def cli() -> None:
    """The fastest honest way to pretrain VICReg, and the bench that proves it."""


def refuse_shadowed_packages() -> None:
    """Raises UsageError when another package named like one of ours comes first on the path: its code would
    run as ours."""
    ours = Path(__file__).resolve().parent.parent
    for name in ("bench", "pipelines", "reports"):
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise UsageError(f"the package {name!r} of vicreg-fast is missing; install vicreg-fast again")
        places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or "?"]]
        if ours / name not in places:
            raise UsageError(
                f"another package named {name!r}, in {places[0]}, hides that of vicreg-fast; "
                "run from another folder, or take it off PYTHONPATH"
            )


def main() -> None:
    """Entry point. Exit codes: 0 fine, 1 a failure, 2 usage, 130 interrupted; `bench` has its own beside
    these."""
    # Read once, when torch loads its OpenMP. Its threads spin while they wait, and on a CPU they would spin
    # on the cores the loader needs: end to end several times slower on a busy machine (docs/LOG.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        refuse_shadowed_packages()
        sys.exit(_run(sys.argv[1:]))
    except VICRegFastError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not a failure, but nothing may be flushed to it any
        # more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _run(words: list[str]) -> int | None:
    """Without click's own `main`, which takes a reader that went away for a failure."""
    try:
        with cli.make_context("vicreg-fast", words) as context:
            code: int | None = cli.invoke(context)
            return code
    except click.exceptions.Exit as ended:
        return ended.exit_code


def _fail(message: str, code: int) -> None:
    click.echo(f"vicreg-fast: {message}", err=True)
    sys.exit(code)
