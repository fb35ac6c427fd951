"""Keys: their form, and the files that hold them."""

import hashlib
import os
from pathlib import Path

import pytest

from gateway.config.keys import KeyFormat, UnusableKeyFile, digest, read_key_file, write_key_file


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


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Any right of group or others is a fault that says how to mend it."""
    write_key_file(tmp_path / "x.key", "vtc-1")
    (tmp_path / "x.key").chmod(mode)
    with pytest.raises(UnusableKeyFile) as caught:
        read_key_file(tmp_path / "x.key")
    assert caught.value.remedy.startswith("chmod 600 ")


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
