"""A model server for `benchmarks.api`, in a process of its own so that it is not what is measured.

`python -m benchmarks.api_server --seconds 0.5 [--faults 0.01] [--refusals 0.02] [--limit 40 --window fixed]` prints its
port. It answers chat requests after `--seconds` as a careful model would, and `GET /stats` with what it was asked and answered.
"""

import argparse
import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from tests.servers.api import good_reply, record_of
from tests.servers.rate_limits import FixedWindow, Limiter, SlidingWindow, TokenBucket

WINDOWS = {"bucket": TokenBucket, "fixed": FixedWindow, "sliding": SlidingWindow}


def name_of(request: dict[str, Any]) -> str:
    """Which of a product's calls it is."""
    return f"{request['response_format']['json_schema']['name']} {record_of(request)['title']}"


@dataclass
class Server:
    seconds: float
    faults: float
    refusals: float
    limiter: Limiter | None
    asked: dict[str, list[float]] = field(default_factory=dict)
    """Times at which a call arrived."""
    answered: dict[str, list[float]] = field(default_factory=dict)
    """Times at which its reply had been handed to the network."""
    counts: dict[str, int] = field(default_factory=lambda: {"refused": 0, "failed": 0, "dropped": 0})

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                length = next((int(x.split(":")[1]) for x in lines if x.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                if head.startswith(b"GET /count"):
                    await respond(writer, 200, str(sum(map(len, self.asked.values()))).encode())
                elif head.startswith(b"GET"):
                    stats = {"asked": self.asked, "answered": self.answered, **self.counts}
                    await respond(writer, 200, json.dumps(stats).encode())
                elif not await self.chat(json.loads(body), writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def chat(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Answer; whether the connection goes on."""
        name = name_of(request)
        self.asked.setdefault(name, []).append(time.time())
        if self.limiter and not self.limiter.allows(time.monotonic()):
            return await self.refuse(writer, {"retry-after": "1"})
        if random.random() < self.refusals:
            return await self.refuse(writer, {})
        await asyncio.sleep(self.seconds)
        if random.random() < self.faults:
            if random.random() < 0.5:
                self.counts["dropped"] += 1
                return False
            self.counts["failed"] += 1
            await respond(writer, 500, b'{"error": {"message": "oops"}}')
            return True
        content = json.dumps(good_reply(request) | {"name": name})
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 700, "completion_tokens": 1200}
        await respond(writer, 200, json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode())
        self.answered.setdefault(name, []).append(time.time())
        return True

    async def refuse(self, writer: asyncio.StreamWriter, headers: dict[str, str]) -> bool:
        self.counts["refused"] += 1
        await respond(writer, 429, b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', headers)
        return True


async def respond(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    head = f"HTTP/1.1 {status} .\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def serve(server: Server) -> None:
    listening = await asyncio.start_server(server.connection, "127.0.0.1", 0, backlog=256)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--refusals", type=float, default=0.0)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--window", choices=WINDOWS, default="fixed")
    args = parser.parse_args()
    limiter = WINDOWS[args.window](args.limit) if args.limit else None
    asyncio.run(serve(Server(args.seconds, args.faults, args.refusals, limiter)))


if __name__ == "__main__":
    main()
