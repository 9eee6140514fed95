"""The options of `bench` that ask what training costs."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from vicreg_fast.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

LONGEST_CURRENCY = 8


class _Finite(click.FloatRange):
    """FloatRange lets NaN through: it is neither below the least nor above the most."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number to reckon with", param, ctx)
        return number


def _currency(ctx: click.Context, param: click.Parameter, value: str) -> str:
    value = value.strip()
    if not value or not value.isprintable() or len(value) > LONGEST_CURRENCY:
        raise click.BadParameter(f"must be a currency's name of 1 to {LONGEST_CURRENCY} characters, as EUR")
    return value


def cost_options(command: F) -> F:
    """--price, --currency and --target-accuracy, as `price`, `currency` and `target_accuracy`."""
    for option in (
        click.option(
            "--target-accuracy",
            type=_Finite(0, 100, min_open=True),
            metavar="PERCENT",
            help="Linear accuracy whose cost is asked for.  [default: what the baseline ends with]",
        ),
        click.option(
            "--currency", default="USD", show_default=True, callback=_currency, help="That of --price."
        ),
        click.option(
            "--price",
            type=_Finite(0, min_open=True),
            metavar="AN_HOUR",
            help="What an hour of this machine costs: reports the cost of an epoch and of an accuracy.",
        ),
    ):
        command = option(command)
    return command


def check_target(target: float | None, price: float | None, metrics: tuple[str, ...]) -> None:
    """Raises UsageError for a target accuracy that nothing could be said of."""
    if target is not None and price is None:
        raise UsageError("--target-accuracy asks what an accuracy costs: give --price as well")
    if target is not None and "accuracy" not in metrics:
        raise UsageError("--target-accuracy: accuracy is not measured here; add it to --metrics")
