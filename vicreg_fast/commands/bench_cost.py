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
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def _currency(ctx: click.Context, param: click.Parameter, value: str) -> str:
    value = value.strip()
    if not value or not value.isprintable() or len(value) > LONGEST_CURRENCY:
        raise click.BadParameter(f"must be a currency of 1 to {LONGEST_CURRENCY} characters, such as EUR")
    return value


def cost_options(command: F) -> F:
    """--price, --currency and --target-accuracy, as `price`, `currency` and `target_accuracy`."""
    for option in (
        click.option(
            "--target-accuracy",
            type=_Finite(0, 100, min_open=True),
            metavar="PERCENT",
            help="Linear accuracy whose cost to report.  [default: what the baseline ends with]",
        ),
        click.option(
            "--currency", default="USD", show_default=True, callback=_currency, help="Currency of --price."
        ),
        click.option(
            "--price",
            type=_Finite(0, min_open=True),
            metavar="AN_HOUR",
            help="What an hour on this machine costs; adds the cost of an epoch and of an accuracy.",
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
