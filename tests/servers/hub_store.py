"""The tests' Hub as a store: what it keeps, how often it was sent to, and answers that get lost."""

import json
from collections.abc import Callable
from typing import Any

from pipeline.space.kept import LIST
from tests import children
from tests.servers.hub import HubServer, Repository
from tests.servers.local import HttpReply

REPO = "mira/shop-data"
STORED = f"datasets/{REPO}"
PATIENCE = 300
"""Seconds that something may take before a test gives up on it: the machine may be busy."""


class Hub(HubServer):
    """A Hub that can lose its answers.

    Attributes:
        lost: how many commits are taken and not answered.
    """

    lost = 0

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        reply = super().answer(method, path, authorization, body)
        if "/commit/" in path and self.lost:
            self.lost -= 1
            return HttpReply(0, b"")
        return reply

    @property
    def store(self) -> Repository:
        return self.repositories[STORED]

    @property
    def uploads(self) -> int:
        """Large files that were sent."""
        return sum(request.startswith("PUT /stored/") for request in self.requests)

    @property
    def runs(self) -> set[str]:
        """The runs that it has, but for those that were deleted."""
        lists = [path.split("/")[1] for path in self.store.files if path.startswith("runs/") and path.endswith(LIST)]
        return {name for name in lists if not self.list_of(f"runs/{name}").get("deleted")}

    def list_of(self, folder: str) -> dict[str, Any]:
        return json.loads(self.store.files[f"{folder}/{LIST}"])


def wait_for(true: Callable[[], Any], seconds: float = PATIENCE) -> None:
    children.wait_for(true, seconds)
