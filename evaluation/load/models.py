"""Asks an endpoint which models it serves."""

import aiohttp

from evaluation.load.wire import Address

PATIENCE_SECONDS = 30.0


class NoModelError(Exception):
    """The endpoint lists no model; the message says what it did instead."""


async def first_model(address: Address, key: str | None) -> str:
    """The first model that the endpoint lists to the holder of `key`; raises NoModelError."""
    url = f"http://{address.netloc}{address.prefix}/v1/models"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)) as session,
            session.get(url, headers=headers) as answer,
        ):
            document = await answer.json(content_type=None)
            return str(document["data"][0]["id"])
    except (aiohttp.ClientError, TimeoutError, OSError) as fault:
        raise NoModelError(f"GET {url}: {type(fault).__name__}: {fault}") from fault
    except (ValueError, KeyError, IndexError, TypeError) as fault:
        raise NoModelError(f"GET {url} ({answer.status}) names no model: give --model") from fault
