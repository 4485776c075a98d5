"""Archives with a checkpoint, and archives that are up to no good: one sentence, and nothing left behind."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import random
import resource
import struct
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests import tiny
from tfpipeline import checkpoints
from tfpipeline.checkpoints import archive_members, archives, sources
from tfpipeline.errors import UserError

TARS = {"": "w", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
FOLDER = "uncased_L-2_H-16_A-2"


def is_checkpoint(folder):
    return (folder / "config.json").exists()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives") / FOLDER
    tiny.write_checkpoint(folder)
    return folder


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder that temporary folders are made in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def write_zip(path, folder, top=FOLDER):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{top}/{file.name}" if top else file.name)


def write_tar(path, folder, mode="w", top=FOLDER):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, top)


def zip_of(path, *members):
    """A zip of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the names that stand in it twice
        for name, data in members:
            archive.writestr(name, data)


def tar_of(path, *members, mode="w", form=tarfile.PAX_FORMAT):
    """A tar of (name, bytes) and (TarInfo, bytes)."""
    with tarfile.open(path, mode, format=form, errors="surrogateescape") as archive:
        for member, data in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def tar_member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(path, temporary, *, recognise=is_checkpoint):
    """What is said of an archive; it leaves nothing behind."""
    with pytest.raises(UserError) as caught:
        sources.locate(path, recognise)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert list(temporary.iterdir()) == []
    return message


# --- what is read ---


@pytest.mark.parametrize("kind", ["zip", *TARS])
@pytest.mark.parametrize("top", [FOLDER, "", "a/b/c"])
def test_an_archive_is_the_folder_in_it(kind, top, checkpoint, tmp_path, temporary):
    path = tmp_path / "download"  # its name says nothing
    if kind == "zip":
        write_zip(path, checkpoint, top)
    else:
        write_tar(path, checkpoint, TARS[kind], top or ".")
    located = sources.locate(path, is_checkpoint)
    assert (located.name, located.display_name) == ("", str(path))
    assert located.directory.relative_to(located.keep.path) == Path(top)
    for file in checkpoint.iterdir():
        assert (located.directory / file.name).read_bytes() == file.read_bytes()


def test_the_folder_lives_as_long_as_it_is_held(checkpoint, tmp_path, temporary):
    write_zip(tmp_path / "download.zip", checkpoint)
    located = sources.locate(tmp_path / "download.zip", is_checkpoint)
    keep = located.keep
    del located
    assert len(list(temporary.iterdir())) == 1
    del keep
    assert list(temporary.iterdir()) == []


def test_by_default_any_format_is_recognised(checkpoint, tmp_path, temporary):
    checkpoints.convert(checkpoint, tmp_path / "google")
    write_tar(tmp_path / "google.tgz", tmp_path / "google", "w:gz")
    assert (sources.locate(tmp_path / "google.tgz").directory / "bert_config.json").exists()


def test_a_part_of_a_pipeline_is_no_second_checkpoint(checkpoint, tmp_path, temporary):
    pooling = checkpoint / "1_Pooling" / "config.json"
    path = tmp_path / "sentence.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(checkpoint, "model")
        archive.addfile(tarfile.TarInfo(f"model/{pooling.parent.name}/config.json"))
    assert sources.locate(path, is_checkpoint).directory.name == "model"


def test_what_macos_adds_is_left_out(checkpoint, tmp_path, temporary):
    path = tmp_path / "mac.zip"
    write_zip(path, checkpoint)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"__MACOSX/{FOLDER}/config.json", "x")
        archive.writestr(f"{FOLDER}/._config.json", "x")
    located = sources.locate(path, is_checkpoint)
    assert located.directory.name == FOLDER
    assert sorted(file.name for file in located.keep.path.rglob("*")) == sorted(
        [FOLDER, *(file.name for file in checkpoint.iterdir())]
    )


def test_names_in_utf8_with_and_without_the_flag(tmp_path, temporary):
    path = tmp_path / "names.zip"
    zip_of(path, ("config.json", b"{}"), ("模型.txt", b"x"))
    data = path.read_bytes()
    flagged = data.index(b"PK\x03\x04", 4) + 6
    central = data.rindex(b"PK\x01\x02") + 8
    unflagged = bytearray(data)
    for at in (flagged, central):
        assert struct.unpack_from("<H", data, at)[0] == 0x800
        struct.pack_into("<H", unflagged, at, 0)
    for content in (data, bytes(unflagged)):
        path.write_bytes(content)
        located = sources.locate(path, is_checkpoint)
        assert (located.directory / "模型.txt").read_bytes() == b"x"


def test_long_names_of_a_tar(tmp_path, temporary):
    long = "/".join(["d" * 90] * 3)
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = tmp_path / f"long{form}.tar"
        tar_of(path, (f"{long}/config.json", b"{}"), form=form)
        assert (sources.locate(path, is_checkpoint).directory / "config.json").read_bytes() == b"{}"


def test_pytorch_weights_are_no_archive(tmp_path):
    for first in ("data.pkl", "archive/data.pkl"):
        zip_of(tmp_path / "pytorch_model.bin", (first, b"x"), ("archive/data/0", b"y"))
        assert not archives.is_archive(tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").write_bytes(bytes(2000))
    assert not archives.is_archive(tmp_path / "model.safetensors")
    located = sources.locate(tmp_path / "model.safetensors")
    assert (located.directory, located.name, located.keep) == (tmp_path, "model.safetensors", None)


# --- what is refused ---

BAD_NAMES = {
    "/etc/passwd": "has an absolute path",
    "C:/x": "has an absolute path",
    "c:x": "has an absolute path",
    "\\x": "has an absolute path",
    "../x": 'has ".." in its path',
    "a/../../x": 'has ".." in its path',
    "a\\..\\..\\x": 'has ".." in its path',
    "a/..": 'has ".." in its path',
    "a\\b": "has a name that is not a valid file name",
    "a\nb": "has a name that is not a valid file name",
    "a\x1b[2Jb": "has a name that is not a valid file name",
    "n" * 300: "has too long a name",
    "/".join(["n" * 90] * 20): "has too long a name",
}


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere(name, kind, tmp_path, temporary):
    path = tmp_path / f"evil.{kind}"
    members = [("config.json", b"{}"), (name, b"x")]
    (zip_of if kind == "zip" else tar_of)(path, *members)
    before = sorted(tmp_path.rglob("*"))
    message = refused(path, temporary)
    assert f"of {path} {BAD_NAMES[name]}" in message
    assert name[:20] in message or not name.isprintable()
    assert sorted(tmp_path.rglob("*")) == before


def test_names_that_are_not_utf8(tmp_path, temporary):
    tar_of(tmp_path / "latin.tar", ("config.json", b"{}"), ("caf\udce9", b"x"), form=tarfile.GNU_FORMAT)
    assert "has a name that is not UTF-8" in refused(tmp_path / "latin.tar", temporary)
    path = tmp_path / "latin.zip"
    zip_of(path, ("config.json", b"{}"), ("cafX", b"x"))
    path.write_bytes(path.read_bytes().replace(b"cafX", b"caf\xe9"))
    assert "has a name that is not UTF-8" in refused(path, temporary)
    data = bytearray(path.read_bytes())  # the same name, said to be UTF-8
    struct.pack_into("<H", data, data.rindex(b"PK\x01\x02") + 8, 0x800)
    path.write_bytes(data)
    assert "is truncated or damaged" in refused(path, temporary)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "config.json"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar(kind, target, tmp_path, temporary):
    path = tmp_path / "links.tar"
    tar_of(path, ("config.json", b"{}"), (tar_member("vocab.txt", kind, target), b""))
    assert f"vocab.txt of {path} is a link" in refused(path, temporary)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_in_a_tar(kind, tmp_path, temporary):
    path = tmp_path / "devices.tar"
    tar_of(path, ("config.json", b"{}"), (tar_member("vocab.txt", kind), b""))
    assert f"vocab.txt of {path} is a device" in refused(path, temporary)


def test_kinds_of_members_that_are_not_known(tmp_path, temporary):
    path = tmp_path / "kinds.tar"
    tar_of(path, ("config.json", b"{}"), (tar_member("vocab.txt", b"7"), b""))
    assert "is of an unknown type" in refused(path, temporary)


@pytest.mark.parametrize(("mode", "what"), [(0o120777, "is a link"), (0o020666, "is a device")])
def test_links_and_devices_in_a_zip(mode, what, tmp_path, temporary):
    info = zipfile.ZipInfo("vocab.txt")
    info.create_system, info.external_attr = 3, mode << 16
    path = tmp_path / "links.zip"
    zip_of(path, ("config.json", b"{}"), (info, b"/etc/passwd"))
    assert f"vocab.txt of {path} {what}" in refused(path, temporary)


def test_an_encrypted_zip(tmp_path, temporary):
    path = tmp_path / "secret.zip"
    zip_of(path, ("config.json", b"{}"))
    data = bytearray(path.read_bytes())
    for at in (6, data.index(b"PK\x01\x02") + 8):
        data[at] |= 1
    path.write_bytes(data)
    assert f"config.json of {path} is encrypted" in refused(path, temporary)


def test_a_compression_that_is_not_known(tmp_path, temporary):
    path = tmp_path / "zstd.zip"
    zip_of(path, ("config.json", b"{}"))
    data = bytearray(path.read_bytes())
    for at in (8, data.index(b"PK\x01\x02") + 10):
        struct.pack_into("<H", data, at, 93)
    path.write_bytes(data)
    assert "uses an unknown compression method (93)" in refused(path, temporary)


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a"), ("d//a", "d/a")], ids=str
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_stand_there_twice(kind, names, tmp_path, temporary):
    path = tmp_path / f"twice.{kind}"
    (zip_of if kind == "zip" else tar_of)(path, ("config.json", b"{}"), *((name, b"x") for name in names))
    assert f"is in {path} twice" in refused(path, temporary)


def test_too_many_members(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    path = tmp_path / "many.zip"
    zip_of(path, *((f"{number}", b"") for number in range(4)))
    assert "holds more than 3 members" in refused(path, temporary)


def test_none_or_several_checkpoints(tmp_path, temporary):
    path = tmp_path / "several.zip"
    zip_of(path, ("a/config.json", b"{}"), ("b/c/config.json", b"{}"))
    assert "holds several checkpoints (a, b/c)" in refused(path, temporary)
    zip_of(path, *((f"{number}.txt", b"x") for number in range(7)))
    assert "holds no known checkpoint (it has 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more)" in refused(
        path, temporary
    )
    zip_of(path)
    assert "holds no known checkpoint (it has no files)" in refused(path, temporary)


@pytest.mark.parametrize("kind", COMPRESS)
def test_compressed_but_no_tar(kind, tmp_path, temporary):
    path = tmp_path / f"vocab.txt.{kind}"
    path.write_bytes(COMPRESS[kind](b"word\n" * 1000))
    assert "holds no tar" in refused(path, temporary)


# --- bombs ---


@contextlib.contextmanager
def most_written(folder):
    """Fails if files grow beyond what a bomb may write; the limit is the operating system's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (archive_members.MOST_BYTES_MORE + (32 << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Zeros(io.RawIOBase):
    def __init__(self, size):
        self.left = size

    def read(self, size=-1):
        count = min(self.left, size if size >= 0 else self.left)
        self.left -= count
        return bytes(count)


SIZE = 200 << 20


@pytest.fixture(scope="session")
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    with (
        zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.safetensors", "w") as file,
    ):
        for _ in range(SIZE >> 20):
            file.write(bytes(1 << 20))
    info = tarfile.TarInfo("model.safetensors")
    info.size = SIZE
    for kind, options in {
        "gz": {"compresslevel": 1},
        "bz2": {"compresslevel": 1},
        "xz": {"preset": 0},
    }.items():
        with tarfile.open(folder / f"bomb.tar.{kind}", f"w:{kind}", **options) as archive:
            archive.addfile(info, Zeros(SIZE))
    return folder


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz", "bomb.tar.bz2", "bomb.tar.xz"])
def test_bombs_that_say_what_they_are(name, bombs, temporary):
    with most_written(temporary):
        message = refused(bombs / name, temporary)
    assert "unpacks to more than 100 times the archive's size" in message
    assert name == "bomb.zip" or message.startswith("model.safetensors of ")


def test_a_zip_that_declares_less_than_it_holds(bombs, tmp_path, temporary):
    data = bytearray((bombs / "bomb.zip").read_bytes())
    assert len(data) < 10 << 20
    central = data.rindex(b"PK\x01\x02")
    assert struct.unpack_from("<I", data, central + 24)[0] == SIZE
    struct.pack_into("<I", data, central + 24, 1000)
    path = tmp_path / "liar.zip"
    path.write_bytes(data)
    with most_written(temporary):
        message = refused(path, temporary)
    assert "is truncated or damaged at model.safetensors (Bad CRC-32" in message


def test_a_zip_that_declares_more_than_it_holds(tmp_path, temporary):
    path = tmp_path / "liar.zip"
    zip_of(path, ("config.json", b"{}" * 50))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, 200)
    path.write_bytes(data)
    assert "config.json (it has 100 bytes and declares 200)" in refused(path, temporary)


def test_a_bomb_of_many_small_members(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(archive_members, "MOST_BYTES_MORE", 0)
    path = tmp_path / "many.tar.gz"
    tar_of(path, *((f"{number}", bytes(10_000)) for number in range(500)), mode="w:gz")
    assert path.stat().st_size < 50_000
    assert "unpacks to more than 100 times the archive's size" in refused(path, temporary)


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_bomb_after_the_end_of_the_tar(kind, tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(archive_members, "MOST_BYTES_MORE", 1 << 20)
    path = tmp_path / f"tail.tar.{kind}"
    tar_of(tmp_path / "tail.tar", ("config.json", b"{}"))
    path.write_bytes(COMPRESS[kind]((tmp_path / "tail.tar").read_bytes() + bytes(20 << 20)))
    assert "unpacks to more than 100 times the archive's size" in refused(path, temporary)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory(kind, tmp_path, temporary):
    path = tmp_path / "header.tar.gz"
    tar_of(path, ("config.json", b"{}"), (tar_member("x", kind), bytes(20 << 20)), mode="w:gz")
    assert "(a header of 20971520 bytes)" in refused(path, temporary)


# --- damage ---


@pytest.mark.parametrize("kind", ["zip", *TARS])
def test_archives_cut_short_anywhere(kind, checkpoint, tmp_path, temporary):
    path = tmp_path / "cut"
    if kind == "zip":
        write_zip(path, checkpoint)
    else:
        write_tar(path, checkpoint, TARS[kind])
    data = path.read_bytes()
    # Zeros fill a tar's last record up to 10,240 bytes: what ends in there is whole.
    last = len(data) if kind else len(data.rstrip(b"\0")) + 512
    for length in sorted({600, last // 3, last // 2, last - 1000, last - 30, last - 5, last - 1}):
        path.write_bytes(data[:length])
        assert "is truncated or damaged" in refused(path, temporary), length


def test_a_tar_cut_between_two_members(tmp_path, temporary):
    """tarfile takes it for the end."""
    path = tmp_path / "cut.tar"
    tar_of(path, ("config.json", b"{}"), ("vocab.txt", b"x"))
    path.write_bytes(path.read_bytes()[:1024])
    assert "is truncated or damaged at config.json (it ends early)" in refused(path, temporary)


@pytest.mark.parametrize("kind", ["zip", *TARS])
def test_damage_is_a_sentence_or_nothing(kind, checkpoint, tmp_path, temporary):
    path = tmp_path / "flipped"
    if kind == "zip":
        write_zip(path, checkpoint)
    else:
        write_tar(path, checkpoint, TARS[kind])
    data = path.read_bytes()
    random.seed(7)
    told = 0
    for _ in range(120):
        damaged = bytearray(data)
        # Headers are at both ends of these.
        end = random.choice([700, len(data)])
        for at in random.sample(range(6, end), random.choice([1, 3])):
            damaged[at if random.random() < 0.5 else -at] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        try:
            located = sources.locate(path, is_checkpoint)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
            told += 1
        else:
            if kind:  # only a plain tar has no checksum of the content
                for file in checkpoint.iterdir():
                    found = located.directory / file.name
                    assert not found.exists() or found.read_bytes() == file.read_bytes()
            del located
        assert list(temporary.iterdir()) == []
    assert told > (100 if kind else 5)


def test_a_full_disk(tmp_path, temporary):
    path = tmp_path / "download.tar"
    tar_of(
        path, ("big/config.json", b"{}"), ("big/model.safetensors", np.random.default_rng(0).bytes(3 << 20))
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        message = refused(path, temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"cannot write big/model.safetensors of {path} to {temporary}")
    assert message.endswith("File too large; free some space there, or set TMPDIR to a folder that has it")


def test_an_interrupt_leaves_nothing(checkpoint, tmp_path, temporary, monkeypatch):
    write_zip(tmp_path / "download.zip", checkpoint)

    def interrupted(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources.locate(tmp_path / "download.zip", interrupted)
    assert list(temporary.iterdir()) == []
