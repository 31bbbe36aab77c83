"""A local HTTP server that speaks the API by which the package `spaces` borrows a GPU: real sockets, an invented GPU."""

import json
from urllib.parse import parse_qs, urlsplit

from tests.servers.local import HttpReply, LocalServer


class ZeroServer(LocalServer):
    """`with ZeroServer() as zero:` serves on a free port of 127.0.0.1.

    Attributes:
        requests: the endpoints that were called, with their parameters.
        free: whether there is a GPU to lend.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.free = True
        super().__init__()

    def named(self, endpoint: str) -> list[dict[str, str]]:
        return [parameters for name, parameters in self.requests if name == endpoint]

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        parts = urlsplit(path)
        endpoint = parts.path.strip("/")
        self.requests.append((endpoint, {name: values[0] for name, values in parse_qs(parts.query).items()}))
        if endpoint == "schedule":
            if not self.free:
                return HttpReply(503, b"{}")
            lent = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": f"token-{len(self.requests)}"}
            return HttpReply(200, json.dumps(lent).encode())
        return HttpReply(200, b"{}")
