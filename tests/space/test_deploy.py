"""Deploying to a local server that speaks the Hub's API: what is called, what arrives, what never does, what is said."""

import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import HubError, PipelineError
from pipeline.files import PROJECT
from pipeline.space.deploy import ANY_USER, Deployment
from pipeline.space.files import files_for_space
from pipeline.space.settings import SPACE_FILE, SpaceSettings, read_space
from tests.servers.hub import TOKEN, Repository
from tests.servers.hub_spaces import Space, SpacesHub

SPACE = "mira/shelftalk"
STORED = f"spaces/{SPACE}"
KEY = "sk-live-5e0cA77f91"
OTHER_TOKEN = "hf_another8d1f0b6c4e"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpacesHub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its storage is another server
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with SpacesHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project in git, with everything beside it that must never go along."""
    root = tmp_path / "project"
    tracked = {
        "app.py": "print('app')\n",
        "requirements.txt": "gradio==6.31.0\n",
        "README.md": "---\ntitle: Old\n---\n\n# Old\n\ntext --- here\n---\n",
        "space.yaml": SPACE_FILE.read_text(encoding="utf-8"),
        "LICENSE": "free\n",
        "pipeline/__init__.py": "",
        "pipeline/a file.py": "A = 'ä'\n",
        "tabs/chat.py": "B = 1\n",
        "assets/tab1.png": "\x89PNG",
        "assets/base.safetensors": "weights",
        "assets/.env": "OPENAI_API_KEY=sk-in-a-file",
        "tests/test_a.py": "",
        "benchmarks/results/a.json": "{}",
        ".ci/run": "",
        "Makefile": "",
    }
    untracked = {
        "models/x.safetensors": "weights",
        "models/config.json": "{}",
        "runs/r/settings.json": "{}",
        "datasets/d/manifest.json": "{}",
        "uploads/catalogue.json": "[]",
        "replies/journal.jsonl": "{}",
        ".env": "HF_TOKEN=hf_in_a_file",
        "pipeline/scratch.py": "SECRET = 1",
        "pipeline/__pycache__/a.pyc": "",
        "assets/mine.json": "[]",
    }
    for name, text in (tracked | untracked).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "pipeline/link.py").symlink_to(root / ".env")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "-f", *tracked, "pipeline/link.py"], cwd=root, check=True)
    return root


SENT = [
    "LICENSE",
    "README.md",
    "app.py",
    "assets/tab1.png",
    "pipeline/__init__.py",
    "pipeline/a file.py",
    "requirements.txt",
    "space.yaml",
    "tabs/chat.py",
]


class Terminal:
    """Somebody who answers, and what they were told."""

    def __init__(self, agrees: bool = True, **secrets: str) -> None:
        self.agrees, self.secrets = agrees, secrets
        self.told: list[str] = []
        self.asked: list[tuple[str, bool]] = []
        self.prices: list[str] = []

    def secret(self, name: str, why: str, there: bool) -> str:
        self.asked.append((name, there))
        return self.secrets.get(name, "")

    def confirm(self, words: str) -> bool:
        self.prices.append(words)
        return self.agrees


def deployment(root: Path, person: Terminal, settings: SpaceSettings | None = None, **changes: Any) -> Deployment:
    settings = settings or read_space()
    wanted = {"space": f"{ANY_USER}/{settings.name}", "hardware": settings.hardware, "private": False} | changes
    return Deployment(
        settings, **wanted, say=person.told.append, secret=person.secret, confirm=person.confirm, root=root, pause=0.01
    )


def refusal(deploying: Deployment) -> str:
    with pytest.raises(PipelineError) as caught:
        deploying.run()
    assert TOKEN not in str(caught.value) and "No: " not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def once(requests: list[str]) -> list[str]:
    """What is asked again and again while a Space is built, once."""
    return [request for i, request in enumerate(requests) if i == 0 or request != requests[i - 1]]


def called(hub: SpacesHub) -> list[str]:
    """The requests that came; of a commit, which the client makes of several, the last."""
    return once([r for r in hub.requests if "/preupload/" not in r and "/validate-yaml" not in r])


# --- What is called ---


def test_a_dry_run_asks_nobody_and_lists_just_what_the_real_one_calls(project: Path, hub: SpacesHub) -> None:
    person = Terminal(OPENAI_API_KEY=KEY, HF_TOKEN=OTHER_TOKEN)
    listed = list(deployment(project, person).calls())
    assert hub.requests == [] and person.asked == [] and person.told == []
    addresses = deployment(project, person).run()
    assert addresses == [f"{hub.url}/spaces/{SPACE}", "https://mira-shelftalk.hf.space"]
    expected = [call.request.replace(ANY_USER, "mira") for call in listed if call.name != "restart_space"]
    assert called(hub) == once(expected)
    space, repository = hub.spaces[SPACE], hub.repositories[STORED]
    assert (space.hardware, space.sleep_time) == ("l4x1", 3600) and not repository.private
    assert space.secrets == {"OPENAI_API_KEY": KEY, "HF_TOKEN": OTHER_TOKEN}
    assert space.variables == {"HF_HUB_DISABLE_TELEMETRY": "1"} and space.volumes == [] == hub.buckets
    assert person.prices == [
        "l4x1 costs $0.80 for every hour that the Space is awake; it will sleep after 60 minutes without a visitor."
    ]
    assert "The image is being built …" in person.told and "The app is starting …" in person.told


def test_a_second_deployment_changes_nothing(project: Path, hub: SpacesHub) -> None:
    deployment(project, Terminal(OPENAI_API_KEY=KEY)).run()
    before, told = len(hub.requests), hub.spaces[SPACE]
    told.then = ("BUILD_ERROR",)  # a change would end there
    person = Terminal()
    listed = [call for call in deployment(project, person).calls() if not call.only]
    deployment(project, person).run()
    again = hub.requests[before:]
    assert all(request.startswith("GET ") for request in again)
    assert again == [call.request.replace(ANY_USER, "mira") for call in listed]
    assert person.asked == [("OPENAI_API_KEY", True), ("HF_TOKEN", False)] and person.prices == []
    assert told.secrets == {"OPENAI_API_KEY": KEY} and len(hub.repositories[STORED].commits) == 1


def test_what_changed_is_set_and_a_file_that_is_gone_goes(project: Path, hub: SpacesHub) -> None:
    deployment(project, Terminal()).run()
    repository = hub.repositories[STORED]
    repository.files |= {".gitattributes": b"*.png filter=lfs\n", "notes.md": b"the owner's own"}
    (project / "tabs/chat.py").unlink()
    (project / "app.py").write_text("print('newer')\n", encoding="utf-8")
    settings = replace(read_space(), variables={"HF_HUB_DISABLE_TELEMETRY": "1", "SHELFTALK_OWNERS": "mira,joe"})
    person = Terminal(OPENAI_API_KEY=KEY)
    deployment(project, person, settings, hardware="t4-small").run()
    assert repository.sent[-1] == ["app.py", "tabs/chat.py"] and "tabs/chat.py" not in repository.files
    assert {".gitattributes", "notes.md"} < set(repository.files)
    assert hub.spaces[SPACE].variables["SHELFTALK_OWNERS"] == "mira,joe"
    assert hub.spaces[SPACE].hardware == "t4-small" and "t4-small costs $0.40" in person.prices[0]


def test_storage_is_made_and_mounted_once_beside_what_is_mounted(project: Path, hub: SpacesHub) -> None:
    settings = replace(read_space(), storage=True)
    mounted = {"type": "model", "source": "mira/kites", "mountPath": "/models"}
    hub.repositories[STORED] = Repository(private=True)
    hub.spaces[SPACE] = Space(volumes=[mounted])
    for _ in range(2):
        deployment(project, Terminal(), settings).run()
    assert hub.buckets == [f"{SPACE}-storage"]
    bucket = {"type": "bucket", "source": f"{SPACE}-storage", "mountPath": "/data"}
    assert hub.spaces[SPACE].volumes == [mounted, bucket]


def test_free_hardware_costs_nothing_and_its_sleep_time_is_left_alone(project: Path, hub: SpacesHub) -> None:
    person = Terminal()
    deployment(project, person, hardware="cpu-basic", private=True).run()
    assert person.prices == [] and hub.repositories[STORED].private
    assert not [
        request for request in hub.requests if request.endswith(("/hardware", "/sleeptime")) and "POST" in request
    ]


def test_on_zero_gpu_it_is_made_there_with_the_python_that_is_there(project: Path, hub: SpacesHub) -> None:
    deployment(project, Terminal(), hardware="zero-a10g").run()
    assert [sent["hardware"] for sent in hub.created] == ["zero-a10g"]
    readme = hub.repositories[STORED].files["README.md"].decode()
    assert "python_version: 3.12.12\n" in readme and "suggested_hardware: zero-a10g\n" in readme
    hub.failures["/repos/create"] = 402
    assert "no more Spaces on ZeroGPU" in refusal(
        deployment(project, Terminal(), hardware="zero-a10g", space="mira/second")
    )


def test_a_space_that_sleeps_is_woken(project: Path, hub: SpacesHub) -> None:
    deployment(project, Terminal()).run()
    hub.spaces[SPACE].stages = ["SLEEPING"]
    deployment(project, Terminal()).run()
    assert f"POST /api/spaces/{SPACE}/restart" in hub.requests and hub.spaces[SPACE].stages == ["RUNNING"]


# --- What arrives ---


def test_only_what_belongs_arrives_in_one_commit(project: Path, hub: SpacesHub) -> None:
    deployment(project, Terminal()).run()
    repository = hub.repositories[STORED]
    assert sorted(repository.files) == SENT and len(repository.commits) == 1
    readme = repository.files["README.md"].decode()
    assert readme.startswith("---\ntitle: Shelftalk\n") and readme.endswith("---\n\n# Old\n\ntext --- here\n---\n")
    assert repository.files["pipeline/a file.py"] == "A = 'ä'\n".encode()


def test_without_git_the_same_folders_are_walked(project: Path) -> None:
    (project / ".git").rename(project.parent / "git")
    assert sorted(files_for_space(project, read_space())) == sorted([*SENT, "pipeline/scratch.py", "assets/mine.json"])


def test_with_a_broken_git_nothing_is_guessed(project: Path) -> None:
    (project / ".git/HEAD").unlink()
    with pytest.raises(HubError, match="git cannot list the project's files"):
        files_for_space(project, read_space())


def test_a_project_without_its_app_is_not_deployed(project: Path, hub: SpacesHub) -> None:
    (project / "app.py").unlink()
    with pytest.raises(HubError, match=r"app\.py is not among the project's files"):
        deployment(project, Terminal())


def test_this_project_goes_whole() -> None:
    files = files_for_space(PROJECT, read_space())
    assert {"app.py", "requirements.txt", "README.md", "space.yaml", "LICENSE", "assets/style.css"} < set(files)
    assert {"tabs/chat/tab.py", "pipeline/training/child.py", "assets/catalogue.json"} < set(files)
    assert not [name for name in files if name.startswith(("tests/", "benchmarks/", "models/", "runs/", "."))]
    assert sum(map(len, files.values())) < 10_000_000


# --- What is refused ---


@pytest.mark.parametrize(
    ("endpoint", "status", "said"),
    [
        ("/whoami", 401, "The Hub does not know this token"),
        ("/spaces/hardware", 500, "The Hub has a problem of its own (HTTP 500)"),
        ("/repos/create", 402, "The Hub makes a Gradio Space for accounts with a paid plan"),
        ("/repos/create", 403, "This token may not write to mira/shelftalk"),
        ("/shelftalk/variables", 429, "The Hub has had too many requests from you"),
        ("/shelftalk/secrets", 403, "This token may not write to mira/shelftalk"),
        ("/shelftalk/hardware", 402, "The Hub asks for payment for l4x1"),
        ("/shelftalk/hardware", 403, "This account may not have l4x1; choose another with --hardware"),
        ("/validate-yaml", 400, "The Hub does not take the settings at the top of README.md"),
        ("/commit/", 500, "The Hub has a problem of its own"),
        ("/shelftalk/sleeptime", 500, "The Hub has a problem of its own"),
    ],
)
def test_a_refusal_is_one_sentence_and_the_next_deployment_goes_on(
    endpoint: str, status: int, said: str, project: Path, hub: SpacesHub
) -> None:
    hub.failures[endpoint] = status
    assert said in refusal(deployment(project, Terminal(OPENAI_API_KEY=KEY)))
    hub.failures.clear()
    deployment(project, Terminal(OPENAI_API_KEY=KEY)).run()
    assert sorted(hub.repositories[STORED].files) == SENT and hub.spaces[SPACE].hardware == "l4x1"
    assert len(hub.repositories[STORED].commits) == 1 and hub.spaces[SPACE].secrets == {"OPENAI_API_KEY": KEY}


def test_unknown_hardware_names_what_there_is_and_makes_nothing(project: Path, hub: SpacesHub) -> None:
    said = refusal(deployment(project, Terminal(), hardware="h900"))
    assert "There is no hardware 'h900' on the Hub; choose one of cpu-basic, t4-small, l4x1" in said
    assert hub.repositories == {}


def test_who_does_not_want_to_pay_has_made_nothing(project: Path, hub: SpacesHub) -> None:
    assert "Nothing was changed" in refusal(deployment(project, Terminal(agrees=False)))
    assert hub.repositories == {}


@pytest.mark.parametrize(
    "token",
    [
        {"role": "read"},
        {"role": "something new"},
        {"role": "fineGrained", "fineGrained": {"scoped": []}},
        {
            "role": "fineGrained",
            "fineGrained": {"scoped": [{"entity": {"type": "user", "name": "joe"}, "permissions": ["repo.write"]}]},
        },
    ],
)
def test_a_token_that_may_not_write_there_makes_nothing(token: dict[str, Any], project: Path, hub: SpacesHub) -> None:
    hub.users[TOKEN]["auth"]["accessToken"] = token
    assert "may not write to mira's repositories" in refusal(deployment(project, Terminal()))
    assert hub.repositories == {}


def test_a_public_space_is_not_taken_for_a_private_one(project: Path, hub: SpacesHub) -> None:
    hub.repositories[STORED] = Repository(private=False)
    assert "is public already, so it was left alone" in refusal(deployment(project, Terminal(), private=True))
    person = Terminal()
    hub.repositories[STORED].private = True
    deployment(project, person).run()
    assert hub.repositories[STORED].private and f"{SPACE} is there; it stays private." in person.told


def test_a_space_with_another_app_is_left_alone(project: Path, hub: SpacesHub) -> None:
    hub.repositories[STORED] = Repository(False, {"app.py": b"mine", "assets/mine.png": b"1"})
    assert "holds another app, so it was left alone" in refusal(deployment(project, Terminal()))
    assert hub.repositories[STORED].files == {"app.py": b"mine", "assets/mine.png": b"1"}


def test_a_foreign_name_a_wrong_name_and_no_token(
    project: Path, hub: SpacesHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "This token may not write to ada/shelf" in refusal(deployment(project, Terminal(), space="ada/shelf"))
    with pytest.raises(HubError, match="cannot be a name on the Hub"):
        deployment(project, Terminal(), space="a/b/c")
    monkeypatch.delenv("HF_TOKEN")
    assert refusal(deployment(project, Terminal())).startswith("There is no token for the Hub")


def test_without_a_network_it_says_so(project: Path, hub: SpacesHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with SpacesHub() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    assert "The Hub cannot be reached (ConnectError)" in refusal(deployment(project, Terminal()))


@pytest.mark.parametrize("stage", ["BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR"])
def test_a_space_that_does_not_run_shows_the_end_of_its_log(stage: str, project: Path, hub: SpacesHub) -> None:
    hub.repositories[STORED] = Repository(private=False)
    log = "".join(f"line {i}\n" for i in range(50)) + f"\x1b[31mERROR\x1b[0m: no torch for {KEY}\x07\n"
    hub.spaces[SPACE] = Space(then=("BUILDING", stage), log=log)
    person = Terminal(OPENAI_API_KEY=KEY)
    said = refusal(deployment(project, person))
    assert said.endswith("then deploy again.")
    assert "  ERROR: no torch for …" in person.told and "  line 49" in person.told and "  line 3" not in person.told
    hub.spaces[SPACE].then = ("BUILDING", "RUNNING")
    (project / "app.py").write_text("print('mended')\n", encoding="utf-8")
    assert deployment(project, Terminal()).run()


def test_a_hub_that_is_away_for_a_moment_ends_no_wait(project: Path, hub: SpacesHub) -> None:
    away = [503, 503]

    def reply(method: str, path: str, sent: dict[str, Any]) -> tuple[int, Any] | None:
        waits = path.endswith("/runtime") and hub.repositories[STORED].commits
        return (away.pop(), {}) if waits and away else None

    hub.extensions.insert(0, reply)
    assert deployment(project, Terminal()).run() and away == []


# --- No secret anywhere ---


def test_no_secret_is_told_logged_or_written(
    project: Path, hub: SpacesHub, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    before = {p: p.read_bytes() for p in project.rglob("*") if p.is_file() and not p.is_symlink()}
    person = Terminal(OPENAI_API_KEY=KEY, HF_TOKEN=OTHER_TOKEN)
    deployment(project, person).run()
    out = "\n".join([caplog.text, *capfd.readouterr(), *person.told, *person.prices])
    assert not [secret for secret in (KEY, OTHER_TOKEN, TOKEN) if secret in out]
    assert before == {p: p.read_bytes() for p in project.rglob("*") if p.is_file() and not p.is_symlink()}
    assert not any(KEY.encode() in data for data in hub.repositories[STORED].files.values())


# --- As a command ---


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline deploy` without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "deploy", *arguments],
        cwd=PROJECT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_the_command_prints_the_address_and_takes_secrets_from_the_environment(hub: SpacesHub) -> None:
    listed = command("--dry-run", HF_TOKEN="")
    assert listed.returncode == 0 and hub.requests == [] and "POST /api/spaces/USER/shelftalk/secrets" in listed.stdout
    refused = command(OPENAI_API_KEY=KEY)
    assert (
        refused.returncode == 2 and refused.stdout == "" and "Add --yes to have it" in refused.stderr.splitlines()[-1]
    )
    assert hub.repositories == {}
    done = command("--yes", "--space", "mira/shop", OPENAI_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{hub.url}/spaces/mira/shop", "https://mira-shop.hf.space"]
    assert hub.spaces["mira/shop"].secrets == {"OPENAI_API_KEY": KEY, "HF_TOKEN": TOKEN}
    again = command("--yes", "--space", "mira/shop", OPENAI_API_KEY="sk-another-key-77")
    assert again.returncode == 0 and hub.spaces["mira/shop"].secrets["OPENAI_API_KEY"] == KEY
    assert not [s for s in (KEY, TOKEN) for text in (done.stdout, done.stderr, again.stderr) if s in text]


def test_at_a_terminal_secrets_are_asked_for_without_echo(hub: SpacesHub) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "deploy", "--hardware", "t4-small"],
        cwd=PROJECT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_own_terminal,
    ) as process:  # fmt: skip
        os.close(theirs)
        said = _answer(ours, {b"Go on? [y/N]": b"y\n", b"OPENAI_API_KEY:": KEY.encode() + b"\n", b"HF_TOKEN:": b"\n"})
    assert process.returncode == 0, said
    assert "t4-small costs $0.40" in said and "Enter leaves it out" in said and KEY not in said
    assert hub.spaces[SPACE].secrets == {"OPENAI_API_KEY": KEY}


def _own_terminal() -> None:
    """Make stdin the terminal of the child's session, where getpass looks for it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _answer(terminal: int, answers: dict[bytes, bytes]) -> str:
    """Read what a program says to its end, and answer what it asks, each once."""
    said, looked = b"", 0
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            read = b""
        if not read:
            os.close(terminal)
            return said.decode()
        said += read
        for asked in [asked for asked in answers if asked in said[looked:]]:
            looked = len(said)
            os.write(terminal, answers.pop(asked))
