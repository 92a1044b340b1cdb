"""Array sources: IDX files, .npz files and torchvision data sets, valid and damaged."""

import gzip
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.project import Project, picture
from training import paths
from training.data.sources import decompression


def idx(array: NDArray[np.uint8]) -> bytes:
    """IDX file of an array."""
    header = np.array([0x0800 + array.ndim, *array.shape], ">u4")
    return header.tobytes() + array.tobytes()


DIGITS = np.random.RandomState(0).randint(0, 256, (12, 28, 28), np.uint8)
DIGIT_LABELS = (np.arange(12) % 3).astype(np.uint8)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_give_their_images_and_labels(project: Project, packed: bool) -> None:
    pack, suffix = (gzip.compress, ".gz") if packed else (bytes, "")
    files = {"t10k-images-idx3-ubyte": idx(DIGITS), "t10k-labels-idx1-ubyte": idx(DIGIT_LABELS)}
    project.write({name + suffix: pack(content) for name, content in files.items()} | {"classes.txt": b"a\nb\nc\n"})
    with project.open() as found:
        assert found.classes == ["a", "b", "c"]
        assert [item.label for item in found.items] == DIGIT_LABELS.tolist()
        np.testing.assert_array_equal(np.stack([np.asarray(item.read()) for item in found.items]), DIGITS)


def test_idx_classes_without_names_are_numbers(project: Project) -> None:
    project.write({"x-images-idx3-ubyte": idx(DIGITS), "x-labels-idx1-ubyte": idx(DIGIT_LABELS)})
    with project.open() as found:
        assert found.classes == ["0", "1", "2"]


def test_several_idx_sets_are_concatenated(project: Project) -> None:
    for part, images in (("train", DIGITS[:8]), ("t10k", DIGITS[8:])):
        project.write({f"{part}-images-idx3-ubyte": idx(images)})
    assert len(project.labels()) == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(DIGITS)[:-1], "its size does not fit its shape (12, 28, 28)"),
        (b"not idx at all", "its header is not IDX"),
        (b"", "its header is not IDX"),
        (idx(DIGIT_LABELS), "its header is not IDX"),
    ],
)
def test_a_damaged_idx_file_gives_a_one_line_error(project: Project, content: bytes, message: str) -> None:
    project.write({"x-images-idx3-ubyte": content})
    assert message in project.open_error("photos")


def test_a_truncated_packed_idx_file_gives_a_one_line_error(project: Project) -> None:
    project.write({"x-images-idx3-ubyte.gz": gzip.compress(idx(DIGITS))[:-100]})
    assert project.open_error("photos").endswith("download it again")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (DIGIT_LABELS[:5], b"a\nb\nc\n", "labels are uint8 [5]; there must be one integer for each of the 12 images"),
        (DIGIT_LABELS, b"a\nb\n", "labels run from 0 to 2, there are 2 class names"),
        (DIGIT_LABELS, b"a\nb\na\n", "two classes have the same name"),
    ],
)
def test_labels_that_do_not_fit_give_a_one_line_error(
    project: Project, labels: NDArray[np.uint8], names: bytes, message: str
) -> None:
    project.write({"x-images-idx3-ubyte": idx(DIGITS), "x-labels-idx1-ubyte": idx(labels), "classes.txt": names})
    assert message in project.open_error("photos")


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_gives_its_images_labels_and_classes(project: Project, channels: int, compressed: bool) -> None:
    images = np.repeat(DIGITS[..., None], channels, axis=3) if channels else DIGITS
    save = np.savez_compressed if compressed else np.savez
    save("digits.npz", images=images, labels=DIGIT_LABELS.astype(np.int64), classes=np.array(["a", "b", "c"]))
    with project.open("digits.npz") as found:
        assert found.classes == ["a", "b", "c"]
        assert [item.label for item in found.items] == DIGIT_LABELS.tolist()
        np.testing.assert_array_equal(np.stack([np.asarray(item.read()) for item in found.items]), images)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ant", "bee", "caf\u00e9"]),
        np.array(["ant", "bee", "cafe\u0301"]),
        np.array([name.encode() for name in ("ant", "bee", "caf\u00e9")]),
        np.array(["ant", "bee", "caf\u00e9"], object),
        np.array([b"ant", b"bee", "caf\u00e9".encode()], object),
        np.array([b"ant ", b" bee", "caf\u00e9".encode()]),
    ],
    ids=["text", "decomposed", "bytes", "objects", "objects of bytes", "padded"],
)
def test_class_names_are_text_whatever_their_dtype(project: Project, names: NDArray[np.str_]) -> None:
    np.savez("digits.npz", images=DIGITS, labels=DIGIT_LABELS, classes=names)
    with project.open("digits.npz") as found:
        assert found.classes == ["ant", "bee", "caf\u00e9"]
        assert [item.label for item in found.items] == DIGIT_LABELS.tolist()


@pytest.mark.parametrize("kind", ["U", "S"])
@pytest.mark.parametrize("names", [None, ["1", "x", "2", "10"]])
def test_labels_may_be_class_names_themselves(project: Project, kind: str, names: list[str] | None) -> None:
    labels = np.array(["10", "2", "1"] * 4).astype(kind)
    np.savez("digits.npz", images=DIGITS, labels=labels, **({"classes": np.array(names)} if names else {}))
    assert list(project.labels("digits.npz").values()) == ["10", "2", "1"] * 4
    with project.open("digits.npz") as found:
        assert found.classes == (names or ["1", "2", "10"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"classes": np.array([b"a", b"\xff", b"c"])}, "a name in it is not UTF-8"),
        ({"classes": np.array(["a", "b" * 300, "c"], object)}, "is not an .npz file of plain arrays or is damaged"),
        ({"classes": np.array(["a", print, "c"], object)}, "is not an .npz file of plain arrays or is damaged"),
        ({"classes": np.array([b"a", b"a", b"c"])}, "two classes have the same name; give each its own"),
        ({"classes": np.array([1.5, 2.5, 3.5])}, "classes are float64 [3]; save them as a list of names"),
        ({"classes": np.array(["a"]), "labels": np.array(["b"] * 12)}, "the label 'b' is not among the class names"),
    ],
)
def test_invalid_class_names_give_a_one_line_error(project: Project, arrays: dict[str, object], message: str) -> None:
    np.savez("digits.npz", images=DIGITS, **{"labels": DIGIT_LABELS} | arrays)  # type: ignore[arg-type]
    assert message in project.open_error("digits.npz")


def test_an_npz_of_images_alone_has_no_labels(project: Project) -> None:
    np.savez("digits.npz", images=DIGITS)
    assert set(project.labels("digits.npz").values()) == {None}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": DIGITS}, "digits.npz holds x; its images must be called `images`"),
        ({"images": DIGITS.astype(np.float32)}, "images are float32 [12, 28, 28]; save them as uint8"),
        ({"images": DIGITS[0]}, "images are uint8 [28, 28]; save them as"),
        ({"images": DIGITS[..., None].repeat(2, 3)}, "images are uint8 [12, 28, 28, 2]; save them as"),
        ({"images": DIGITS, "labels": DIGIT_LABELS / 2}, "labels are float64 [12]; there must be one integer"),
        ({"images": np.array([print, None])}, "is not an .npz file of plain arrays"),  # must not be unpickled
    ],
)
def test_an_npz_that_does_not_fit_gives_a_one_line_error(
    project: Project, arrays: dict[str, object], message: str
) -> None:
    np.savez("digits.npz", **arrays)  # type: ignore[arg-type]
    assert message in project.open_error("digits.npz")


def test_a_damaged_npz_gives_a_one_line_error(project: Project) -> None:
    Path("digits.npz").write_bytes(b"PK\x03\x04 and then nothing")
    assert project.open_error("digits.npz").endswith("download or pack it again")


@pytest.mark.parametrize("name", ["DIGITS.NPZ", "digits.zip", "digits"])
def test_an_npz_is_detected_by_content(project: Project, name: str) -> None:
    np.savez("digits.npz", images=DIGITS)
    Path("digits.npz").rename(name)
    assert len(project.labels(name)) == len(DIGITS)


def test_an_npz_with_a_password_gives_a_one_line_error(project: Project) -> None:
    np.savez("digits.npz", images=DIGITS)
    content = bytearray(Path("digits.npz").read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    Path("digits.npz").write_bytes(content)
    assert project.open_error("digits.npz").startswith("digits.npz is protected by a password; unpack it")


def npy(header: str, content: bytes = b"") -> bytes:
    """.npy file with any header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def shaped(shape: str, descr: str = "|u1") -> str:
    """Header of an .npy file."""
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"


HEADERS = {
    "more than there is": npy(shaped("(9, 28, 28)"), bytes(28 * 28)),
    "less than there is": npy(shaped("(1, 2, 2)"), bytes(28 * 28)),
    "more than any machine has": npy(shaped("(2**40, 28, 28)".replace("2**40", str(2**40))), bytes(9)),
    "a product that overflows": npy(shaped(f"({2**32}, {2**32}, 1)")),
    "below nothing": npy(shaped("(-1, 28, 28)")),
    "true": npy(shaped("(True, 2, 2)"), bytes(4)),
    "no shape": npy("{'descr': '|u1'}"),
    "nested": npy("(" * 5000),
    "not closed": npy("{'descr': ("),
    "names of no length": npy(shaped(f"({2**40},)", "<U0")),
    "objects": npy(shaped("(1,)", "|O"), bytes(8)),
    "cut": b"\x93NUMPY\x01",
    "empty": b"",
}


@pytest.mark.parametrize("header", HEADERS)
def test_an_array_that_contradicts_its_header_gives_a_one_line_error(project: Project, header: str) -> None:
    for wrong in ("images", "classes"):
        with zipfile.ZipFile("digits.npz", "w") as archive:
            for name in ("images", "labels", "classes"):
                archive.writestr(f"{name}.npy", HEADERS[header] if name == wrong else npy(shaped("(1, 1, 1)"), b"x"))
        assert "is not an .npz file of plain arrays or is damaged" in project.open_error("digits.npz")


@pytest.mark.parametrize("shape", [(12, 0, 0), (12, 5, 0), (12, 0, 5, 3)])
def test_images_without_pixels_give_a_one_line_error(project: Project, shape: tuple[int, ...]) -> None:
    np.savez("digits.npz", images=np.zeros(shape, np.uint8))
    assert "which have no pixels" in project.open_error("digits.npz")
    if len(shape) == 3:
        project.write({"x-images-idx3-ubyte": idx(np.zeros(shape, np.uint8))})
        assert "which have no pixels" in project.open_error()


@pytest.mark.parametrize("content", [idx(DIGITS) + bytes(3 << 20), idx(DIGITS)[:-1]])
def test_a_packed_idx_file_is_unpacked_no_further_than_its_shape(project: Project, content: bytes) -> None:
    project.write({"x-images-idx3-ubyte.gz": gzip.compress(content)})
    tracemalloc.start()
    try:
        assert project.open_error().endswith("its size does not fit its shape; download it again")
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_packed_idx_file_in_several_streams_is_read(project: Project) -> None:
    content = idx(DIGITS)
    project.write({"x-images-idx3-ubyte.gz": gzip.compress(content[:999]) + gzip.compress(content[999:])})
    assert len(project.labels()) == len(DIGITS)


@pytest.mark.parametrize("kind", ["npz", "idx"])
def test_arrays_that_unpack_to_many_times_their_size_or_fill_the_disk_are_refused(
    project: Project, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    black = np.zeros((2000, 28, 28), np.uint8)
    if kind == "npz":
        np.savez_compressed("photos", images=black)
    else:
        project.write({"x-images-idx3-ubyte.gz": gzip.compress(idx(black))})
    source = "photos.npz" if kind == "npz" else "photos"
    assert len(project.labels(source)) == len(black)
    monkeypatch.setattr(decompression, "RESERVED_DISK_MIB", 1 << 40)
    assert "needs more room than the disk of" in project.open_error(source)
    monkeypatch.setattr(decompression, "MIN_QUOTA_MIB", 1)
    assert "unpacks to more than 1 MiB and 200 times its size" in project.open_error(source)


def test_labels_none_drops_every_label(project: Project) -> None:
    project.write({"a/1.png": picture(), "b/1.png": picture()})
    assert set(project.labels(labels="none").values()) == {None}
    np.savez("digits.npz", images=DIGITS, labels=DIGIT_LABELS)
    assert set(project.labels("digits.npz", labels="none").values()) == {None}


def test_an_unknown_data_set_suggests_the_nearest_name(project: Project) -> None:
    assert project.open_error("torchvision:FashionMINST").endswith("did you mean FashionMNIST?")
    assert project.open_error("torchvision:x").endswith(
        "choose one of FashionMNIST, MNIST, CIFAR10, Flowers102, CelebA"
    )


@pytest.mark.parametrize("name", ["FashionMNIST", "MNIST", "CIFAR10", "Flowers102", "CelebA"])
def test_a_data_set_that_cannot_be_downloaded_gives_a_one_line_error(
    project: Project, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("http_proxy", "https_proxy"):  # a closed port: fails at once, as without a network
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    message = project.open_error(f"torchvision:{name}")
    assert message.startswith(
        f"params.yaml: data.source = 'torchvision:{name}' could not be downloaded to data/torchvision ("
    )
    assert message.endswith("); try again with a network, or set data.source to a folder of images")


def test_a_downloaded_data_set_needs_no_network(project: Project) -> None:
    folder = paths.TORCHVISION / "MNIST/raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(DIGITS))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(DIGIT_LABELS))
    with project.open("torchvision:MNIST") as found:
        assert found.classes[2] == "2 - two"
        assert [item.label for item in found.items] == DIGIT_LABELS.tolist()
        np.testing.assert_array_equal(found.items[5].read(), DIGITS[5])
