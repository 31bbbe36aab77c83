"""What the Hub has for Spaces alone: runtime, hardware, sleep time, secrets, variables, volumes, restart, logs."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.servers.hub import HubServer
from tests.servers.local import HttpReply

HARDWARE = {"cpu-basic": 0.0, "t4-small": 0.4 / 60, "l4x1": 0.8 / 60}
"""Name → dollars a minute."""


@dataclass
class Space:
    """Attributes:
    stages: what the runtime says one after another; the last one stays. Each change puts it through a build again.
    then: the stages that follow a change.
    log: what the last build or run wrote.
    """

    hardware: str = "cpu-basic"
    sleep_time: int | None = None
    stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])
    then: tuple[str, ...] = ("BUILDING", "APP_STARTING", "RUNNING")
    log: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    sleep_times: list[int] = field(default_factory=list)

    def changed(self) -> None:
        self.stages = [self.stages[0], *self.then]


class SpacesHub(HubServer):
    """A `HubServer` with Spaces.

    Attributes:
        spaces: by name; one comes to be with its repository, or is put there by a test.
        buckets: names of storage buckets.
        created: what was sent to make each Space.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spaces: dict[str, Space] = {}
        self.buckets: list[str] = []
        self.created: list[dict[str, Any]] = []
        self.extensions.append(self._answer)

    def _create(self, user: str, sent: dict[str, Any]) -> tuple[int, Any]:
        reply = super()._create(user, sent)
        if sent.get("type") == "space" and reply[0] == 200:
            self.created.append(sent)
            if "hardware" in sent:
                self.space(f"{sent['organization'] or user}/{sent['name']}").hardware = sent["hardware"]
        return reply

    def _commit(self, name: str, repository: Any, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        reply = super()._commit(name, repository, lines)
        if reply[0] == 200 and name.startswith("spaces/"):
            self.space(name.removeprefix("spaces/")).changed()
        return reply

    def space(self, name: str) -> Space:
        return self.spaces.setdefault(name, Space())

    def reply(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        name, _, what = path.removeprefix("/api/spaces/").rpartition("/")
        public = f"spaces/{name}" in self.repositories and not self.repositories[f"spaces/{name}"].private
        if not authorization and method == "GET" and what == "runtime" and public:  # for everybody to see
            return 200, self._runtime(name, self.space(name))
        return super().reply(method, path, authorization, body)

    def _answer(self, method: str, path: str, sent: dict[str, Any]) -> tuple[int, Any] | None:
        if path == "/api/spaces/hardware":
            return 200, [_machine(name, price) for name, price in HARDWARE.items()]
        if path.startswith("/api/buckets/") and method == "POST":
            self.buckets.append(path.removeprefix("/api/buckets/"))
            return 200, {"url": f"{self.url}/buckets/{self.buckets[-1]}"}
        parts = path.removeprefix("/api/spaces/").split("/", 2)
        name = "/".join(parts[:2])
        if not path.startswith("/api/spaces/") or f"spaces/{name}" not in self.repositories:
            return None
        return self._of_space(name, self.space(name), method, parts[2] if len(parts) > 2 else "", sent)

    def _of_space(
        self, name: str, space: Space, method: str, what: str, sent: dict[str, Any]
    ) -> tuple[int, Any] | None:
        repository = self.repositories[f"spaces/{name}"]
        if what == "":
            info = {"id": name, "private": repository.private, "sha": repository.head}
            siblings = [{"rfilename": path} for path in sorted(repository.files)]
            host = f"https://{name.replace('/', '-')}.hf.space"
            return 200, info | {"siblings": siblings, "host": host, "runtime": self._runtime(name, space)}
        if what == "runtime":
            reply = self._runtime(name, space)
            space.stages = space.stages[1:] or space.stages
            return 200, reply
        if what.startswith("logs/"):
            lines = "".join(f"data: {json.dumps({'data': line})}\n\n" for line in space.log.splitlines(keepends=True))
            return 200, HttpReply(200, lines.encode(), {"content-type": "text/event-stream"})
        if what in ("variables", "secrets"):
            return 200, self._names(space, what, method, sent)
        if what in ("hardware", "sleeptime", "restart", "volumes"):
            self._set(space, what, sent)
            return 200, self._runtime(name, space)
        return None

    def _runtime(self, name: str, space: Space) -> dict[str, Any]:
        runs = self.repositories[f"spaces/{name}"].head if space.stages[0] == "RUNNING" else None
        hardware = {"current": space.hardware if runs else None, "requested": space.hardware}
        volumes = {"volumes": space.volumes} if space.volumes else {}
        timeout = 172800 if space.hardware == "cpu-basic" else space.sleep_time
        return {"stage": space.stages[0], "hardware": hardware, "gcTimeout": timeout, "sha": runs, **volumes}

    def _names(self, space: Space, what: str, method: str, sent: dict[str, Any]) -> dict[str, Any]:
        held = space.variables if what == "variables" else space.secrets
        if method == "POST":
            held[sent["key"]] = sent["value"]
            space.changed()
        return {key: {"value": value} if what == "variables" else {} for key, value in held.items()}

    def _set(self, space: Space, what: str, sent: dict[str, Any]) -> None:
        if what == "hardware":
            space.hardware = sent["flavor"]
        elif what == "sleeptime":
            space.sleep_time = None if sent["seconds"] < 0 else sent["seconds"]
            space.sleep_times.append(sent["seconds"])
            return  # it restarts nothing
        elif what == "volumes":
            space.volumes = sent["volumes"]
        space.changed()


def _machine(name: str, price: float) -> dict[str, Any]:
    costs = {"unitCostMicroUSD": round(price * 1e6), "unitCostUSD": price, "unitLabel": "minute"}
    return {"name": name, "prettyName": name, "cpu": "2 vCPU", "ram": "16 GB", "accelerator": None, **costs}
