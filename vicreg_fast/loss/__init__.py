"""VICReg's loss: exact, closed-form, through the Gram matrix where that is less work. Importing it imports
torch.
"""

from vicreg_fast.loss.graphed import GraphedLoss, graphed
from vicreg_fast.loss.plan import LossPlan, plan_loss
from vicreg_fast.loss.vicreg import VICRegLoss, VICRegTerms, vicreg_loss

__all__ = [
    "GraphedLoss",
    "LossPlan",
    "VICRegLoss",
    "VICRegTerms",
    "graphed",
    "plan_loss",
    "vicreg_loss",
]
