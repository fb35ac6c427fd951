"""The keys of clients: their form, their digests, and the files that hold them.

A key is `vtc-` and 32 random bytes in URL-safe base64. The gateway keeps only SHA-256 digests; 256 random bits need no
slow hash. A key file holds one key. Its owner and its group may read it, because mounted secrets are like that. Only
its owner may write it, because whoever can write it can choose the key. If everybody may read it, the gateway warns.
"""

import hashlib
import os
import pwd
import re
import secrets
import stat
from pathlib import Path
from typing import Final

_FORM = re.compile(r"vtc-[A-Za-z0-9_-]{43}")
MAX_FILE_BYTES = 4096
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
CREATE_KEY: Final = "create it with `vtc-gateway keys create TENANT --file PATH`, or start with `--create-keys`"


class KeyFormat:
    """The form of the keys that this gateway makes."""

    @staticmethod
    def create() -> str:
        """A new key of 256 random bits."""
        return f"vtc-{secrets.token_urlsafe(32)}"

    @staticmethod
    def matches(key: str) -> bool:
        """True if `key` has this form."""
        return _FORM.fullmatch(key) is not None


def digest(key: str) -> bytes:
    """The SHA-256 of the key's UTF-8."""
    return hashlib.sha256(key.encode()).digest()


class UnusableKeyFile(Exception):
    """A key file cannot be used; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def read_key_file(path: Path, what: str = "key", to_create: str = CREATE_KEY) -> str:
    """The key in the file `path`, or another secret, which messages call `what`; `to_create` says how to make it.

    Raises `UnusableKeyFile` if the file is missing, does not hold one line, or if others than its owner may write it.
    """
    try:
        status = path.stat()
        content = path.read_bytes() if _holds_a_key(status) else b""
    except FileNotFoundError:
        raise UnusableKeyFile(f"names the file {path}, which does not exist", to_create) from None
    except PermissionError:
        remedy = f"give it to a group of that user: chgrp GROUP {path} && chmod 640 {path}"
        message = f"names the file {path}, which the gateway's user ({_user()}) may not read"
        raise UnusableKeyFile(message, remedy) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnusableKeyFile(f"names the file {path}, which cannot be read: {reason}", "mend the path") from None
    if not stat.S_ISREG(status.st_mode):
        raise UnusableKeyFile(f"names {path}, which is not a file", f"name a file that holds the {what}")
    if status.st_mode & _OTHERS_WRITE:
        message = f"names the file {path}, which others than its owner may write {_mode(status)}"
        raise UnusableKeyFile(message, f"chmod go-w {path}")
    return _one_line(content, path, what)


def exposure(path: Path) -> str | None:
    """A warning if everybody may read the key file `path`; else None."""
    status = path.stat()
    return f"names the file {path}, which everybody may read {_mode(status)}" if status.st_mode & stat.S_IROTH else None


def _mode(status: os.stat_result) -> str:
    return f"(mode {stat.S_IMODE(status.st_mode):04o})"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def write_key_file(path: Path, key: str) -> None:
    """Write `key` to a new file (mode 0600, new folders 0700); raises `FileExistsError` if there is one."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key}\n")


def _holds_a_key(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES


def _one_line(content: bytes, path: Path, what: str) -> str:
    try:
        key = content.decode().strip()
    except UnicodeDecodeError:
        key = ""
    if not key or not key.isprintable() or " " in key:
        message = f"names the file {path}, which does not hold one {what}"
        raise UnusableKeyFile(message, f"put the {what} alone in one line")
    return key
