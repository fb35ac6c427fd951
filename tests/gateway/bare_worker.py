"""A worker that costs next to nothing, as a process: it reads bodies past and answers alike, to large ones late.

Run as a script it prints the port that it listens on.
"""

import asyncio
import contextlib
import json
import sys

MODEL = "tiny"
LARGE_BYTES = 2**20
SECONDS_FOR_A_LARGE_ONE = 2.0
PAGES = {b"/v1/models": {"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 2048}]}}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection to its end."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b" ", 2)
            left = size = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0
            )
            while left:
                left -= len(await reader.read(min(left, 2**18)))
            if size > LARGE_BYTES:
                await asyncio.sleep(SECONDS_FOR_A_LARGE_ONE)
            page = PAGES.get(path, {}) if method == b"GET" else ANSWER
            status = b"404 Not Found" if path == b"/metrics" else b"200 OK"
            body = json.dumps(page).encode()
            lines = b"content-type: application/json\r\ncontent-length: %d" % len(body)
            writer.write(b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, lines, body))
            await writer.drain()
    writer.close()


async def main() -> None:
    """Listen until the process is ended."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
