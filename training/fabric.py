"""Fabric of a training process: its device, its precision and its kernels."""

import os
from typing import Literal

import torch
from lightning_fabric import Fabric

from serving.errors import MintError


def make_fabric(device: str, deterministic: bool = False) -> Fabric:
    """Fabric for a device: bf16 autocast on a GPU that supports it in hardware, float32 elsewhere.

    device: `auto`, `cpu` or `cuda`. deterministic: only kernels that give equal bits in every run, without autotuning;
    those of a CPU do anyway. Raises MintError for `cuda` without a CUDA GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MintError("params.yaml: train.device is cuda but torch finds no CUDA GPU; set it to auto or cpu")
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which cuBLAS needs for equal bits
        torch.use_deterministic_algorithms(True)
    elif on_gpu:
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
    else:
        torch.set_flush_denormal(True)  # denormal weights make a CPU many times slower
    return Fabric(accelerator="cuda" if on_gpu else "cpu", devices=1, precision=choose_precision(on_gpu))


def choose_precision(on_gpu: bool) -> Literal["bf16-mixed", "32-true"]:
    """Fabric's name of the training precision: bf16 only with hardware support.

    GPUs before compute capability 8.0 emulate bf16, several times slower than float32.
    """
    if not on_gpu:
        return "32-true"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    print("this GPU has no bfloat16 units: training in float32")
    return "32-true"
