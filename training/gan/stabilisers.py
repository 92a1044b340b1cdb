"""Training stabilisers: label noise, instance noise, packing, weight clipping and a replay buffer of fakes."""

from typing import Any

import torch
from torch import Tensor, nn

from training.gan.losses import Targets
from training.param_sections import StabiliserParams


def soften_labels(params: StabiliserParams, reals: int, fakes: int, device: torch.device) -> Targets | None:
    """Soft labels for these numbers of real images and fakes; None when params change no label.

    Smoothing lowers the target of real images (Salimans et al. 2016, section 3.4; one-sided). Noise lowers
    that of real images and raises that of fakes by a uniform amount up to `label_noise`. Flipping labels a share of
    the real images as fake; fakes are never labelled real, which would teach the generator not to change.
    """
    if not (params.label_flip or params.label_smoothing or params.label_noise):
        return None
    noise = torch.rand(reals + fakes, device=device) * params.label_noise
    real = (1 - params.label_smoothing - noise[:reals]).clamp(min=0)
    flipped = torch.rand(reals, device=device) < params.label_flip
    return Targets(real.masked_fill(flipped, 0.0), noise[reals:])


def instance_noise(params: StabiliserParams, images_seen: int) -> float:
    """Standard deviation of the noise that is added to all images (Sonderby et al. 2017): falls linearly to 0."""
    if not params.instance_noise:
        return 0.0
    return params.instance_noise * max(0.0, 1 - images_seen / (params.instance_noise_kimg * 1000))


def pack(images: Tensor, count: int) -> Tensor:
    """[N, C, H, W] -> [N / count, count C, H, W]: one logit for several images (PacGAN, Lin et al. 2018).

    A discriminator that sees several fakes at once recognises a collapsed generator by their similarity.
    """
    return images.reshape(-1, count * images.shape[1], *images.shape[2:])


@torch.no_grad()
def clip_weights(network: nn.Module, bound: float) -> None:
    """Clamp every weight to -bound..bound (Arjovsky et al. 2017, algorithm 1)."""
    for parameter in network.parameters():
        parameter.clamp_(-bound, bound)


class ReplayBuffer:
    """Earlier fakes that the discriminator is shown again (Shrivastava et al. 2017, section 2.3).

    The discriminator then forgets earlier fakes more slowly, which dampens oscillation between the two networks.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        self._device = device
        self._images: Tensor | None = None
        self._labels: Tensor | None = None

    def mix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Swap half of the fakes [N, C, H, W] and their labels [N] with randomly chosen earlier ones.

        Until the buffer is full, it only collects and the batch is returned as it is.
        """
        if self._images is None or self._labels is None:
            self._images, self._labels = images[: self.size].clone(), labels[: self.size].clone()
            return images, labels
        room = self.size - len(self._images)
        if room > 0:
            self._images = torch.cat([self._images, images[:room]])
            self._labels = torch.cat([self._labels, labels[:room]])
            return images, labels
        count = min(len(images) // 2, self.size)
        chosen = torch.randperm(self.size, device=images.device)[:count]
        old_images, old_labels = self._images[chosen], self._labels[chosen]
        self._images[chosen], self._labels[chosen] = images[:count], labels[:count]
        return torch.cat([old_images, images[count:]]), torch.cat([old_labels, labels[count:]])

    def state_dict(self) -> dict[str, Any]:
        """Contents of the buffer, for a checkpoint."""
        return {"images": self._images, "labels": self._labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the contents from `state_dict`, on any device, to this buffer's device."""
        images, labels = state["images"], state["labels"]
        self._images = None if images is None else images.to(self._device, copy=True)
        self._labels = None if labels is None else labels.to(self._device, copy=True)
