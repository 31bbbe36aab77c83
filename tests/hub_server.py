"""A local HTTP server that speaks the part of the Hugging Face Hub's API by which a dataset is pushed: real sockets.

It keeps what arrives and commits nothing but what a commit names. A test can make any of its endpoints fail.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from tests.local_server import HttpReply, LocalServer

TOKEN = "hf_test5f1c9ab2e77d4c03"


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class HubServer(LocalServer):
    """`with HubServer() as hub:` serves on a free port of 127.0.0.1.

    Attributes:
        users: what `whoami` says of a token.
        failures: HTTP statuses to reply with, by a word of the path; each with a body and headers that hold the token.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.failures: dict[str, int] = {}
        self.users: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self._stored: dict[str, bytes] = {}
        super().__init__()

    @property
    def url(self) -> str:
        return self.origin

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        status, value = self.reply(method, path, authorization, body)
        headers = {"content-type": "application/json"}
        if status == 404:
            headers["x-error-code"] = "RepoNotFound"
        elif status >= 400:
            headers["x-error-message"] = value.get("error", "")
        return HttpReply(status, json.dumps(value).encode(), headers)

    def reply(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        path = path.partition("?")[0]
        self.requests.append(f"{method} {path}")
        if path.startswith("/stored/") and method == "PUT":  # a signed address: no token goes there
            assert not authorization
            self._stored[path.removeprefix("/stored/")] = body
        status = next((status for word, status in self.failures.items() if word in path), 0)
        if status:
            return status, {"error": f"No: {authorization}"}
        if path.startswith("/stored/"):
            return 200, {}
        if path == "/api/whoami-v2":
            user = self.users.get(authorization.removeprefix("Bearer "))
            return (200, user) if user else (401, {"error": "Invalid user token."})
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": f"Invalid username or password: {authorization}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        sent = json.loads(body) if body and "/commit/" not in path else {}
        if path == "/api/repos/create":
            return self._create(sent)
        repo = "/".join(path.removeprefix("/api").removeprefix("/datasets/").split("/")[:2]).removesuffix(".git")
        if repo not in self.repositories:
            return 404, {"error": "Repository not found"}
        return self._serve(repo, path, sent, body)

    def _create(self, sent: dict[str, Any]) -> tuple[int, Any]:
        assert sent["type"] == "dataset"
        repo = f"{sent['organization']}/{sent['name']}"
        known = repo in self.repositories
        self.repositories.setdefault(repo, Repository(sent["visibility"] == "private"))
        return 409 if known else 200, {"url": f"{self.url}/datasets/{repo}"}

    def _serve(self, repo: str, path: str, sent: dict[str, Any], body: bytes) -> tuple[int, Any]:
        if "/preupload/" in path:
            modes = {True: "lfs", False: "regular"}
            files = [{"path": f["path"], "uploadMode": modes[f["path"].endswith(".parquet")]} for f in sent["files"]]
            return 200, {"files": [f | {"shouldIgnore": False} for f in files]}
        if path.endswith("/objects/batch"):
            objects = [{**o, "actions": {"upload": {"href": f"{self.url}/stored/{o['oid']}"}}} for o in sent["objects"]]
            return 200, {"transfer": "basic", "objects": objects}
        if "/commit/" in path:
            return 200, self._commit(repo, [json.loads(line) for line in body.splitlines()])
        return 200, {"id": repo, "private": self.repositories[repo].private}

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> dict[str, str]:
        files: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                stored = self._stored[value["oid"]]
                assert hashlib.sha256(stored).hexdigest() == value["oid"] and len(stored) == value["size"]
                files[value["path"]] = stored
        self.repositories[repo].files |= files
        self.repositories[repo].commits.append(lines[0]["value"]["summary"])
        return {"commitUrl": f"{self.url}/datasets/{repo}/commit/{'0' * 40}", "commitOid": "0" * 40}
