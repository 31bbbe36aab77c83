"""Making or updating a Space: a list of calls to the Hub, which a dry run prints and a deployment makes.

Each is made only where it is needed, so a deployment that was cut off goes on where it stopped, and a second one changes nothing.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import HubError
from pipeline.files import PROJECT
from pipeline.publishing.hub import TIMEOUT_SECONDS, as_sentences, check_repo, hub_api, writes_for
from pipeline.space.files import differences, files_for_space
from pipeline.space.settings import SPACE_FILE, SpaceSettings
from pipeline.space.waiting import ASLEEP, FREE, hardware_of, never_sleeps, wait_until_running

if TYPE_CHECKING:
    from huggingface_hub import HfApi, SpaceRuntime
    from huggingface_hub.hf_api import SpaceInfo

ANY_USER = "USER"
"""Stands for the token's owner in a dry run, which asks nobody."""

BILLING = "https://huggingface.co/settings/billing"
PLANS = "https://huggingface.co/pricing"
STORAGE_PATH = "/data"
ZERO_PYTHON = "3.12.12"
"""What ZeroGPU runs, of what this app runs on. Source: https://huggingface.co/docs/hub/spaces-zerogpu"""

HOURS = {"second": 3600, "minute": 60, "hour": 1}
"""How often a unit that hardware is paid by is in an hour."""


@dataclass(frozen=True)
class Call:
    """A call to the Hub.

    Attributes:
        name: the client's function.
        request: the method and path of its request.
        what: what it does, in words.
        do: makes it.
        only: when it is made, in words, if not always; `needed` finds that out.
        special: what to say to HTTP statuses that mean something of their own here.
    """

    name: str
    request: str
    what: str
    do: Callable[[], None]
    only: str = ""
    needed: Callable[[], bool] = lambda: True
    special: Mapping[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name:22} {self.request:48} {self.what}" + (f"; only {self.only}" if self.only else "")


@dataclass
class Deployment:
    """A Space as it shall be, and what is known so far of how it is.

    Attributes:
        space: `user/name`; the user is `USER` until the token's owner is known.
        private: whether a new Space is for its owner alone; one that is there stays as it is.
        say: tells progress.
        secret: asks for a secret by its name, a sentence about it, and whether the Space has one; empty for none.
        confirm: asks whether something that costs money shall be done.
        pause: seconds between two looks at a Space that is being built.
        price: dollars an hour; None where the Hub does not say it.
        commit: the one that was sent, if one was; `changed` also when anything else was.
    """

    settings: SpaceSettings
    space: str
    hardware: str
    private: bool
    say: Callable[[str], None]
    secret: Callable[[str, str, bool], str]
    confirm: Callable[[str], bool]
    root: Path = PROJECT
    pause: float = 3.0
    info: "SpaceInfo | None" = None
    runtime: "SpaceRuntime | None" = None
    price: float | None = None
    commit: str | None = None
    changed: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    given: dict[str, str] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_repo(self.space)
        if self._is_zero:
            matter = self.settings.matter | {"python_version": ZERO_PYTHON, "suggested_hardware": self.hardware}
            self.settings = replace(self.settings, matter=matter)
        self.files = files_for_space(self.root, self.settings)

    @property
    def api(self) -> "HfApi":
        return hub_api()

    def run(self) -> list[str]:
        """Make the calls that are needed.

        Returns:
            The Space's address on the Hub, and its app's own.

        Raises:
            HubError: something is missing or wrong, or the Hub refused it, cannot be reached or cannot run the app.
        """
        for call in self.calls():
            with as_sentences(self.space, call.special):
                if call.needed():
                    self.say(f"{call.what} …")
                    call.do()
        host = self.info.host if self.info else None
        return [f"{self.api.endpoint}/spaces/{self.space}", *([host] if host else [])]

    def calls(self) -> Iterator[Call]:
        """All calls in their order. What a call found out is in the words of those that come after it."""
        yield Call("whoami", "GET /api/whoami-v2", "Find out whose token it is", self._who)
        yield Call(
            "list_spaces_hardware", "GET /api/spaces/hardware", f"See what {self.hardware} costs", self._check_hardware
        )
        yield Call("space_info", f"GET {self._path()}", f"See whether {self.space} is there", self._look)
        yield Call(
            "create_repo",
            "POST /api/repos/create",
            f"Make the Space {self.space} ({self._sdk}, {'private' if self.private else 'public'})",
            self._create,
            "if it is not there",
            lambda: self.info is None,
            {402: self._needs_plan},
        )
        yield from self._environment()
        yield Call("get_space_runtime", f"GET {self._path('runtime')}", "See what it runs on", self._see_runtime)
        if self.settings.storage:
            yield from self._storage()
        yield from self._machine()
        yield from self._upload()
        yield from self._start()

    def _environment(self) -> Iterator[Call]:
        path = self._path("variables")
        if self.settings.variables:
            yield Call("get_space_variables", f"GET {path}", "See which variables it has", self._see_variables)
        for name, value in self.settings.variables.items():
            do = partial(self._set_variable, name, value)
            needed = partial(lambda name, value: self.variables.get(name) != value, name, value)
            yield Call("add_space_variable", f"POST {path}", f"Set {name} to {value}", do, "if it differs", needed)
        path = self._path("secrets")
        if self.settings.secrets:
            yield Call("get_space_secrets", f"GET {path}", "See which secrets it has", self._see_secrets)
        for name, why in self.settings.secrets.items():
            do, needed = partial(self._give, name, why), partial(self._ask, name, why)
            yield Call("add_space_secret", f"POST {path}", f"Set the secret {name}", do, "if one is given", needed)

    def _storage(self) -> Iterator[Call]:
        bucket, only = f"{self.space}-storage", f"if nothing is mounted at {STORAGE_PATH}"
        special = {402: f"The Hub asks for payment for storage; see {BILLING}, or set storage to false in space.yaml."}
        yield Call(
            "create_bucket",
            f"POST /api/buckets/{bucket}",
            f"Make the private storage bucket {bucket}",
            partial(self._make_bucket, bucket),
            only,
            self._lacks_storage,
            special,
        )
        yield Call(
            "set_space_volumes",
            f"PUT {self._path('volumes')}",
            f"Mount it at {STORAGE_PATH}",
            partial(self._mount, bucket),
            only,
            self._lacks_storage,
            special,
        )

    def _machine(self) -> Iterator[Call]:
        no = f"This account may not have {self.hardware}; choose another with --hardware, or see {PLANS}."
        paid = f"The Hub asks for payment for {self.hardware}; see {BILLING}, or choose another with --hardware."
        yield Call(
            "request_space_hardware",
            f"POST {self._path('hardware')}",
            f"Ask for {self.hardware}",
            self._ask_hardware,
            "if it has another",
            lambda: hardware_of(self.runtime) != self.hardware,
            {400: no, 402: paid, 403: no},
        )
        if self.hardware not in FREE:
            yield Call(
                "set_space_sleep_time",
                f"POST {self._path('sleeptime')}",
                f"Let it {sleep_words(self.settings.sleep_time)}",
                self._set_sleep_time,
                "if it differs",
                lambda: self._sleep_time() != self.settings.sleep_time,
            )

    def _upload(self) -> Iterator[Call]:
        size = sum(map(len, self.files.values())) / 1e6
        yield Call("list_repo_tree", f"GET {self._path('tree/main')}", "See which files it has", self._compare)
        yield Call(
            "create_commit",
            f"POST {self._path('commit/main')}",
            f"Send what differs of {len(self.files)} files ({size:.1f} MB), and delete what is the app's no more",
            self._send,
            "if a file differs",
            lambda: bool(self.sent or self.gone),
            {400: "The Hub does not take the settings at the top of README.md; correct space.yaml, then deploy again."},
        )

    def _start(self) -> Iterator[Call]:
        yield Call(
            "restart_space",
            f"POST {self._path('restart')}",
            "Wake it up",
            self._restart,
            "if it sleeps or is paused",
            lambda: self.runtime is not None and self.runtime.stage in ASLEEP,
        )
        yield Call("get_space_runtime", f"GET {self._path('runtime')}", "Wait until it runs", self._wait)
        yield Call("space_info", f"GET {self._path()}", "Read its address", self._see_info)

    def _path(self, part: str = "") -> str:
        return f"/api/spaces/{self.space}" + (f"/{part}" if part else "")

    @property
    def _is_zero(self) -> bool:
        return self.hardware.startswith("zero")

    @property
    def _needs_plan(self) -> str:
        """Source: https://huggingface.co/docs/hub/spaces-overview"""
        if self._is_zero:
            return f"The Hub makes no more Spaces on ZeroGPU for this account; see {PLANS}, or delete one of them."
        return (
            f"The Hub makes a Gradio Space for accounts with a paid plan (PRO, or Team for an organization; {PLANS}); "
            "without one, deploy with --hardware zero-a10g, where it answers but does not train."
        )

    @property
    def _sdk(self) -> str:
        return self.settings.matter["sdk"]

    def _who(self) -> None:
        found = self.api.whoami()
        user, name = self.space.split("/")
        user = found["name"] if user == ANY_USER else user
        token = found.get("auth", {}).get("accessToken")
        writable = writes_for(token) if token else None
        if writable is not None and user.casefold() not in writable:
            raise HubError(
                f"This token may not write to {user}'s repositories; make one with write access, then deploy again."
            )
        self.space = f"{user}/{name}"

    def _check_hardware(self) -> None:
        from huggingface_hub import SpaceHardware

        found = {machine.name: machine for machine in self.api.list_spaces_hardware()}
        known = dict.fromkeys([*found, *(flavor.value for flavor in SpaceHardware)])
        if self.hardware not in known:
            raise HubError(f"There is no hardware {self.hardware!r} on the Hub; choose one of {', '.join(known)}.")
        machine = found.get(self.hardware)
        times = HOURS.get(machine.unit_label) if machine else None
        self.price = machine.unit_cost_usd * times if machine and times else None

    def _look(self) -> None:
        """See whether the Space is there, and refuse what cannot be or is not wanted before anything is made."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            self._see_info()
        except RepositoryNotFoundError:
            self.info = None
        if self.info:
            self._check_own(self.info)
        now = self.info.runtime if self.info else None
        if self.hardware not in FREE and self.price != 0 and hardware_of(now) != self.hardware:
            price = "costs money" if self.price is None else f"costs ${self.price:.2f} for every hour"
            sleeps = sleep_words(self.settings.sleep_time)
            if not self.confirm(f"{self.hardware} {price} that the Space is awake; it will {sleeps}."):
                free = "--hardware cpu-basic costs nothing in a paid plan, and --hardware zero-a10g answers without one"
                raise HubError(f"Nothing was changed; {self.hardware} costs money ({free}).")

    def _check_own(self, info: "SpaceInfo") -> None:
        files = {sibling.rfilename for sibling in info.siblings or []}
        if "app.py" in files and SPACE_FILE.name not in files:
            raise HubError(f"{self.space} holds another app, so it was left alone; choose another name with --space.")
        if self.private and not info.private:
            raise HubError(
                f"{self.space} is public already, so it was left alone; make it private in its settings on the Hub, "
                "or deploy without --private."
            )
        self.say(f"{self.space} is there; it stays {'private' if info.private else 'public'}.")

    def _see_info(self) -> None:
        self.info = self.api.space_info(self.space, timeout=TIMEOUT_SECONDS)

    def _create(self) -> None:
        # Without a paid plan a Space can be made on ZeroGPU alone, so it has to be asked for at once.
        on: dict[str, Any] = {"space_hardware": self.hardware} if self._is_zero else {}
        self.api.create_repo(
            self.space, repo_type="space", space_sdk=self._sdk, private=self.private, exist_ok=True, **on
        )
        self.changed = True

    def _see_variables(self) -> None:
        self.variables = {name: v.value for name, v in self.api.get_space_variables(self.space).items()}

    def _see_secrets(self) -> None:
        self.secrets = set(self.api.get_space_secrets(self.space))

    def _see_runtime(self) -> None:
        self.runtime = self.api.get_space_runtime(self.space)

    def _set_variable(self, name: str, value: str) -> None:
        self.api.add_space_variable(self.space, name, value)
        self.changed = True

    def _make_bucket(self, bucket: str) -> None:
        self.api.create_bucket(bucket, private=True, exist_ok=True)
        self.changed = True

    def _ask(self, name: str, why: str) -> bool:
        """Ask for a secret; what the Space has is kept unless a new one is given."""
        self.given[name] = self.secret(name, why, name in self.secrets).strip()
        return bool(self.given[name])

    def _give(self, name: str, why: str) -> None:
        self.api.add_space_secret(self.space, name, self.given[name], description=why)
        self.changed = True

    def _lacks_storage(self) -> bool:
        return all(v.mount_path != STORAGE_PATH for v in (self.runtime and self.runtime.volumes) or [])

    def _mount(self, bucket: str) -> None:
        from huggingface_hub import Volume

        mounted = (self.runtime and self.runtime.volumes) or []
        volume = Volume(type="bucket", source=bucket, mount_path=STORAGE_PATH)
        self.api.set_space_volumes(self.space, [*mounted, volume])
        self.changed = True

    def _ask_hardware(self) -> None:
        wanted: Any = self.hardware  # the client's own list may be older than the Hub's
        self.runtime = self.api.request_space_hardware(self.space, wanted)
        self.changed = True

    def _sleep_time(self) -> int | None:
        return -1 if self.runtime is None or never_sleeps(self.runtime) else self.runtime.sleep_time

    def _set_sleep_time(self) -> None:
        self.runtime = self.api.set_space_sleep_time(self.space, self.settings.sleep_time)

    def _compare(self) -> None:
        from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError
        from huggingface_hub.hf_api import RepoFile

        stored: list[RepoFile] = []
        with suppress(EntryNotFoundError, RevisionNotFoundError):  # a repository without a commit
            entries = self.api.list_repo_tree(self.space, repo_type="space", recursive=True)
            stored = [entry for entry in entries if isinstance(entry, RepoFile)]
        self.sent, self.gone = differences(self.files, stored)

    def _send(self) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=self.files[name]) for name in self.sent]
        deleted = [CommitOperationDelete(path_in_repo=name) for name in self.gone]
        message = f"Deploy: {len(self.sent)} files sent, {len(self.gone)} deleted"
        done = self.api.create_commit(self.space, [*added, *deleted], repo_type="space", commit_message=message)
        self.commit, self.changed = done.oid, True
        self.say(f"{message}.")

    def _restart(self) -> None:
        self.runtime = self.api.restart_space(self.space)
        self.changed = True

    def _wait(self) -> None:
        hidden = [*self.given.values(), os.environ.get("HF_TOKEN", "")]
        try:
            wait_until_running(
                self.api, self.space, self.commit, self.say, changed=self.changed, hidden=hidden, pause=self.pause
            )
        except KeyboardInterrupt:
            self.say(f"{self.space} is deployed, and the Hub goes on building it; deploy again to see how far it is.")
            raise


def sleep_words(seconds: int) -> str:
    """What a Space does after a time without visitors."""
    return "never sleep" if seconds < 0 else f"sleep after {seconds / 60:g} minutes without a visitor"
