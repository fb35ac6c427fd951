"""An engine with long answers, `python -m evaluation.bench.long_answers`: any path, as fast as the other side reads.

A request names its answer in its text, like `answer: quotes 64` for 64 MiB; others get a short one. Each answer is one
JSON body with its usage at its end, as vLLM writes it, or a stream that comes all at once. It prints `ready URL`.
"""

import asyncio
import re
import signal
from collections.abc import Mapping
from functools import cache

import uvloop

MIB = 2**20
_ASKED = re.compile(rb"answer: ([a-z ]+) (\d{1,3})")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-type: %b\r\n\r\n"
_JSON, _EVENTS = b"application/json", b"text/event-stream"
_USAGE = b'"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1}'
_START = b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"tiny","choices":[{"index":0,'
_END = b'"finish_reason":"stop"}],' + _USAGE + b"}"
_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":0,'
    b'"delta":{"content":" word"},"finish_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":6,'
    b'"completion_tokens":1}}\n\n'
)

# Of each answer its beginning, what is repeated, and its end.
ANSWERS: Mapping[str, tuple[bytes, bytes, bytes]] = {
    "text": (_START + b'"message":{"role":"assistant","content":"', b"word ", b'"},' + _END),
    "quotes": (_START + b'"message":{"role":"assistant","content":"', rb"\"", b'"},' + _END),
    "names": (_START + b'"text":"","logprobs":{"tokens":["x"', b',"usage"', b"]}," + _END),
    "probabilities": (
        _START + b'"message":{"role":"assistant","content":""},"logprobs":{"content":[{}',
        b',{"token":" word","logprob":-0.25,"bytes":[32,119,111,114,100],"top_logprobs":[]}',
        b"]}," + _END,
    ),
    "embedding": (b'{"object":"list","data":[{"embedding":[0', b",0.0123", b"]}]," + _USAGE + b"}"),
    "tokens": (b'{"count":1,"tokens":[0', b",12345", b"]}"),
    "events": (b"", _EVENT, b"data: [DONE]\n\n"),
}
_PAGES = {
    b"/health": b"",
    b"/v1/models": b'{"object":"list","data":[{"id":"tiny","object":"model","max_model_len":32768}]}',
}


@cache
def answer(name: str, mib: int) -> bytes:
    """The whole answer `name` of `mib` MiB, or a short one (0), with its head."""
    start, piece, end = ANSWERS[name]
    body = start + piece * max(1, (mib * MIB - len(start) - len(end)) // len(piece)) + end
    return _HEAD % (len(body), _EVENTS if name == "events" else _JSON) + body


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            stated = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(stated[1])) if stated else b""
            writer.write(_answer_to(head.split(b" ", 2)[1], body))
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):  # the gateway has left
        pass
    finally:
        writer.close()


def _answer_to(path: bytes, body: bytes) -> bytes:
    if not body:
        page = _PAGES.get(path.partition(b"?")[0].rstrip(b"/"), b"")
        return _HEAD % (len(page), _JSON) + page
    asked = _ASKED.search(body, 0, 4096)
    if asked is None:
        return answer("text", 0)
    return answer(asked[1].decode(), int(asked[2]))


async def _main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, limit=64 * MIB)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(f"ready {url}", flush=True)  # noqa: T201 - what `child` waits for
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(_main())
