"""A local HTTP server that speaks the part of the Hugging Face Hub's API that the app uses: real sockets.

It keeps what arrives and commits nothing but what a commit names. A test can make any of its endpoints fail. What only
Spaces and Jobs have is added by `extensions`.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.servers.local import HttpReply, LocalServer

TOKEN = "hf_test5f1c9ab2e77d4c03"
USER = "mira"

Extension = Callable[[str, str, dict[str, Any]], "tuple[int, Any] | None"]
"""(method, path, JSON that was sent) → status and JSON value, or None where the path is not its own."""

_LFS = (".parquet", ".safetensors", ".gguf", ".pt")
_API = re.compile(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(.*))?")
_GIT = re.compile(r"/(?:(datasets|spaces)/)?([^/]+/[^/]+?)(?:\.git/info/lfs/|/resolve/)(.*)")


def account(name: str, **more: Any) -> dict[str, Any]:
    """What `whoami` says of a user's token with write access."""
    token = {"type": "access_token", "accessToken": {"displayName": "a token", "role": "write"}}
    return {"type": "user", "name": name, "fullname": name, "avatarUrl": "", "orgs": [], "auth": token, **more}


@dataclass
class Repository:
    """Attributes:
    files: what its newest commit holds, by path.
    commits: the summaries of its commits, the oldest first.
    sent: the paths that each commit added, changed or deleted.
    earlier: what each commit before the newest held, by its id.
    """

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    sent: list[list[str]] = field(default_factory=list)
    earlier: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The newest commit's id."""
        return hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()

    def at(self, revision: str) -> dict[str, bytes]:
        """What a commit holds; the newest where it is no other's id."""
        return self.earlier.get(revision, self.files)


class HubServer(LocalServer):
    """`with HubServer() as hub:` serves on a free port of 127.0.0.1.

    Attributes:
        repositories: by kind and name, as `datasets/mira/kites`, `models/…`, `spaces/…`.
        users: what `whoami` says of a token; its user may write to names that begin with the user's.
        failures: HTTP statuses to reply with, by a word of the path; each with a body and headers that hold the token.
        requests: `METHOD path` of each, in their order.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.failures: dict[str, int] = {}
        self.users: dict[str, dict[str, Any]] = {TOKEN: account(USER)}
        self.requests: list[str] = []
        self.extensions: list[Extension] = []
        self._stored: dict[str, bytes] = {}
        super().__init__()

    @property
    def url(self) -> str:
        return self.origin

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> HttpReply:
        path = unquote(path.partition("?")[0])
        self.requests.append(f"{method} {path}")
        status, value = self.reply(method, path, authorization, body)
        if isinstance(value, HttpReply):
            return value
        headers = {"content-type": "application/json"}
        if status == 404:
            headers["x-error-code"] = value.get("code", "RepoNotFound")
        elif status >= 400:
            headers["x-error-message"] = value.get("error", "")
        return HttpReply(status, json.dumps(value).encode(), headers)

    def reply(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        if path.startswith("/stored/") and method == "PUT":  # a signed address: no token goes there
            assert not authorization
            self._stored[path.removeprefix("/stored/")] = body
        status = next((status for word, status in self.failures.items() if word in path), 0)
        if status:
            return status, {"error": f"No: {authorization}"}
        if path.startswith("/stored/"):
            return 200, {}
        user = self.users.get(authorization.removeprefix("Bearer "))
        if user is None:
            return 401, {"error": f"Invalid username or password: {authorization}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/whoami-v2":
            return 200, user
        sent = json.loads(body) if body and "/commit/" not in path else {}
        if path == "/api/repos/create":
            return self._create(user["name"], sent)
        for extension in self.extensions:
            if (reply := extension(method, path, sent)) is not None:
                return reply
        return self._find(method, path, sent, body)

    def _create(self, user: str, sent: dict[str, Any]) -> tuple[int, Any]:
        owner = sent["organization"] or user
        if owner != user:
            return 403, {"error": f"{user} is not {owner}"}
        name = f"{sent.get('type', 'model')}s/{owner}/{sent['name']}"
        known = name in self.repositories
        self.repositories.setdefault(name, Repository(sent.get("visibility") == "private"))
        return 409 if known else 200, {"url": f"{self.url}/{name.removeprefix('models/')}"}

    def _find(self, method: str, path: str, sent: dict[str, Any], body: bytes) -> tuple[int, Any]:
        if found := _API.fullmatch(path):
            kind, name, rest = found.groups()
        elif found := _GIT.fullmatch(path):
            kind, name, rest = found[1] or "models", found[2], ("resolve/" if "/resolve/" in path else "") + found[3]
        else:
            return 404, {"error": "Not found", "code": "EntryNotFound"}
        repository = self.repositories.get(f"{kind}/{name}")
        if repository is None:
            return 404, {"error": "Repository not found"}
        return self._serve(method, f"{kind}/{name}", repository, rest or "", sent, body)

    def _serve(
        self, method: str, name: str, repository: Repository, rest: str, sent: dict[str, Any], body: bytes
    ) -> tuple[int, Any]:
        what, _, rest = rest.partition("/")
        if what == "preupload":
            files = [{"path": f["path"], "uploadMode": _mode(f["path"])} for f in sent["files"]]
            return 200, {"files": [f | {"shouldIgnore": False} for f in files]}
        if what == "objects":  # of git LFS; what is there already need not be sent again
            objects = [{**o, **self._upload(o["oid"])} for o in sent["objects"]]
            return 200, {"transfer": "basic", "objects": objects}
        if what == "commit":
            return self._commit(name, repository, [json.loads(line) for line in body.splitlines()])
        if what == "tree":
            return 200, _tree(repository.at(rest.partition("/")[0]), rest.partition("/")[2])
        if what == "resolve":
            return self._resolve(repository, *rest.split("/", 1))
        if what in ("", "revision"):
            siblings = [{"rfilename": path, "size": len(data)} for path, data in sorted(repository.files.items())]
            return 200, {
                "id": name.partition("/")[2],
                "private": repository.private,
                "sha": repository.head,
                "siblings": siblings,
            }
        return 404, {"error": "Not found", "code": "EntryNotFound"}

    def _upload(self, oid: str) -> dict[str, Any]:
        return {} if oid in self._stored else {"actions": {"upload": {"href": f"{self.url}/stored/{oid}"}}}

    def _commit(self, name: str, repository: Repository, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        header = lines[0]["value"]
        if header.get("parentCommit", repository.head) != repository.head:
            return 412, {"error": "The expected parent is not the newest commit"}
        files = dict(repository.files)
        for line in lines[1:]:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "file":
                files[path] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                stored = self._stored[value["oid"]]
                assert hashlib.sha256(stored).hexdigest() == value["oid"] and len(stored) == value["size"]
                files[path] = stored
            elif line["key"] == "deletedFolder":
                files = {p: data for p, data in files.items() if not p.startswith(path.rstrip("/") + "/")}
            elif line["key"] == "deletedFile":
                files.pop(path)
        repository.earlier[repository.head] = repository.files
        repository.files = files
        repository.commits.append(header["summary"])
        repository.sent.append([line["value"]["path"] for line in lines[1:]])
        address = f"{self.url}/{name.removeprefix('models/')}/commit/{repository.head}"
        return 200, {"commitUrl": address, "commitOid": repository.head}

    def _resolve(self, repository: Repository, revision: str, path: str = "") -> tuple[int, Any]:
        data = repository.at(revision).get(path)
        if data is None:
            return 404, {"error": "Entry not found", "code": "EntryNotFound"}
        etag = hashlib.sha256(data).hexdigest() if _mode(path) == "lfs" else _blob(data)
        commit = revision if revision in repository.earlier else repository.head
        headers = {"etag": f'"{etag}"', "x-repo-commit": commit, "content-type": "application/octet-stream"}
        return 200, HttpReply(200, data, headers)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(_LFS) else "regular"


def _blob(data: bytes) -> str:
    """The id that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _tree(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    """Every file under a folder, as a recursive listing says it."""
    entries: list[dict[str, Any]] = []
    for path, data in sorted(files.items()):
        if not folder or path.startswith(folder.rstrip("/") + "/"):
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
            if _mode(path) == "lfs":
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            entries.append(entry)
    return entries
