"""Principal directions of a generator's latent space, in closed form (SeFa).

A step from z along n changes the first layer's output by A n, whatever z is. The unit vectors that change it most are
the eigenvectors of A^T A with the largest eigenvalues (Shen and Zhou 2021, "Closed-Form Factorization of Latent
Semantics in GANs", eq. 5). They follow from the weights alone, without generating an image.
"""

import torch
from torch import Tensor

from training.networks import Generator
from training.networks.inference_wrapper import fold_for_inference

DECIMALS = 6  # more would only make the model card longer


def principal_directions(generator: Generator, count: int = 10) -> tuple[tuple[float, ...], ...]:
    """Unit vectors of z along which the first layer changes most, strongest first; `count`, or latent_dim if less.

    generator: in evaluation mode. Of the equally strong v and -v, the one whose largest component is positive.
    """
    weight = first_layer_weight(generator)
    _, vectors = torch.linalg.eigh(weight.T @ weight)  # one per column, weakest first
    directions = vectors.T.flip(0)[:count]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return tuple(tuple(round(x, DECIMALS) for x in row) for row in (directions * largest.sign()).tolist())


def first_layer_weight(generator: Generator) -> Tensor:
    """A of the first layer A z + b, with its batch norm folded in and without the class, float64 [outputs, latent_dim].

    The layer is applied to the unit vectors, which gives A for any linear layer: dense, convolution or basis of maps.
    """
    folded = fold_for_inference(generator).double()
    first = next(i for i, layer in enumerate(folded.layers) if list(layer.parameters()))
    layers = folded.layers[: first + 1]
    latent = folded.latent
    class_size = 0 if latent.embedding is None else latent.embedding.weight.shape[1]
    unit_vectors = torch.eye(latent.size - class_size, latent.size, dtype=torch.float64)  # z precedes the class
    with torch.no_grad():
        weight: Tensor = layers(unit_vectors) - layers(torch.zeros_like(unit_vectors))
    return weight.flatten(1).T
