"""uint8 views → normalised floating point, inside the step, so that pipelines hand over bytes."""

import torch
from torch import Tensor, nn

# ImageNet's mean and standard deviation of [0, 1] images: what official `augmentations.py` normalises with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(n, 3, S, S) uint8 → (x / 255 − mean) / std in `dtype`, memory format kept."""

    scale: Tensor
    shift: Tensor

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        mean = torch.tensor(MEAN, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(STD, dtype=torch.float64).view(1, 3, 1, 1)
        # Not persistent: constants, so a checkpoint need not hold them.
        self.register_buffer("scale", (1 / (255 * std)).to(dtype), persistent=False)
        self.register_buffer("shift", (-mean / std).to(dtype), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return torch.addcmul(self.shift, images.to(self.dtype), self.scale)
