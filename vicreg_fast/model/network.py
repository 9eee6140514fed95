"""Both views through one backbone and one expander."""

import torch
from torch import Tensor, nn

from vicreg_fast.config import Recipe
from vicreg_fast.model.backbone import Backbone
from vicreg_fast.model.expander import build_expander


class TwoViewNetwork(nn.Module):
    """Two (n, 3, S, S) views → two (n, D) embeddings.

    `joint=False` runs the views one after the other, so that BatchNorm's statistics are those of one view at
    a time, as in the official code; `joint=True` runs them as one batch of 2n, which is another normalisation
    and an option to be measured.
    """

    def __init__(self, backbone: Backbone, expander: nn.Module, *, joint: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.expander = expander
        self.joint = joint

    def forward(self, view_1: Tensor, view_2: Tensor) -> tuple[Tensor, Tensor]:
        if self.joint:
            # torch.cat keeps channels_last when both inputs have it.
            z_1, z_2 = self.expander(self.backbone(torch.cat((view_1, view_2)))).chunk(2)
            return z_1, z_2
        return self.expander(self.backbone(view_1)), self.expander(self.backbone(view_2))


def build_network(recipe: Recipe) -> TwoViewNetwork:
    """The recipe's network on the CPU in fp32, initialised from torch's global random state."""
    backbone = Backbone(
        recipe.backbone, width=recipe.width, stem=recipe.stem, zero_init_residual=recipe.zero_init_residual
    )
    expander = build_expander(backbone.features, recipe.expander_widths)
    return TwoViewNetwork(backbone, expander, joint=recipe.forward == "joint")
