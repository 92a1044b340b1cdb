"""Transfer of weights from an earlier network to a new one of the same family, layer by layer, as far as layers fit.

The two may differ in resolution, channels, classes, tags and widths. Layers are matched in order by the shapes of their
weights (longest common subsequence), from the latent on in a generator and from the logits back in a discriminator, so
that among equally long matches a layer keeps its resolution. Embeddings are matched tag by tag.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from serving.errors import MintError
from training.gan.training_state import StateDescription

TAG_TABLES = ("embedding", "classifier")  # layers with one row per tag
PARAMETRIZATIONS = ".parametrizations."  # where spectral norm keeps a layer's weight

StateDict = dict[str, Tensor]
LayerNames = dict[str, str]  # tensors of a layer: place in the layer -> name in the state dict
Signature = tuple[tuple[str, torch.Size], ...]


@dataclass(frozen=True)
class Transfer:
    """A network's new state, and which of its layers were taken from the earlier network."""

    state: StateDict
    taken: tuple[bool, ...]  # of each layer with weights, in order, without the tables of tags
    copied: frozenset[str]  # names of the tensors that were taken

    @property
    def complete(self) -> bool:
        """True if every layer was taken."""
        return all(self.taken)


def transfer_generator(source: StateDict, target: StateDict, old: StateDescription, new: StateDescription) -> Transfer:
    """Take what fits of the generator `source` into the state `target` of a new one.

    Inputs for an added class embedding start with weights of zero; from grey, all colours start equal.
    """
    source = _fit_latent_inputs(source, target, old.latent_inputs, new.latent_inputs)
    source = _fit_channels(source, target, -1, colour_conversion(old.channels, new.channels))
    return _transfer(source, target, old.tags, new.tags, from_end=False)


def transfer_discriminator(
    source: StateDict, target: StateDict, old: StateDescription, new: StateDescription
) -> Transfer:
    """Take what fits of the discriminator `source` into the state `target` of a new one.

    Its first layer is composed with the conversion of the new images to the old channels.
    """
    if old.packing == new.packing == 1:
        source = _fit_channels(source, target, 0, colour_conversion(new.channels, old.channels).T)
    return _transfer(source, target, old.tags, new.tags, from_end=True)


def colour_conversion(source: int, target: int) -> Tensor:
    """Linear conversion of pixels between numbers of channels, [target, source]; 1 grey, 3 RGB, 4 RGB and alpha.

    Grey is the mean of the colours. Alpha is dropped, and a new alpha gets weights of zero.
    """
    if source == target:
        return torch.eye(source)
    matrix = torch.zeros(target, source)
    if source == 1:
        matrix[:3] = 1
    elif target == 1:
        matrix[:, :3] = 1 / 3
    else:
        matrix[:3, :3] = torch.eye(3)
    return matrix


def freeze_first_layers(discriminator: nn.Module, count: int) -> None:
    """Exclude the first `count` layers with weights from training (FreezeD, Mo et al. 2020).

    Raises MintError unless a layer is left to be trained.
    """
    trained = {name: value for name, value in discriminator.named_parameters() if value.requires_grad}
    layers = layer_names(trained) if count else []
    if count and count >= len(layers):
        raise MintError(
            f"params.yaml: train.freeze_discriminator is {count} and the discriminator has {len(layers)} layers; "
            f"set it to {len(layers) - 1} or less"
        )
    for layer in layers[:count]:
        for name in layer.values():
            trained[name].requires_grad_(False)


def layer_names(state: Mapping[str, Tensor]) -> list[LayerNames]:
    """Split a state dict into layers: each has weights of two or more dimensions, and the norm that follows it.

    Tables of tags are left out.
    """
    weighted = {_module_and_leaf(name)[0] for name, value in state.items() if _is_weight(name, value)}
    layers: list[LayerNames] = []
    module, position = "", 0
    for name in state:
        if _is_tag_table(name):
            continue
        owner, leaf = _module_and_leaf(name)
        if owner != module or not layers:
            module, position = owner, position + 1
            if owner in weighted or not layers:
                layers.append({})
                position = 0
        layers[-1][f"{position}.{leaf}"] = name
    return layers


def common_subsequence(first: Sequence[Signature], second: Sequence[Signature]) -> list[tuple[int, int]]:
    """Index pairs of a longest common subsequence; of several, the one whose elements come earliest."""
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i in reversed(range(len(first))):
        for j in reversed(range(len(second))):
            equal = first[i] == second[j]
            lengths[i][j] = lengths[i + 1][j + 1] + 1 if equal else max(lengths[i + 1][j], lengths[i][j + 1])
    pairs = []
    i = j = 0
    while lengths[i][j]:
        if first[i] == second[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _transfer(
    source: StateDict, target: StateDict, old_tags: Sequence[str], new_tags: Sequence[str], from_end: bool
) -> Transfer:
    """Match the layers and the tables of tags. from_end: prefer matches of the last layers to those of the first."""
    step = -1 if from_end else 1
    old_layers, new_layers = layer_names(source)[::step], layer_names(target)[::step]
    pairs = common_subsequence(
        [_signature(source, layer) for layer in old_layers], [_signature(target, layer) for layer in new_layers]
    )
    copied: StateDict = {}
    taken = [False] * len(new_layers)
    for old_index, new_index in pairs:
        taken[new_index] = True
        old_layer = old_layers[old_index]
        for place, name in new_layers[new_index].items():
            if place in old_layer and source[old_layer[place]].shape == target[name].shape:
                copied[name] = source[old_layer[place]]
    for name in target:
        if _is_tag_table(name) and name in source:
            copied[name] = _with_common_rows(source[name], target[name], old_tags, new_tags)
    return Transfer({**target, **copied}, tuple(taken[::step]), frozenset(copied))


def _with_common_rows(source: Tensor, target: Tensor, old_tags: Sequence[str], new_tags: Sequence[str]) -> Tensor:
    """Tensor `target` with the rows of `source` for the tags that both have."""
    by_tag = source.shape[:1] == (len(old_tags),) and target.shape[:1] == (len(new_tags),)
    if not by_tag or source.shape[1:] != target.shape[1:]:
        return source if source.shape == target.shape else target  # such as spectral norm's right singular vector
    result = target.clone()
    for row, tag in enumerate(new_tags):
        if tag in old_tags:
            result[row] = source[old_tags.index(tag)]
    return result


def _fit_latent_inputs(source: StateDict, target: StateDict, old_inputs: int, new_inputs: int) -> StateDict:
    """State `source` with the class embedding's inputs of layers fed with z added or removed, if `target` needs it.

    They are the second half of the inputs, as the embedding has the size of z.
    """
    fitted = dict(source)
    for name in source.keys() & target.keys():
        weight, shape = source[name], target[name].shape
        dim = _only_difference(weight.shape, shape)
        if dim is None or (weight.shape[dim], shape[dim]) != (old_inputs, new_inputs):
            continue
        if new_inputs == 2 * old_inputs:
            fitted[name] = torch.cat([weight, torch.zeros_like(weight)], dim)
        elif old_inputs == 2 * new_inputs:
            fitted[name] = weight.narrow(dim, 0, new_inputs)
    return fitted


def _fit_channels(source: StateDict, target: StateDict, layer: int, conversion: Tensor) -> StateDict:
    """State `source` with the layer next to the image converted to the channels of `target`.

    layer: its index. conversion: [new channels, old channels]; it is applied to the dimension that differs, which holds
    the channels, or in a dense layer the channels and in each of them its pixels.
    """
    channels = conversion.shape
    if channels[0] == channels[1]:
        return source
    old_layer, new_layer = layer_names(source)[layer], layer_names(target)[layer]
    converted = dict(source)
    for place, name in old_layer.items():
        if place not in new_layer:
            continue
        old_shape, new_shape = source[name].shape, target[new_layer[place]].shape
        dim = _only_difference(old_shape, new_shape)
        if dim is not None and old_shape[dim] * channels[0] == new_shape[dim] * channels[1]:
            by_channel = source[name].unflatten(dim, (channels[1], -1))  # type: ignore[no-untyped-call]
            mixed = torch.tensordot(conversion, by_channel, dims=([1], [dim])).movedim(0, dim)
            converted[name] = mixed.flatten(dim, dim + 1)
    return converted


def _only_difference(first: torch.Size, second: torch.Size) -> int | None:
    """Dimension in which two shapes differ, if it is the only one."""
    if len(first) != len(second):
        return None
    different = [dim for dim, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    return different[0] if len(different) == 1 else None


def _signature(state: StateDict, layer: LayerNames) -> Signature:
    """Names and shapes of the weights by which layers are matched."""
    return tuple((place, state[name].shape) for place, name in layer.items() if _is_weight(name, state[name]))


def _is_weight(name: str, value: Tensor) -> bool:
    return value.ndim > 1 and not name.endswith("bias") and not _is_tag_table(name)


def _is_tag_table(name: str) -> bool:
    return _module_and_leaf(name)[0].split(".")[-1] in TAG_TABLES


def _module_and_leaf(name: str) -> tuple[str, str]:
    """Name of the layer that owns a tensor, and the tensor's name in it."""
    module, mark, leaf = name.partition(PARAMETRIZATIONS)
    if mark:
        return module, leaf
    module, _, leaf = name.rpartition(".")
    return module, leaf
