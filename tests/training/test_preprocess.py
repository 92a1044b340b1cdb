"""The preprocess stage: outputs, errors, and atomicity when it fails or is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.project import BLUE, GREEN, RED, Project, encoded, picture
from training import paths
from training.data.manifest import DataError, data_sha256, read_manifest

REPOSITORY = Path(__file__).parents[2]
CLASSES = {"ant/1.png": picture(RED), "bee/1.png": picture(GREEN), "bee/2.png": picture(BLUE)}
UNREADABLE = {
    "empty.png": b"",
    "text.png": b"I am no picture",
    "notes.txt": b"I am no picture either",
    "half.jpg": picture(kind="JPEG", size=(300, 300))[:-300],
}


def noise(side: int) -> Image.Image:
    """An image that takes a while to decode."""
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (side, side, 3), np.uint8))


def test_a_folder_becomes_arrays_and_a_manifest(project: Project) -> None:
    project.write(CLASSES)
    manifest = project.prepare()
    assert project.images().dtype == np.uint8
    assert project.images().shape == (3, 28, 28, 3)
    assert project.images()[:, 5, 5].tolist() == [list(RED), list(GREEN), list(BLUE)]
    labels = np.load(paths.LABELS)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 1]
    assert manifest.classes == ("ant", "bee")
    assert manifest.images_per_class == {"ant": 1, "bee": 2}
    assert (manifest.images, manifest.resolution, manifest.channels) == (3, (28, 28), 3)
    assert manifest.data_sha256 == data_sha256()


def test_images_without_classes_all_have_label_zero(project: Project) -> None:
    project.write({"a.png": picture(), "b.png": picture()})
    manifest = project.prepare(channels=1)
    assert project.images().shape == (2, 28, 28, 1)
    assert np.load(paths.LABELS).tolist() == [0, 0]
    assert manifest.classes == ()


def test_a_class_without_a_readable_image_is_not_offered(project: Project) -> None:
    project.write(CLASSES | {"ape/1.png": b""})
    manifest = project.prepare(max_skipped=0.5)
    assert manifest.classes == ("ant", "bee")
    assert manifest.empty_classes == ("ape",)
    assert np.load(paths.LABELS).tolist() == [0, 1, 1]


def test_the_embedded_data_is_prepared(project: Project) -> None:
    manifest = project.prepare(str(REPOSITORY / "data/fashion-mnist-10k"), channels=1)
    assert manifest.images == 10_000
    assert (manifest.name, manifest.licence) == ("fashion-mnist", "Trained on Fashion-MNIST (MIT, Zalando SE)")
    assert manifest.images_per_class["Ankle boot"] == 1000
    assert np.load(paths.LABELS)[:4].tolist() == [9, 2, 1, 1]
    assert project.images().mean() == pytest.approx(73.1, abs=0.1)


def test_bad_files_are_skipped_counted_and_listed_with_the_reason(project: Project) -> None:
    project.write({f"{i}.png": picture() for i in range(6)} | UNREADABLE)
    manifest = project.prepare(max_skipped=0.4)
    assert manifest.images == 6
    assert (manifest.counts.candidates, manifest.counts.skipped) == (9, 3)
    reasons = {skip.file: skip.reason for skip in manifest.skipped}
    assert reasons["empty.png"] == "empty file"
    assert reasons["text.png"] == "not an image, or of an unknown format"
    assert [(kind.kind, kind.files, kind.examples) for kind in manifest.left_out] == [(".txt files", 1, ("notes.txt",))]
    assert reasons["half.jpg"].startswith("damaged or truncated")


def test_too_many_bad_files_give_an_error_with_counts_names_and_reasons(project: Project) -> None:
    project.write({f"{i}.png": picture() for i in range(6)} | UNREADABLE)
    with pytest.raises(DataError) as error:
        project.prepare(max_skipped=0.3)
    assert str(error.value).startswith("3 of 9 files in photos had to be skipped (empty.png: empty file; half.jpg: ")
    assert str(error.value).endswith("); repair or remove them, or raise data.max_skipped (0.3) in params.yaml")


def test_no_bad_file_is_tolerated_at_zero(project: Project) -> None:
    project.write({f"{i}.png": picture() for i in range(50)} | {"empty.png": b""})
    with pytest.raises(DataError, match="1 of 51 files"):
        project.prepare(max_skipped=0)


def test_a_folder_of_text_files_gives_a_one_line_error(project: Project) -> None:
    project.write({"a.txt": b"hello", "b.txt": b"world"})
    with pytest.raises(DataError) as error:
        project.prepare(max_skipped=1)
    assert str(error.value) == (
        "params.yaml: data.source = 'photos' holds no images, only .txt files (2); put some in, or name another folder"
    )


def test_an_empty_folder_gives_a_one_line_error(project: Project) -> None:
    (project.folder / "photos").mkdir()
    with pytest.raises(DataError, match="'photos' holds no images; put some in, or name another folder"):
        project.prepare()


def test_the_same_files_give_the_same_bytes_in_any_disk_order(project: Project) -> None:
    project.write(CLASSES | {"bee/bad.png": b"GIF89a"})
    project.prepare(max_skipped=0.3)
    first = project.outputs()
    paths.PREPARED_CACHE_RECORD.unlink()
    for path in sorted((project.folder / "photos").rglob("*.png"), reverse=True):  # another order on the disk
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    project.prepare(max_skipped=0.3)
    assert project.outputs() == first


def test_one_changed_pixel_changes_both_hashes(project: Project) -> None:
    project.write(CLASSES)
    before = project.prepare()
    project.write({"ant/1.png": picture((254, 0, 0))})
    after = project.prepare()
    assert after.data_sha256 != before.data_sha256
    assert after.source_sha256 != before.source_sha256


def test_the_same_pixels_in_another_shape_have_another_hash(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.zeros(2, np.int64))
    hashes = set()
    for shape in ((2, 8, 8, 1), (2, 4, 16, 1), (1, 16, 8, 1)):
        np.save(tmp_path / "images.npy", np.zeros(shape, np.uint8))
        hashes.add(data_sha256(tmp_path / "images.npy", tmp_path / "labels.npy"))
    assert len(hashes) == 3


def test_the_manifest_names_the_source_without_its_path(project: Project) -> None:
    project.write(CLASSES)
    project.prepare(str(project.folder / "photos"))
    assert str(project.folder) not in paths.MANIFEST.read_text()
    assert json.loads(paths.MANIFEST.read_text())["source"] == "photos"


def test_a_missing_manifest_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json does not exist; run `dvc repro`"):
        read_manifest(tmp_path / "manifest.json")


def test_a_damaged_manifest_says_what_to_do(project: Project) -> None:
    project.write({"manifest.json": b"{"}, under="data/prepared")
    with pytest.raises(DataError, match="is damaged; delete it and run `dvc repro`"):
        read_manifest()


@pytest.mark.parametrize("broken", ["too many bad files", "no source"])
def test_a_failing_run_leaves_the_previous_data_as_it_was(project: Project, broken: str) -> None:
    project.write(CLASSES)
    project.prepare()
    before = project.outputs()
    project.write({"ant/2.png": b""})
    with pytest.raises(DataError):
        project.prepare("photos" if broken == "too many bad files" else "nowhere")
    assert project.outputs() == before


def run_stage(project: Project) -> subprocess.Popen[str]:
    """Start the stage in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "training.preprocess"],
        cwd=project.folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_leaves_the_previous_data_and_the_next_one_cleans_up(project: Project) -> None:
    project.write(CLASSES)
    project.prepare()
    before = project.outputs()
    photo = encoded(noise(900))
    project.write({f"ant/{i:03d}.png": photo for i in range(200)})
    stage = run_stage(project)
    deadline = time.monotonic() + 60
    while not list(paths.PREPARED.glob(".images.npy.*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(stage.pid, signal.SIGKILL)
    stage.communicate()
    left = project.outputs()
    assert {name: left[name] for name in before} == before
    assert len(left) > len(before)
    project.prepare(limit=20)
    assert sorted(project.outputs()) == sorted(before)


PEAK = """
from training.preprocess import main
main()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_number_of_images(project: Project) -> None:
    photo = picture(size=(256, 256))
    project.write({f"{i:04d}.png": photo for i in range(600)})
    peaks = []
    for limit in (100, 600):
        project.data(resolution=256, limit=limit)
        stage = subprocess.run(
            [sys.executable, "-c", PEAK], cwd=project.folder, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(int(stage.stdout.split()[-1]) / 1024)
    assert paths.IMAGES.stat().st_size > 112 << 20
    assert peaks[1] - peaks[0] < 20  # MiB; the additional 500 images are 94 MiB


def test_the_summary_lists_class_counts_and_unused_files(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    system = {"bee/.DS_Store": b"x", "ant/@eaDir/1.png/thumb.jpg": picture(), "ant/1.txt": b"an ant"}
    project.write(CLASSES | system | {"bee/3.png": b"", "bee/4.png": picture(size=(9, 12)), "stray.png": picture()})
    project.prepare(max_skipped=0.3)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("prepared data/prepared  4 images 28x28x3, 2 classes  ")
    assert rest == [
        "  classes: ant (1), bee (3)",
        "  1 skipped (1 empty file) (see data/prepared/manifest.json)",
        "  left out: system files (2), .txt files (1), pictures in no class folder (1)",
        "  enlarged: 1 of 4 pictures, smaller than 28 pixels",
    ]


def test_the_summary_of_many_classes_is_abbreviated(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write({f"c{i:02d}/{j}.png": picture() for i in range(30) for j in range(1 + i % 2)})
    project.prepare()
    first = "c00 (1), c01 (2), c02 (1), c03 (2), c04 (1), c05 (2), c06 (1), c07 (2)"
    assert f"  classes: {first} and 22 more; 1 to 2 images each" in capsys.readouterr().out.splitlines()


def test_an_error_is_one_line_without_a_traceback(project: Project) -> None:
    project.data("nowhere")
    stage = run_stage(project)
    _, message = stage.communicate(timeout=60)
    assert stage.returncode == 1
    assert message.startswith("error: params.yaml: data.source = 'nowhere' does not exist")
    assert message.count("\n") == 1


def test_a_limit_that_would_lose_a_class_is_refused(project: Project) -> None:
    project.write(CLASSES | {"cow/1.png": picture()})
    with pytest.raises(DataError, match=r"params.yaml: data.limit = 2 is less than the 3 classes; raise it"):
        project.prepare(limit=2)


def test_images_beyond_the_limit_are_counted(project: Project) -> None:
    project.write({f"{i}.png": picture() for i in range(9)})
    manifest = project.prepare(limit=4)
    assert manifest.images == 4
    assert manifest.counts.beyond_limit == 5


def test_the_source_hash_covers_names_and_contents(project: Project) -> None:
    files = {"a.png": picture(RED), "b.png": picture(BLUE)}
    project.write(files)
    expected = sha256(b"".join(name.encode() + b"\0" + sha256(content).digest() for name, content in files.items()))
    assert project.prepare().source_sha256 == expected.hexdigest()
