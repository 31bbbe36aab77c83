"""A run's model for others: made and checked in a child process, kept in a folder or pushed to the Hugging Face Hub.

A push is one commit. Before it, what was made has been loaded again and asked (`publishing/make.py`); after it, the Hub's
own list says whether the files that lie there are those. The token goes to the Hub and nowhere else.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import psutil

from pipeline.answering.asker import MAX_NEW_TOKENS
from pipeline.dataset.card import check_license
from pipeline.errors import HubError, RunError
from pipeline.files import (
    PROJECT,
    clear_work_folders,
    read_json,
    read_log,
    whole_file,
    whole_folder,
    work_folder,
    write_text,
)
from pipeline.models.bases import local_folder
from pipeline.models.chat import chat_of
from pipeline.models.config import base_shape, merging_bytes
from pipeline.models.family import family_of_base
from pipeline.prompts import CHAT, FORMAT, UNKNOWN_TITLE, Chat, without_cue
from pipeline.publishing.forms import FILES, FORMS, GGUF, MADE, MARKS, PROGRESS, Made
from pipeline.publishing.hub import as_sentences, check_repo, hub_api, open_repository
from pipeline.publishing.model_card import model_card
from pipeline.publishing.vllm import Commands, commands
from pipeline.runs.folder import has_adapter, read_settings
from pipeline.runs.launcher import QUIET, SHORT_SPIN
from pipeline.runs.settings import gpu_name

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOG, PUBLISHED = "making.log", "published"
POLL_SECONDS = 0.2

MAKING, ZIPPING, PUBLISHING = ".making-", ".zip-", ".publish-"
"""What the folders are called in which a model is made."""

_PART = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")

_TITLE = "{{ if .System }}{{ .System }}{{ else }}" + UNKNOWN_TITLE + "{{ end }}"

_ASKED = FORMAT.format(title=_TITLE, question="{{ .Prompt }}")


def modelfile(chat: Chat | None) -> str:
    """What Ollama makes a model of: this project's prompt, with the product's title as the system message.

    Args:
        chat: what the run's questions stand in.
    """
    asked = f"{chat.head}{without_cue(_ASKED)}{chat.tail}" if chat else _ASKED
    return f'''FROM ./{GGUF}
TEMPLATE """{asked}"""
PARAMETER temperature 0
PARAMETER repeat_penalty 1
PARAMETER num_predict {MAX_NEW_TOKENS}
PARAMETER stop "\\nContext:"
PARAMETER stop "\\nInstruction:"
'''


@dataclass(frozen=True)
class PublishingStep:
    """What is being done, how much of it is done (of 0 where nobody can tell), and at the end the address of what was pushed and
    how vLLM serves it."""

    text: str
    done: int
    total: int
    address: str = ""
    served: Commands | None = None


def export_model(
    run: Path, form: str, folder: Path, *, license: str = "unknown", name: str = ""
) -> Iterator[PublishingStep]:
    """Make one form of a run's model in a folder of its own, with its card.

    Closing the iterator stops the making, and nothing of it stays.

    Args:
        form: one of `FORMS`.
        folder: a new or an empty one; what was made takes its name when it is whole.
        license: one of `card.LICENSES`.
        name: what the card calls it; the folder when not given.

    Raises:
        PipelineError: the run has no whole adapter, there is no room, or what was made answers differently.
    """
    _check_run(run, form)
    check_license(license)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} is not empty; choose another folder.")
    with whole_folder(folder) as aside, _workplace(aside.parent, MAKING) as work:
        made = yield from _make(run, form, work)
        for file in (work / FILES).iterdir():
            file.rename(aside / file.name)
        _write_texts(run, made, license, name or f"./{folder.name}", aside)
    yield PublishingStep("Made and checked", 1, 1, served=commands(run, form, str(folder), made.loaded))


def export_zip(run: Path, form: str, *, license: str = "unknown") -> Iterator[PublishingStep]:
    """As `export_model`, in one file: `published/<run>-<form>.zip` in the run's folder."""
    path = run / PUBLISHED / f"{run.name}-{form}.zip"
    path.parent.mkdir(exist_ok=True)
    with _workplace(run, ZIPPING) as work:
        folder = work / f"{run.name}-{form}"
        yield from export_model(run, form, folder, license=license)
        with whole_file(path) as aside, ZipFile(aside, "w") as archive:  # weights hardly get smaller by packing
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{folder.name}/{file.name}")


def publish_model(
    run: Path, form: str, repo: str, *, license: str, token: str = "", private: bool = True
) -> Iterator[PublishingStep]:
    """Make one form of a run's model, check it, and push it to the Hub as one commit.

    Args:
        form: one of `FORMS`.
        repo: `user/name`; it is made when there is none, and gets one more commit when there is.
        license: one of `card.LICENSES`.
        token: with write access; `HF_TOKEN` when empty.
        private: whether only its owner may see it. A repository that is public already is refused then.

    Yields:
        The way there; the last one has the model's address.

    Raises:
        PipelineError: as `export_model`; or the Hub refused it, cannot be reached, or holds other files afterwards.
    """
    _check_run(run, form)
    check_license(license)
    check_repo(repo)
    api = hub_api(token)
    yield PublishingStep("Asking the Hub", 0, 1)
    with as_sentences(repo):  # before minutes are spent on what it would refuse
        api.whoami()
    with _workplace(run, PUBLISHING) as work:
        made = yield from _make(run, form, work)
        files = work / FILES
        _write_texts(run, made, license, repo, files)
        size = sum(file.stat().st_size for file in files.iterdir())
        yield PublishingStep(f"Uploading {max(1, round(size / 1e6)):,} MB", 0, 0)
        push_files(api, repo, files, form, private)
    yield PublishingStep("Pushed", 1, 1, f"{api.endpoint}/{repo}", commands(run, form, repo, made.loaded))


@contextmanager
def _workplace(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder to make a model in; what killed processes left there, as large as a model, goes first."""
    clear_work_folders(parent, prefix)
    with work_folder(parent, prefix) as folder:
        yield folder


def fits_beside(run: Path, form: str) -> bool:
    """Whether making it fits into the memory beside what is there; on a GPU, whose memory one model fills, never."""
    shape = base_shape(read_settings(run).base_model)
    needed = merging_bytes(shape.weights if shape else 0, form)
    return not gpu_name() and needed < psutil.virtual_memory().available


def _check_run(run: Path, form: str) -> None:
    if not family_of_base(read_settings(run).base_model).is_published:
        raise RunError(
            f"Run {run.name} trained a reader, which only this project can ask; there is no form to publish it in."
        )
    if form not in FORMS:
        raise RunError(f"A model cannot be published as {form!r}; choose {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    if not has_adapter(run):
        raise RunError(f"Run {run.name} has no adapter yet; finish its training first.")


def _make(run: Path, form: str, work: Path) -> Generator[PublishingStep, None, Made]:
    """Let the child make it in `work/files`, and tell how far it is.

    Returns:
        What was made.
    """
    with _child(run, form, work) as child:
        told = 0
        while True:
            ended = child.poll() is not None  # before the look, so that nothing it wrote last is missed
            events = list(read_log(work / PROGRESS)) if (work / PROGRESS).is_file() else []
            for event in events[told:]:
                if "error" in event:
                    raise RunError(event["error"])
                yield PublishingStep(**event)
            told = len(events)
            if ended:
                break
            time.sleep(POLL_SECONDS)
    if not (work / MADE).is_file():
        raise RunError(
            "The model could not be made: its process was killed, perhaps for want of memory; free some, then try again."
        )
    return Made(form=form, **read_json(work / MADE))


@contextmanager
def _child(run: Path, form: str, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process that makes it, which ends with the block. A token that somebody typed does not go there."""
    command = [sys.executable, "-m", "pipeline.publishing.make", str(run.resolve()), form, str(work.resolve())]
    with (work / LOG).open("wb") as log:
        child = subprocess.Popen(
            command, cwd=PROJECT, env=SHORT_SPIN | os.environ | QUIET, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def _write_texts(run: Path, made: Made, license: str, name: str, folder: Path) -> None:
    write_text(folder / "README.md", model_card(run, made, license, name))
    if made.form == "gguf":
        settings = read_settings(run)
        base = local_folder(settings.base_model)
        chat = chat_of(base) if base and settings.prompt_format == CHAT else None
        write_text(folder / "Modelfile", modelfile(chat))


def push_files(api: "HfApi", repo: str, files: Path, form: str, private: bool) -> None:
    """Push a folder as one commit, and compare what is on the Hub then with what was sent.

    Raises:
        HubError: the Hub refused it, cannot be reached, or holds other files afterwards.
    """
    with as_sentences(repo):
        commit = _push(api, repo, files, form, private)
        _check_arrived(api, repo, files, commit)


def _push(api: "HfApi", repo: str, files: Path, form: str, private: bool) -> str:
    """One commit with all files; the parts of an older model go, which would be loaded instead. Returns its id."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    open_repository(api, repo, private, kind="model")
    there = api.list_repo_files(repo)
    if other := next((mark for kind, mark in MARKS.items() if kind != form and mark in there), ""):
        raise HubError(f"{repo} holds another form of a model already ({other}); choose another name for this one.")
    added = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file) for file in sorted(files.iterdir())]
    names = {operation.path_in_repo for operation in added}
    stale = [name for name in there if _PART.fullmatch(name) and name not in names]
    gone = [CommitOperationDelete(path_in_repo=name) for name in stale]
    return api.create_commit(repo, [*added, *gone], commit_message=f"Shelftalk {form}", num_threads=2).oid


def _check_arrived(api: "HfApi", repo: str, files: Path, commit: str) -> None:
    """Compare the commit's files with the local ones, by their checksums.

    Raises:
        HubError: one is missing or another.
    """
    checked = api.verify_repo_checksums(repo, revision=commit, local_dir=files)
    if wrong := [*(mismatch["path"] for mismatch in checked.mismatches), *checked.extra_paths]:
        raise HubError(f"{wrong[0]} on the Hub is not what was sent; push again.")
