"""Keys have one form, and files hold them safely."""

import hashlib
import os
from pathlib import Path

import pytest

from gateway.config.keys import KeyFormat, UnusableKeyFile, digest, exposure, read_key_file, write_key_file


def test_a_key_has_256_random_bits_and_the_form() -> None:
    """Keys are different, of one form, and anything shorter or longer is not one."""
    keys = {KeyFormat.create() for _ in range(50)}
    assert len(keys) == 50
    for key in keys:
        assert KeyFormat.matches(key)
        assert len(key) == len("vtc-") + 43
        assert not KeyFormat.matches(key + "a")
        assert not KeyFormat.matches(key[:-1])
        assert not KeyFormat.matches(key + "\n")


def test_a_digest_is_the_sha256_of_the_utf8() -> None:
    """The digest is what `sha256sum` prints for the key."""
    assert digest("vtc-ä").hex() == hashlib.sha256(b"vtc-\xc3\xa4").hexdigest()


def test_a_written_key_is_read_and_private(tmp_path: Path) -> None:
    """What is written is read; file and new folders are their owner's alone whatever the umask."""
    earlier = os.umask(0)
    try:
        write_key_file(tmp_path / "a" / "b" / "x.key", "vtc-1")
    finally:
        os.umask(earlier)
    assert read_key_file(tmp_path / "a" / "b" / "x.key") == "vtc-1"
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")]
    assert modes == [0o700, 0o700]
    assert (tmp_path / "a" / "b" / "x.key").stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    """Writing to an existing file fails and leaves it."""
    write_key_file(tmp_path / "x.key", "vtc-1")
    with pytest.raises(FileExistsError):
        write_key_file(tmp_path / "x.key", "vtc-2")
    assert read_key_file(tmp_path / "x.key") == "vtc-1"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o660, 0o664, 0o777])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Anybody who may write the file could choose the key; the remedy removes just that right."""
    write_key_file(tmp_path / "x.key", "vtc-1")
    (tmp_path / "x.key").chmod(mode)
    with pytest.raises(UnusableKeyFile) as caught:
        read_key_file(tmp_path / "x.key")
    assert caught.value.remedy == f"chmod go-w {tmp_path / 'x.key'}"


@pytest.mark.parametrize(
    ("mode", "is_exposed"), [(0o400, False), (0o440, False), (0o640, False), (0o444, True), (0o604, True)]
)
def test_a_mounted_secret_is_read(tmp_path: Path, mode: int, is_exposed: bool) -> None:
    """Key files work as Kubernetes, Swarm and systemd mount them; one that everybody may read brings a warning."""
    write_key_file(tmp_path / "x.key", "vtc-1")
    (tmp_path / "x.key").chmod(mode)
    assert read_key_file(tmp_path / "x.key") == "vtc-1"
    assert (exposure(tmp_path / "x.key") is not None) is is_exposed


def test_a_file_of_another_user_names_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy for root's 0400 is to give a group the right, not to mend the path."""

    def forbidden(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    write_key_file(tmp_path / "x.key", "vtc-1")
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(UnusableKeyFile, match=r"user .* may not read") as caught:
        read_key_file(tmp_path / "x.key")
    assert "chgrp" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"a\nb", b"\xff", b"x" * 5000])
def test_a_file_without_one_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty files, several words, other encodings and huge files are refused."""
    (tmp_path / "x.key").write_bytes(content)
    (tmp_path / "x.key").chmod(0o600)
    with pytest.raises(UnusableKeyFile):
        read_key_file(tmp_path / "x.key")


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    """A named pipe would block its reader for ever; it is refused by its kind."""
    os.mkfifo(tmp_path / "x.key", 0o600)
    with pytest.raises(UnusableKeyFile):
        read_key_file(tmp_path / "x.key")
