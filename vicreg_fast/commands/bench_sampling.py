"""The options of `bench` that say what is timed, and how often."""

from typing import TYPE_CHECKING, get_args

import click

from bench.record_base import Mode

if TYPE_CHECKING:
    from bench.comparison import Sampling


class _Names(click.ParamType):
    """Names joined by commas, each one of `known`, once each."""

    name = "names"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = tuple(value.split(",")) if isinstance(value, str) else value
        for name in names:
            if name not in self._known:
                self.fail(f"{name!r} is not one of {', '.join(self._known)}", param, ctx)
        return tuple(dict.fromkeys(names))


def names_type(*known: str) -> click.ParamType:
    """The type of an option that takes some of these names."""
    return _Names(known)


modes_type = names_type(*get_args(Mode))


def sampling(
    device: str,
    *,
    ladder: bool,
    quick: bool,
    modes: tuple[Mode, ...] | None,
    steps: int | None,
    windows: int | None,
) -> "Sampling":
    """The usual of that device, with what was asked for in its place."""
    from bench.comparison import Sampling

    usual = Sampling.of(device, ladder=ladder, quick=quick)
    return Sampling(modes=modes or usual.modes, steps=steps or usual.steps, count=windows or usual.count)
