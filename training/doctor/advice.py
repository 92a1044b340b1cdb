"""Advice in words: what each failure is, and what helps against it, the mildest first.

Sources: Salimans et al. 2016 (one-sided labels), Miyato et al. 2018 (spectral norm), Mescheder et al. 2018 (R1,
momentum), Lin et al. 2018 (packing), Zhao et al. 2020 (DiffAugment), Karras et al. 2020 (ADA), Huang et al. 2024
(RpGAN, R1 and R2).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """What a failure is, and what helps, the mildest first."""

    meaning: str
    helps: tuple[str, ...]


ADVICE = {
    "explosion": Advice(
        "losses or gradients grow without bound",
        ("halve both learning rates", "clip the gradients", "add R1 and R2", "go back to the checkpoint before"),
    ),
    "labels do not match": Advice(
        "a classifier cannot learn the classes from the real images",
        ("check the class folders or the file of labels", "train without classes"),
    ),
    "discriminator dominates": Advice(
        "the discriminator is sure of every image or learns far faster, so the generator gains hardly anything",
        (
            "label a tenth of the real images fake",
            "lower the discriminator's learning rate or width, or add dropout to it",
            "add R1 and R2, or spectral norm",
            "train with the relativistic objective",
        ),
    ),
    "generator dominates": Advice(
        "the discriminator hardly tells real images from generated ones, although they differ",
        (
            "take more discriminator steps",
            "make the discriminator wider or the generator narrower",
            "lower the generator's learning rate",
        ),
    ),
    "mode collapse": Advice(
        "the images are alike, whatever the latent",
        (
            "go back to the best checkpoint",
            "lower both learning rates",
            "pack several images for the discriminator",
            "train with the relativistic objective and R1 and R2",
            "augment what the discriminator sees",
        ),
    ),
    "partial collapse": Advice(
        "the images vary far less than real ones",
        (
            "go back to the best checkpoint",
            "make the latent larger if it has only a few numbers",
            "pack several images for the discriminator, or add minibatch standard deviation",
            "train with the relativistic objective and R1 and R2",
        ),
    ),
    "discriminator overfits": Advice(
        "the discriminator knows the training images and not others of their kind",
        ("augment what the discriminator sees: DiffAugment or ADA", "add images", "stop at the best checkpoint"),
    ),
    "memorising": Advice(
        "the images are near-copies of training images",
        ("add images", "augment what the discriminator sees", "train for a shorter time"),
    ),
    "oscillation": Advice(
        "image quality falls and rises instead of settling",
        (
            "set beta1 to 0",
            "lower both learning rates",
            "average the weights for longer",
            "stop at the best checkpoint",
        ),
    ),
    "plateau": Advice(
        "nothing has been gained for a long time",
        ("stop here", "lower both learning rates", "make the networks wider", "add images"),
    ),
}
