"""The embedded extractor is the network that its weights were trained for."""

import numpy as np
import pytest
import torch

from serving.errors import MintError
from training.features import LITE0, extract_features

CPU = torch.device("cpu")


def test_features_are_pooled_and_independent_of_the_batch() -> None:
    images = np.random.RandomState(0).randint(0, 256, (3, 28, 28, 1)).astype(np.uint8)
    features = extract_features(images, LITE0, CPU)
    assert features.shape == (3, 1280)
    torch.testing.assert_close(features[1:2], extract_features(images[1:2], LITE0, CPU), atol=1e-3, rtol=1e-3)


def test_a_grey_image_is_seen_as_rgb() -> None:
    grey = np.random.RandomState(0).randint(0, 256, (1, 32, 32, 1)).astype(np.uint8)
    torch.testing.assert_close(extract_features(grey, LITE0, CPU), extract_features(grey.repeat(3, 3), LITE0, CPU))


def test_similar_pictures_have_nearer_features_than_different_ones() -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    disc = np.hypot(*np.mgrid[-32:32, -32:32]) < 20
    pictures = [np.tile(ramp, (64, 1)), np.tile(ramp[::-1], (64, 1)), disc * np.uint8(255)]
    features = extract_features(np.stack(pictures)[..., None].astype(np.uint8), LITE0, CPU)
    gaps = torch.cdist(features, features)
    assert gaps[0, 1] < gaps[0, 2]


def test_inception_without_a_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # A proxy that nobody listens at: the download fails at once, here as on a machine that has a network.
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(MintError, match="could not be downloaded .* evaluate.extractor .* efficientnet-lite0"):
        extract_features(np.zeros((1, 32, 32, 3), np.uint8), "inception", CPU)
