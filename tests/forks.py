"""Starts the tests' child processes by forking one that has imported everything: torch, TRL and Gradio take ten seconds each
time, and the suite starts hundreds of processes.

While `Popen` stands in for `subprocess.Popen`, a command that runs one of the project's modules (`python -m pipeline …`,
`python app.py`) becomes a fork of the server with that command's arguments, environment, files and session; its process id,
its command line, its environment and its exit status are as those of a process that was started. It starts its own children
in the same way; those of Accelerate's launcher are forked by a twin of it, and are its own children. Where a copy of the
project lies in the command's folder the fork imports that copy, and finds only the libraries there already. All other
commands, and those whose environment is read while something is imported, are started as always; so are all of them in a
test with the fixture `real_processes`, and where there is no Linux.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PRELOADED = (
    "pipeline.training.train",
    "pipeline.publishing.make",
    "pipeline.__main__",
    "pipeline.answering.report",
    "app",
)
OWN = {"app", "pipeline", "tabs"}
MODULES = ("pipeline", "tests.", "accelerate.commands.launch")
SET = {"PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "WANDB_DISABLED": "true", "TQDM_DISABLE": "1"}
"""What the server was started with, as every training is; it may be missing from a command's environment."""

READ_AT_IMPORT = (
    "HF_",
    "TRANSFORMERS_",
    "OMP_",
    "CUDA_VISIBLE",
    "PYTHON",
    "TOKENIZERS_",
    "SPACES_",
    "COVERAGE_",
)
HUB = {"HF_ENDPOINT", "HF_HUB_DISABLE_XET"}
"""What its client reads as it is imported, and a fork reads again; so it does with what Gradio's sign-in reads."""

READ_LATER = {"HF_TOKEN", *HUB, *SET}
PATIENCE = 240
"""Seconds that all those imports may take on a busy machine."""

ROOM = 2000
"""Bytes that a command line may have."""

ROOM_VARIABLE, ENVIRONMENT_ROOM = "SHELFTALK_TEST_ROOM", 16_000
"""A variable that is only there to leave room for the environment of what is forked, and how many bytes."""

LAUNCHER = "accelerate.commands.launch"
SUBREAPER = 36
"""`prctl`'s number for: what is left of my children's children is mine."""

ADDRESS = "SHELFTALK_TEST_FORKS"
"""The variable that says where the server listens: one serves all workers of a session."""

Order = tuple[list[str], dict[str, str], str]
"""What to become: words, environment, and the folder with the project in it."""

Started = subprocess.Popen
enabled = sys.platform == "linux"
_address = ""
_began_with: dict[str, str] = {}
_twin: socket.socket | None = None


def install() -> None:
    """Let this process, and all that it forks, start children through the server, which begins with the first of them."""
    global _address, _began_with
    _address = os.environ.setdefault(ADDRESS, f"{tempfile.mkdtemp()}/forks-{os.getpid()}")
    _began_with = dict(os.environ)
    subprocess.Popen = Popen  # pyright: ignore[reportAttributeAccessIssue]


class Popen(subprocess.Popen):
    """A process that was forked, where it can be."""

    _server: socket.socket | None = None

    def _execute_child(self, args: Any, *rest: Any) -> None:
        names = Started._execute_child.__code__.co_varnames[2:]
        given = dict(zip(names, rest, strict=False))
        words = [os.fsdecode(word) for word in ([args] if isinstance(args, (str, bytes, os.PathLike)) else args)]
        if not can_fork(words, given):
            return super()._execute_child(args, *rest)  # pyright: ignore[reportAttributeAccessIssue]
        files = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        order = {
            "words": words,
            "env": _text(given["env"] or os.environ),
            "session": given["start_new_session"],
            "folder": str(_folder(given)),
        }
        fds = [standard if file == -1 else file for standard, file in enumerate(files)]
        if not _twin:
            self._server = _connect()
        line = _twin or self._server
        assert line
        socket.send_fds(line, [json.dumps(order).encode() + b"\n"], fds)
        self.pid = int(_line(line))
        self._child_created = True
        devnull = getattr(self, "_devnull", -1)
        ends = [("p2cread", "p2cwrite"), ("c2pwrite", "c2pread"), ("errwrite", "errread")]
        theirs = {given[its] for its, own in ends if given[own] != -1}  # of pipes; files are the caller's
        for file in {*theirs, devnull} - {-1}:
            os.close(file)
        self._closed_child_pipe_fds = True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._server is None:
            return super()._try_wait(wait_flags)  # pyright: ignore[reportAttributeAccessIssue]
        if wait_flags & os.WNOHANG:
            with selectors.DefaultSelector() as selector:
                selector.register(self._server, selectors.EVENT_READ)
                if not selector.select(0):
                    return 0, 0
        status = int(_line(self._server) or signal.SIGKILL)
        self._server.close()
        return self.pid, status

    def _internal_poll(self, *args: Any, **options: Any) -> int | None:
        if self._server is None:
            return super()._internal_poll(*args, **options)  # pyright: ignore[reportAttributeAccessIssue]
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            with suppress(OSError):
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid:
                    self._handle_exitstatus(status)
            self._waitpid_lock.release()
        return self.returncode


def can_fork(words: list[str], given: dict[str, Any]) -> bool:
    """Whether a fork would be what this command is."""
    plain = not any(given[name] for name in ("preexec_fn", "pass_fds", "shell")) and given["close_fds"]
    here = _folder(given) == PROJECT or (_folder(given) / "pipeline" / "__main__.py").is_file()
    rest = words[2:] if words[1:2] == ["-u"] else words[1:]
    known = rest[:1] == ["app.py"] or (rest[:1] == ["-m"] and rest[1].startswith(MODULES))
    short = sum(len(os.fsencode(word)) + 1 for word in words) <= ROOM
    if not (enabled and plain and here and known and short and words[0] == sys.executable):
        return False
    asked = _text(given["env"] or os.environ)
    decisive = {n for n in {*asked, *_began_with} if n.startswith(READ_AT_IMPORT)} - READ_LATER
    return all(asked.get(name) == _began_with.get(name) for name in decisive)


def _folder(given: dict[str, Any]) -> Path:
    return Path(os.fsdecode(given["cwd"] or os.getcwd())).resolve()


def _text(environment: Any) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()}


def _line(connection: socket.socket) -> str:
    """What the server says next; empty where it is gone."""
    said = b""
    while not said.endswith(b"\n"):
        more = connection.recv(1)
        if not more:
            return ""
        said += more
    return said.decode()


def _connect() -> socket.socket:
    """A line to the server, which is started where it is not there yet."""
    with suppress(OSError):
        return _line_to_server()
    with open(f"{_address}.lock", "w") as lock:  # one worker starts it, and the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(OSError):
            return _line_to_server()
        _start_server()
        until = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                return _line_to_server()
            assert time.monotonic() < until, Path(f"{_address}.log").read_text()
            time.sleep(0.05)


def ready() -> str:
    """Where the server listens, which is there now: what a test starts with little in its environment finds it by that."""
    _connect().close()
    return _address


def _line_to_server() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(_address)
    except OSError:
        connection.close()
        raise
    return connection


def _start_server() -> None:
    owner = _address.rpartition("-")[2]
    code = f"from tests import forks; forks.become(*forks.serve({_address!r}, {owner}))"
    room = "-" * ROOM  # for the command lines of what it becomes
    with open(f"{_address}.log", "ab") as log:
        Started(
            [sys.executable, "-c", code, room],
            cwd=PROJECT,
            env=_began_with | SET | {ROOM_VARIABLE: "-" * ENVIRONMENT_ROOM},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


# --- In the server ---


def serve(address: str, owner: int) -> Order:
    """Fork for everybody who asks until the process `owner` has ended, and end what is left with it. Returns in the forked
    processes: what to become."""
    global _address, _began_with
    _address, _began_with = address, dict(os.environ)
    for name in (*SET, ROOM_VARIABLE):
        _began_with.pop(name)
    subprocess.Popen = Popen  # pyright: ignore[reportAttributeAccessIssue]
    for name in PRELOADED:
        __import__(name)
    gc.collect()
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    selector.register(os.pidfd_open(owner), selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                if order := _fork(listening, selector):
                    return order
            elif key.data:
                _see_off(*key.data)
                selector.unregister(key.fd)
                os.close(key.fd)
            else:  # what is left was of tests that were broken off: it would train, or serve, for ever
                for child in filter(None, (key.data for key in selector.get_map().values())):
                    os.kill(child[0], signal.SIGKILL)
                os.unlink(address)
                os._exit(0)


def _fork(listening: socket.socket, selector: selectors.BaseSelector) -> Order | None:
    connection, _ = listening.accept()
    order, files = _order(connection)
    if not order:
        return None
    if pid := os.fork():
        for file in files:
            os.close(file)
        selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
        return None
    for key in list(selector.get_map().values()):
        if key.data:
            key.data[1].close()
        os.close(key.fd)
    selector.close()
    listening.detach()
    _set_up(order, files)
    with connection:
        connection.sendall(f"{os.getpid()}\n".encode())
    return order["words"], order["env"], order["folder"]


def _order(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What is asked for, with its files; nothing where the line has ended."""
    said, files, *_ = socket.recv_fds(connection, 1 << 20, 3)
    while said and not said.endswith(b"\n"):
        said += connection.recv(1 << 20)
    return (json.loads(said) if said else {}), files


def _fork_twin() -> Order | None:
    """Fork a twin of this process that stays as it is and forks the children for it: each by a process that ends at once, so
    that it becomes this one's child. Returns in the children alone: what to become."""
    global _twin
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    parent = os.getpid()
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        _twin = ours
        return None
    ours.close()
    while True:
        order, files = _order(theirs)
        if not order:
            os._exit(0)
        if between := os.fork():
            os.waitpid(between, 0)
            for file in files:
                os.close(file)
            continue
        if os.fork():
            os._exit(0)
        while os.getppid() != parent:
            time.sleep(0.001)
        _set_up(order, files)
        with theirs:
            theirs.sendall(f"{os.getpid()}\n".encode())
        return order["words"], order["env"], order["folder"]


def _set_up(order: dict[str, Any], files: list[int]) -> None:
    """Give a process that has just been forked its session, its name and its files."""
    if order["session"]:
        os.setsid()
    _name_process(order["words"])
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in {*files} - {0, 1, 2}:
        os.close(file)


def _see_off(pid: int, connection: socket.socket) -> None:
    """Tell who asked how a forked process ended."""
    _, status = os.waitpid(pid, 0)
    with suppress(OSError), connection:
        connection.sendall(f"{status}\n".encode())


def become(words: list[str], environment: dict[str, str], folder: str) -> None:
    """Run a command in this process, which has just been forked, and end with it."""
    os.environ.clear()
    os.environ.update(environment)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through="PYTHONUNBUFFERED" in environment)  # pyright: ignore[reportAttributeAccessIssue]
    _tell_environment(environment)
    sys.orig_argv[:] = words
    words = [word for word in words if word != "-u"]
    sys.path[0] = folder
    if folder != str(PROJECT):
        os.chdir(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
            del sys.modules[name]
    _know_hub()
    _know_sign_in()
    if words[1:3] == ["-m", LAUNCHER] and (order := _fork_twin()):
        return become(*order)
    code = 0
    try:
        _run(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())
    # As the interpreter ends, but for the second that it takes to take all that was imported apart.
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def _know_hub() -> None:
    from huggingface_hub import constants, hf_api

    importlib.reload(constants)
    hf_api.api.endpoint = constants.ENDPOINT


def _know_sign_in() -> None:
    if oauth := sys.modules.get("gradio.oauth"):
        importlib.reload(oauth)


def _run(words: list[str]) -> None:
    if words[1] != "-m":
        sys.argv[:] = words[1:]
        runpy.run_path(words[1], run_name="__main__")
        return
    sys.argv[:] = words[2:]
    for name in (words[2], f"{words[2]}.__main__"):  # else runpy warns that it runs twice
        if not hasattr(sys.modules.get(name), "__path__"):
            sys.modules.pop(name, None)
    runpy.run_module(words[2], run_name="__main__", alter_sys=True)


def _name_process(words: list[str]) -> None:
    """Let the command line that others see be this one: a run's process is known by it. The room is that of the server's
    own; what is left of it is filled with slashes, of which a path may begin with many."""
    start, room = _memory(45)
    line = b"\0".join(map(os.fsencode, words)) + b"\0"
    assert len(line) <= room, "There is no room for the command line."
    ctypes.memmove(start, line.rjust(room, b"/"), room)


def _tell_environment(environment: dict[str, str]) -> None:
    """Let the environment that others see be this one, where it was when the server began: nobody reads it there any more."""
    start, room = _memory(47)
    told = b"\0".join(os.fsencode(f"{name}={value}") for name, value in environment.items()) + b"\0"
    assert len(told) <= room, "There is no room for the environment."
    ctypes.memmove(start, told.ljust(room, b"\0"), room)


def _memory(field: int) -> tuple[int, int]:
    """Where something of this process is kept that /proc shows, and its room in bytes."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[field]), int(fields[field + 1])
    return start, end - start
