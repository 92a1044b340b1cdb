"""Feature extraction with the installed networks, its cache, and weights that are missing or damaged."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from serving.errors import MintError
from training import paths
from training.evaluation import features
from training.evaluation.features import (
    EFFICIENTNET_LITE0,
    MOBILENET_V2,
    cached_features,
    extract_features,
    mobilenet_weights,
)

CPU = torch.device("cpu")
every_installed = pytest.mark.parametrize("extractor", [MOBILENET_V2, EFFICIENTNET_LITE0])


@every_installed
def test_features_are_pooled_and_independent_of_the_batch(extractor: str) -> None:
    images = np.random.RandomState(0).randint(0, 256, (3, 28, 28, 1)).astype(np.uint8)
    found = extract_features(images, extractor, CPU)
    assert found.shape == (3, 1280)
    torch.testing.assert_close(found[1:2], extract_features(images[1:2], extractor, CPU), atol=1e-3, rtol=1e-3)


@every_installed
def test_grey_images_are_repeated_to_rgb(extractor: str) -> None:
    grey = np.random.RandomState(0).randint(0, 256, (1, 32, 32, 1)).astype(np.uint8)
    torch.testing.assert_close(
        extract_features(grey, extractor, CPU), extract_features(grey.repeat(3, 3), extractor, CPU)
    )


def test_mobilenet_features_are_what_its_classifier_sees_under_its_own_preprocessing() -> None:
    network = torchvision.models.mobilenet_v2().eval()
    network.load_state_dict(torch.load(mobilenet_weights(), weights_only=True))
    network.classifier = torch.nn.Identity()
    image = np.random.RandomState(0).randint(0, 256, (1, 128, 128, 3)).astype(np.uint8)
    preprocess = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms(crop_size=128, resize_size=128)
    with torch.no_grad():
        expected = network(preprocess(torch.from_numpy(image).permute(0, 3, 1, 2)))
    torch.testing.assert_close(extract_features(image, MOBILENET_V2, CPU), expected, atol=1e-4, rtol=1e-4)


def test_lite0_features_equal_those_of_an_independent_implementation() -> None:
    """Values of a network written after table 1 of Tan and Le 2019, with TensorFlow's padding and the same weights."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    image = np.stack(
        [np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 90, np.uint8)], axis=-1
    )
    found = extract_features(image[None], EFFICIENTNET_LITE0, CPU)[0]
    assert found.norm().item() == pytest.approx(13.83324, rel=1e-4)
    assert found[[113, 897, 755, 71]].tolist() == pytest.approx([4.593818, 4.141541, 3.205443, 3.103215], rel=1e-4)


def test_similar_images_have_nearer_features_than_different_ones() -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    disc = np.hypot(*np.mgrid[-32:32, -32:32]) < 20
    pictures = [np.tile(ramp, (64, 1)), np.tile(ramp[::-1], (64, 1)), disc * np.uint8(255)]
    found = extract_features(np.stack(pictures)[..., None].astype(np.uint8), EFFICIENTNET_LITE0, CPU)
    distances = torch.cdist(found, found)
    assert distances[0, 1] < distances[0, 2]


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """Two images, with an empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return np.random.RandomState(0).randint(0, 256, (2, 8, 8, 1)).astype(np.uint8)


def cache_files() -> list[Path]:
    return sorted(paths.RUNS.glob("features-*.pt"))


@pytest.mark.parametrize("damage", ["cut", "empty", "bit flipped"])
def test_cached_features_are_reused_and_damaged_ones_are_computed_again(noise: NDArray[np.uint8], damage: str) -> None:
    found = cached_features(noise, EFFICIENTNET_LITE0, CPU)
    (file,) = cache_files()
    content = file.read_bytes()
    times = file.stat().st_mtime_ns
    assert torch.equal(cached_features(noise, EFFICIENTNET_LITE0, CPU), found)
    assert file.stat().st_mtime_ns == times
    flipped = content[:900] + bytes([content[900] ^ 1]) + content[901:]
    file.write_bytes({"cut": content[:-9], "empty": b"", "bit flipped": flipped}[damage])
    assert torch.equal(cached_features(noise, EFFICIENTNET_LITE0, CPU), found)
    assert file.read_bytes() == content


def test_the_cache_key_covers_everything_that_features_depend_on(
    noise: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cached_features(noise, EFFICIENTNET_LITE0, CPU)
    cached_features(noise[::-1], EFFICIENTNET_LITE0, CPU)
    cached_features(noise.reshape(2, 4, 16, 1), EFFICIENTNET_LITE0, CPU)
    assert len(cache_files()) == 3
    edited = tmp_path / "features.py"
    edited.write_text(Path(features.__file__).read_text() + "# edited\n")
    with monkeypatch.context() as patch:
        patch.setattr(features, "__file__", str(edited))
        cached_features(noise, EFFICIENTNET_LITE0, CPU)
    assert len(cache_files()) == 4
    for package in features.PACKAGES:
        with monkeypatch.context() as patch:
            patch.setattr(features, "version", lambda name, other=package: "0" if name == other else version(name))
            cached_features(noise, EFFICIENTNET_LITE0, CPU)
    assert len(cache_files()) == 4 + len(features.PACKAGES)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No installed MobileNetV2, no internet access, and an empty cache of torch hub; returns the cache's folder."""
    monkeypatch.setattr(features, "MOBILENET_PACKAGE", "a-package-that-is-not-installed")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # A proxy that does not exist: the download fails at once, with or without internet access.
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        ("inception", "could not be downloaded .* evaluate.extractor .* mobilenet-v2"),
        (MOBILENET_V2, "not installed and could not be downloaded .* make setup"),
    ],
)
def test_weights_that_cannot_be_downloaded_raise_an_error_that_names_the_remedy(
    no_network: Path, extractor: str, message: str
) -> None:
    with pytest.raises(MintError, match=message):
        extract_features(np.zeros((1, 32, 32, 3), np.uint8), extractor, CPU)


def test_mobilenet_weights_in_the_cache_of_torch_hub_are_used_unless_they_are_damaged(
    request: pytest.FixtureRequest,
) -> None:
    installed = mobilenet_weights()
    no_network: Path = request.getfixturevalue("no_network")
    no_network.mkdir(parents=True)
    cached = no_network / installed.name
    cached.write_bytes(installed.read_bytes())
    assert mobilenet_weights() == cached
    cached.write_bytes(installed.read_bytes()[:-1])
    with pytest.raises(MintError, match=f"{cached.name} is not the published file .* remove it and run make setup"):
        mobilenet_weights()
