"""Folders and archives: sorted, labelled items, and one-line errors for damaged sources."""

import os
import shutil
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.training.project import BLUE, GREEN, RED, Project, picture
from training import paths
from training.data.sources import UnreadableImageError, base

FLOWERS = {
    "daisy/1.png": picture(RED),
    "daisy/2.png": picture(GREEN),
    "rose/deep/1.png": picture(BLUE),
    "tulip/1.png": picture(RED),
}
CLASSES = {"daisy/1.png": "daisy", "daisy/2.png": "daisy", "rose/deep/1.png": "rose", "tulip/1.png": "tulip"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    """Write a zip archive of the files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], compression: str = "") -> Path:
    """Write a tar archive of the files."""
    with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path


def wrapped(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files in a wrapper folder, as in many archives."""
    return {f"flowers/{name}": content for name, content in files.items()}


def test_subfolders_are_classes(project: Project) -> None:
    project.write(FLOWERS)
    assert project.labels() == CLASSES


def test_a_wrapper_folder_is_not_a_class(project: Project) -> None:
    project.write(wrapped(FLOWERS))
    assert list(project.labels().values()) == list(CLASSES.values())


def test_a_flat_folder_has_no_labels(project: Project) -> None:
    project.write({"a.png": picture(), "b.png": picture()})
    assert project.labels() == {"a.png": None, "b.png": None}


def test_a_readme_beside_the_class_folders_changes_no_class(project: Project) -> None:
    project.write(wrapped(FLOWERS) | {"README.md": b"my flowers"})
    with project.open() as found:
        assert found.classes == ["daisy", "rose", "tulip"]
        assert [(entry.file, entry.kind) for entry in found.ignored] == [("README.md", ".md files")]
        assert not found.skipped


def test_hidden_and_system_files_are_not_candidates(project: Project) -> None:
    junk = {".DS_Store": b"x", "daisy/._1.png": b"x", "__MACOSX/daisy/1.png": b"x", "rose/Thumbs.db": b"x"}
    project.write(FLOWERS | junk)
    assert project.labels() == CLASSES


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_is_read_as_its_folder_would_be(project: Project, kind: str, wrap: bool) -> None:
    project.write(FLOWERS)
    files = wrapped(FLOWERS) if wrap else FLOWERS
    archive = project.folder / f"flowers.{kind}"
    _ = zipped(archive, files) if kind == "zip" else tarred(archive, files, kind.partition(".")[2])
    with project.open("photos") as folder, project.open(archive.name) as packed:
        assert packed.classes == folder.classes
        assert [item.label for item in packed.items] == [item.label for item in folder.items]
        assert [item.read() for item in packed.items] == [item.read() for item in folder.items]


def test_unpacked_members_are_gone_when_the_source_is_closed(project: Project) -> None:
    tarred(project.folder / "flowers.tar", FLOWERS)
    with project.open("flowers.tar") as found:
        assert all(item.read() for item in found.items)
    assert not paths.UNPACKED.exists()


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "daisy/../../evil.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_outside_the_archive_is_skipped_and_not_written(project: Project, kind: str, name: str) -> None:
    pack = zipped if kind == "zip" else tarred
    pack(project.folder / f"flowers.{kind}", FLOWERS | {name: b"evil"})
    with project.open(f"flowers.{kind}") as found:
        assert [(skip.file, skip.reason) for skip in found.skipped] == [(name, "its path leads outside the archive")]
        assert not [path for path in project.folder.parent.rglob("*") if path.name == "evil.png"]


def test_a_link_out_of_a_tar_is_skipped(project: Project) -> None:
    with tarfile.open(project.folder / "flowers.tar", "w") as archive:
        link = tarfile.TarInfo("daisy/passwords.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with project.open("flowers.tar") as found:
        assert [skip.reason for skip in found.skipped] == ["a link that leads outside the archive"]


def test_a_member_with_a_damaged_body_is_one_skipped_file(project: Project) -> None:
    archive = zipped(project.folder / "flowers.zip", {"1.png": picture(RED), "2.png": picture(BLUE)})
    content = bytearray(archive.read_bytes())
    content[60:70] = bytes(10)
    archive.write_bytes(content)
    with project.open("flowers.zip") as found:
        with pytest.raises(UnreadableImageError, match="damaged in the archive"):
            found.items[0].read()
        assert found.items[1].read() == picture(BLUE)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_huge_file_is_not_read_into_memory(project: Project, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_FILE_MIB", 1)
    files = {"huge.png": bytes(2 << 20)}
    source = project.write(files) if kind == "folder" else project.folder / f"huge.{kind}"
    if kind != "folder":
        _ = zipped(source, files) if kind == "zip" else tarred(source, files)
    with project.open(source.name) as found:
        reasons = [skip.reason for skip in found.skipped]
        for item in found.items:
            with pytest.raises(UnreadableImageError) as error:
                item.read()
            reasons.append(str(error.value))
    assert reasons == ["too large: 2 MiB, the limit is 1"]


def test_an_archive_with_a_password_gives_a_one_line_error(project: Project) -> None:
    with zipfile.ZipFile(project.folder / "secret.zip", "w") as archive:
        archive.writestr("1.png", picture())
        archive.filelist[0].flag_bits |= 1
    assert project.open_error("secret.zip") == (
        "secret.zip is protected by a password; unpack it, or pack it again without one"
    )


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
def test_a_truncated_archive_gives_a_one_line_error(project: Project, kind: str, kept: float) -> None:
    archive = project.folder / f"flowers.{kind}"
    noise = {f"{i}.png": os.urandom(5000) for i in range(9)}
    _ = zipped(archive, noise) if kind == "zip" else tarred(archive, noise, kind.partition(".")[2])
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * kept)])
    assert project.open_error(archive.name).endswith("download or pack it again")


def test_a_damaged_central_directory_gives_a_one_line_error(project: Project) -> None:
    archive = zipped(project.folder / "flowers.zip", FLOWERS)
    archive.write_bytes(archive.read_bytes().replace(b"PK\x01\x02", b"PK\x09\x09"))
    assert project.open_error("flowers.zip").endswith("download or pack it again")


def test_a_text_file_as_a_source_gives_a_one_line_error(project: Project) -> None:
    (project.folder / "notes.txt").write_text("hello")
    assert project.open_error("notes.txt") == (
        "params.yaml: data.source = 'notes.txt' is neither a folder, a zip or tar archive, nor an .npz file"
    )


def test_a_missing_source_suggests_the_nearest_name(project: Project) -> None:
    project.write(FLOWERS, under="data/flowers")
    assert project.open_error("data/flwers") == (
        "params.yaml: data.source = 'data/flwers' does not exist; did you mean data/flowers?"
    )


def test_a_missing_source_without_a_similar_name_says_what_to_write(project: Project) -> None:
    assert project.open_error("somewhere/else") == (
        "params.yaml: data.source = 'somewhere/else' does not exist; write the path of a folder or an archive of images"
    )


@pytest.mark.parametrize("source", ["photos", "../elsewhere/photos"])
def test_a_temporary_checkout_reads_images_and_labels_of_the_main_one(
    project: Project, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write({"1.png": picture(), "2.png": picture()}, under=f"main/{source}")
    project.write({"tags.csv": b"1.png,ant\n2.png,bee\n"}, under="main")
    copy = project.folder / "main/.dvc/tmp/exps/tmpabc"  # like those of `dvc exp run --temp`, without the images
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert Project(copy).labels(source, labels="tags.csv") == {"1.png": "ant", "2.png": "bee"}


def test_a_cyclic_link_is_not_followed(project: Project) -> None:
    project.write(FLOWERS)
    (project.folder / "photos/daisy/again").symlink_to(project.folder / "photos")
    assert project.labels() == CLASSES


def test_links_to_files_and_folders_are_followed_and_dangling_ones_skipped(project: Project) -> None:
    project.write(FLOWERS, under="elsewhere")
    project.write({"lily/1.png": picture()})
    (project.folder / "photos/rose").symlink_to(project.folder / "elsewhere/rose")
    (project.folder / "photos/lily/gone.png").symlink_to("nothing.png")
    with project.open() as found:
        assert [item.name for item in found.items] == ["lily/1.png", "rose/deep/1.png"]
        assert [(skip.file, skip.reason) for skip in found.skipped] == [("lily/gone.png", "a link to nothing")]


def test_a_pipe_does_not_hang_the_stage(project: Project) -> None:
    os.mkfifo(project.write({"a.png": picture()}) / "pipe.png")
    with project.open() as found:
        assert [skip.reason for skip in found.skipped] == ["not a regular file"]


@pytest.mark.parametrize("name", ["cafe/1.png", "tea/cafe.png"])
def test_file_names_that_are_not_utf8_are_refused_with_possible_readings(project: Project, name: str) -> None:
    project.write({name.replace("cafe", os.fsdecode(b"caf\xe9")): picture(), "tea/1.png": picture()})
    message = project.open_error()
    assert "a name in it is not UTF-8 (" in message
    assert "caf\u00e9" in message
    assert "as Windows-1252" in message
    assert "rename it" in message


def test_decomposed_accents_of_macos_are_normalised(project: Project) -> None:
    project.write({"cafe\u0301/1.png": picture(), "bar/1.png": picture()})
    with project.open() as found:
        assert found.classes == ["bar", "caf\u00e9"]


def test_item_order_does_not_depend_on_creation_order(project: Project) -> None:
    project.write(FLOWERS, under="one")
    project.write(dict(reversed(FLOWERS.items())), under="two")
    shutil.copytree("two", "three")
    assert list(project.labels("one")) == list(project.labels("two")) == list(project.labels("three"))
