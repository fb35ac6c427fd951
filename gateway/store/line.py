"""Opens connections to the store: over TCP, TLS or a Unix socket, and past the greeting.

The files of TLS are read for every connection, so renewed certificates need no restart. A thread reads them.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from gateway.store.address import Address
from gateway.store.connection import StoreConnection
from gateway.store.failures import StoreFailed, quote
from gateway.store.greeting import Login, greet


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM: whom to trust (None: the system's authorities), and what this gateway shows if it is asked."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """The way to one store."""

    address: Address
    login: Login
    certificates: Certificates
    deadline_seconds: float

    async def open(self) -> tuple[StoreConnection, str]:
        """A new connection and the run id of the server behind it. `StoreFailed` if there is none in time."""
        try:
            async with asyncio.timeout(self.deadline_seconds):
                connection = await self._connect()
        except TimeoutError:
            raise self._failed(f"no connection within {1000 * self.deadline_seconds:g} ms; is it there?") from None
        except ssl.SSLError as error:
            raise self._failed(f"TLS failed ({quote(str(error))}); correct replicas.store or its ca_file") from None
        except OSError as error:
            raise self._failed(
                f"cannot be reached ({quote(str(error))}); start it, or correct replicas.store"
            ) from None
        try:
            return connection, await greet(connection, self.login, self.deadline_seconds)
        except StoreFailed:
            await connection.close()
            raise

    async def _connect(self) -> StoreConnection:
        loop, address = asyncio.get_running_loop(), self.address
        if address.path:
            _, connection = await loop.create_unix_connection(self._fresh, address.path)
        else:
            encryption = await asyncio.to_thread(self._encryption) if address.is_encrypted else None
            _, connection = await loop.create_connection(self._fresh, address.host, address.port, ssl=encryption)
        return connection

    def _fresh(self) -> StoreConnection:
        return StoreConnection(self.address.url)

    def _encryption(self) -> ssl.SSLContext:
        files = self.certificates
        try:
            context = ssl.create_default_context(cafile=files.ca_file)
            if files.certificate_file is not None:
                context.load_cert_chain(files.certificate_file, files.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise self._failed(
                f"the files of TLS cannot be used ({quote(str(error))}); correct replicas.*_file"
            ) from None
        return context

    def _failed(self, what: str) -> StoreFailed:
        return StoreFailed(f"store {self.address.url}: {what}")
