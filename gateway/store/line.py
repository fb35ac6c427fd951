"""Opens connections to the store: over TCP, TLS or a Unix socket, and past the greeting.

The files of TLS are read for every connection, so renewed certificates need no restart. A thread reads them.
"""

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

from gateway.config import Replicas
from gateway.endpoints.names import Host
from gateway.store.connection import StoreConnection
from gateway.store.failures import StoreFailed, quote
from gateway.store.greeting import greet

CONNECTING_SECONDS: Final = 1.0  # more than a slow lookup of a known host costs
GREETING_SECONDS: Final = 0.25


class Line:
    """The way to the store of `replicas`."""

    def __init__(self, replicas: Replicas) -> None:
        """Connect to nothing yet."""
        self._replicas = replicas
        self._place = urlsplit(replicas.store)
        self._host = Host(self._place.hostname or "localhost")

    async def open(self) -> tuple[StoreConnection, str]:
        """A new connection and the run id of the server behind it. `StoreFailed` if there is none in time."""
        connection = StoreConnection(self._replicas.store)
        try:
            await self._connect_in_time(connection)
            return connection, await greet(connection, self._replicas, GREETING_SECONDS)
        except BaseException:  # cancelled too: nobody else knows of the connection
            connection.fail("connecting was given up")
            raise

    def close(self) -> None:
        """Give up what is looked up."""
        self._host.close()

    async def _connect_in_time(self, connection: StoreConnection) -> None:
        try:
            async with asyncio.timeout(CONNECTING_SECONDS):
                await self._connect(connection)
        except TimeoutError:
            question = "is it there, and does it speak TLS?" if self._place.scheme == "rediss" else "is it there?"
            raise self._failed(f"no connection within {CONNECTING_SECONDS:g} s; {question}") from None
        except ssl.SSLError as error:
            raise self._failed(f"TLS failed ({quote(error)}); correct replicas.store or replicas.ca_file") from None
        except OSError as error:
            raise self._failed(f"it cannot be reached ({quote(error)}); {self._remedy}") from None

    @property
    def _remedy(self) -> str:
        if self._replicas.is_beside:
            return "the parent process starts it again; its lines in the log say why it ended"
        return "start it, or correct replicas.store"

    async def _connect(self, connection: StoreConnection) -> None:
        if self._place.scheme == "unix":
            await asyncio.get_running_loop().create_unix_connection(lambda: connection, self._place.path)
            return None
        encryption = await asyncio.to_thread(self._encryption) if self._place.scheme == "rediss" else None
        faults: list[OSError] = []
        for address in await self._host.addresses():
            try:
                return await self._reach(address, encryption, connection)
            except OSError as error:
                faults.append(error)
        raise faults[0]

    async def _reach(self, address: str, encryption: ssl.SSLContext | None, connection: StoreConnection) -> None:
        assert self._place.port is not None, "the configuration writes every address in full"
        name = self._place.hostname if encryption else None  # the certificate is for the name, not for the address
        await asyncio.get_running_loop().create_connection(
            lambda: connection, address, self._place.port, ssl=encryption, server_hostname=name
        )

    def _encryption(self) -> ssl.SSLContext:
        files = self._replicas
        try:
            context = ssl.create_default_context(cafile=files.ca_file)
            if files.certificate_file is not None:
                context.load_cert_chain(files.certificate_file, files.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise self._failed(f"the files of TLS cannot be used ({quote(error)}); correct their names") from None
        return context

    def _failed(self, what: str) -> StoreFailed:
        return StoreFailed(f"store {self._replicas.store}: {what}")
