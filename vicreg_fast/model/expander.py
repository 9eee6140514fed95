"""The expander h: representation → embedding, where the loss is computed (paper §4; official
`main_vicreg.py:Projector`)."""

from collections.abc import Sequence

from torch import nn


def build_expander(features: int, widths: Sequence[int]) -> nn.Sequential:
    """(n, `features`) → (n, widths[-1]). Linear+BN+ReLU for all widths but the last, whose linear layer has
    no bias."""
    layers: list[nn.Module] = []
    channels_in = features
    for width in widths[:-1]:
        layers += [nn.Linear(channels_in, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        channels_in = width
    layers.append(nn.Linear(channels_in, widths[-1], bias=False))
    return nn.Sequential(*layers)
