"""ResNet trunks of torchvision's blocks, of any width and with either stem.

torchvision's own `ResNet` fixes the first stage at 64 channels and the stem at 7×7 with max pooling; the
class here assembles the same blocks under the same parameter names, so that at width 64 with the ImageNet
stem a state dict goes either way (less `fc`).
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

FLOATS_IN_A_REGISTER = 16
"""Of AVX-512, the widest there is; 8 of AVX2."""

LAYOUTS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class Backbone(nn.Module):
    """(n, 3, S, S) floating point → (n, `features`) representation, globally average pooled.

    `zero_init_residual` starts every residual branch at zero, as the official `resnet.py` does.
    """

    def __init__(
        self, name: str, *, width: int = 64, stem: str = "imagenet", zero_init_residual: bool = True
    ) -> None:
        super().__init__()
        block, depths = LAYOUTS[name]
        self.features = width * 8 * block.expansion
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
            self.maxpool: nn.Module = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(block, width, width, depths[0], stride=1)
        self.layer2 = _stage(block, width * block.expansion, width * 2, depths[1], stride=2)
        self.layer3 = _stage(block, width * 2 * block.expansion, width * 4, depths[2], stride=2)
        self.layer4 = _stage(block, width * 4 * block.expansion, width * 8, depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self._initialise(zero_init_residual)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features: Tensor = self.avgpool(x).flatten(1)
        return features

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Bottleneck):
                    nn.init.zeros_(module.bn3.weight)
                elif isinstance(module, BasicBlock):
                    nn.init.zeros_(module.bn2.weight)


class Shortcut(nn.Conv2d):
    """A 1×1 convolution of a stride.

    On a CPU in channels_last torch (2.15, by oneDNN) writes past the end of its weights' gradient where fewer
    channels come in than a vector register holds, and the process ends by SIGSEGV or SIGABRT some steps
    later. There the stride is taken first, which is the same sum.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and self.in_channels < FLOATS_IN_A_REGISTER:
            across, down = self.stride
            return F.conv2d(x[:, :, ::across, ::down], self.weight)
        return super().forward(x)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels_in: int, channels: int, depth: int, *, stride: int
) -> nn.Sequential:
    channels_out = channels * block.expansion
    shortcut: nn.Module | None = None
    if stride != 1 or channels_in != channels_out:
        shortcut = nn.Sequential(
            Shortcut(channels_in, channels_out, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(channels_out),
        )
    # torchvision's Bottleneck scales its inner width by base_width/64, which is 1 here: `channels` is the
    # inner width.
    first = block(channels_in, channels, stride, shortcut)
    return nn.Sequential(first, *(block(channels_out, channels) for _ in range(depth - 1)))
