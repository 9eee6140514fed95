"""The network: a torchvision ResNet trunk, the expander, and both views through them."""

from vicreg_fast.model.backbone import Backbone
from vicreg_fast.model.network import TwoViewNetwork, build_network
from vicreg_fast.model.normalize import Normalize
from vicreg_fast.model.sync_batchnorm import convert_sync_batchnorm

__all__ = ["Backbone", "Normalize", "TwoViewNetwork", "build_network", "convert_sync_batchnorm"]
