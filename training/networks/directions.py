"""Where to walk in the latent space: the generator's principal directions, in closed form.

A step from z along n changes what the first layer puts out by A n, whatever z is. The unit vectors that change it
most are the eigenvectors of A^T A with the largest eigenvalues (SeFa: Shen and Zhou 2021, "Closed-Form Factorization
of Latent Semantics in GANs", eq. 5). They are read off the weights, without drawing an image.
"""

import torch
from torch import Tensor

from training.networks import Generator
from training.networks.inference_wrapper import fold_for_inference

DECIMALS = 6  # more would only make the card longer


def principal_directions(generator: Generator, count: int = 10) -> tuple[tuple[float, ...], ...]:
    """The unit vectors of z along which the first layer changes most, strongest first; `count`, or latent_dim if less.

    generator: in evaluation mode. Of v and -v, which are equally strong, the one whose largest component is positive.
    """
    change = first_layer_weight(generator)
    _, vectors = torch.linalg.eigh(change.T @ change)  # one a column, weakest first
    directions = vectors.T.flip(0)[:count]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return tuple(tuple(round(x, DECIMALS) for x in row) for row in (directions * largest.sign()).tolist())


def first_layer_weight(generator: Generator) -> Tensor:
    """A of the first layer A z + b, in double precision: [outputs, latent_dim].

    It is taken with its batch norm folded in, as that is what a step meets, and without what a class adds. A layer
    that is linear says what its A is when it is shown the unit vectors, be it dense, a convolution or a basis of maps.
    """
    served = fold_for_inference(generator).double()
    weighted = next(i for i, layer in enumerate(served.layers) if list(layer.parameters()))
    head = served.layers[: weighted + 1]
    latent = served.latent
    beside_z = 0 if latent.embedding is None else latent.embedding.weight.shape[1]
    steps = torch.eye(latent.size - beside_z, latent.size, dtype=torch.float64)  # z comes first in what the layer reads
    with torch.no_grad():
        change: Tensor = head(steps) - head(torch.zeros_like(steps))
    return change.flatten(1).T
