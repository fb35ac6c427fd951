"""A certificate authority of a test, and what it has signed, made by openssl."""

import subprocess
from pathlib import Path


class Authority:
    """Keeps its files in `folder`; `ca` is its own certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.ca, self._key = self._pair("ca")
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", "/CN=authority of a test", "-addext", "keyUsage=critical,keyCertSign"),
            *("-keyout", str(self._key), "-out", str(self.ca)),
        )

    def signed(self, name: str, *, place: str = "DNS:localhost") -> tuple[Path, Path]:
        """A certificate for `place` and its key."""
        certificate, key = self._pair(name)
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-CA", str(self.ca), "-CAkey", str(self._key), "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={place}", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", str(key), "-out", str(certificate)),
        )
        return certificate, key

    def _pair(self, name: str) -> tuple[Path, Path]:
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True)
