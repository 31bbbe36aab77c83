"""The Hugging Face Hub: its client, its refusals as sentences, and datasets pushed to it.

A push is a single commit, so that one that fails leaves no half of it.

The token goes to the Hub and nowhere else: no file, no log, no message. What the Hub replies is not repeated either.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pipeline.dataset.card import TEST_FILE, TRAIN_FILE, dataset_card, public_manifest
from pipeline.dataset.export import fingerprint_of, write_parquet
from pipeline.dataset.store import MANIFEST, RECORDS, Dataset
from pipeline.errors import HubError, disk_problem, is_unreached, unexpected
from pipeline.files import write_json, write_text

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 20
"""For the first question to the Hub, which tells whether it can be reached."""

WRITE = "repo.write"
"""What the Hub calls the permission to write, of a token that has been given some of them."""

_TOKENS = "https://huggingface.co/settings/tokens"
_TOKEN = re.compile(r"[\x21-\x7e]{8,}")


def writes_for(token: Mapping[str, Any]) -> frozenset[str] | None:
    """Whose repositories a token may write to, in small letters; None where that is everything of its user's.

    Args:
        token: what the Hub's `whoami` says of it, `accessToken`. Of a role that is not known it may write nothing.
    """
    role = token.get("role")
    if role == "write":
        return None
    scopes = token["fineGrained"]["scoped"] if role == "fineGrained" else ()
    return frozenset(
        str(scope["entity"]["name"]).casefold()
        for scope in scopes
        if scope["entity"]["type"] in ("user", "org") and WRITE in scope["permissions"]
    )


def push_dataset(
    dataset: Dataset, repo: str, *, license: str, token: str = "", private: bool = True, source_url: str = ""
) -> str:
    """Push a dataset as one commit: Parquet splits, `dataset.json`, `manifest.json` and the card.

    Args:
        repo: `user/name`; it is made when there is none, and gets one more commit when there is.
        license: one of `card.LICENSES`.
        token: with write access; `HF_TOKEN` when empty.
        private: whether only its owner may see it. A repository that is public already is refused then.
        source_url: where the catalogue comes from, for the card.

    Returns:
        The dataset's address.

    Raises:
        HubError: something is missing or wrong, or the Hub refused it or cannot be reached.
    """
    card = dataset_card(dataset, license, source_url=source_url)
    check_repo(repo)
    from huggingface_hub import CommitOperationAdd

    api = hub_api(token)
    with TemporaryDirectory() as folder:
        files = _files(dataset, card, Path(folder))
        added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
        with as_sentences(repo):
            open_repository(api, repo, private, kind="dataset")
            api.create_commit(
                repo, added, repo_type="dataset", commit_message=f"Dataset {fingerprint_of(dataset)}", num_threads=2
            )
    logger.info("Dataset %s pushed to %s", fingerprint_of(dataset), repo)
    return f"{api.endpoint}/datasets/{repo}"


def check_repo(repo: str) -> None:
    """Refuse a name that no repository can have.

    Raises:
        HubError: it is not of the form `user/name`, or has characters that the Hub does not take.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    with suppress(HFValidationError):
        validate_repo_id(repo)
        if repo.count("/") == 1:
            return
    raise HubError(f"{repo!r} cannot be a name on the Hub; write it as user/name, in letters, digits and `._-`.")


def hub_api(token: str = "") -> "HfApi":
    """The Hub's client with a token that is checked for its form only.

    Args:
        token: `HF_TOKEN` when empty.

    Raises:
        HubError: there is none, or it cannot be one.
    """
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=_checked(token))


def _checked(token: str) -> str:
    token = (token or os.environ.get("HF_TOKEN", "")).strip()
    if not token:
        raise HubError(f"There is no token for the Hub; make one with write access at {_TOKENS}, or set HF_TOKEN.")
    if not _TOKEN.fullmatch(token):  # it would be refused as a header, in a message that holds it
        raise HubError(f"The token has characters that none can have, or is too short; copy it again from {_TOKENS}.")
    return token


def _files(dataset: Dataset, card: str, folder: Path) -> dict[str, Path]:
    """The repository's files by their names there; what is not in the dataset's folder is written into `folder`."""
    made = {name: folder / Path(name).name for name in (TRAIN_FILE, TEST_FILE, MANIFEST, "README.md")}
    write_parquet(made[TRAIN_FILE], dataset.training())
    write_parquet(made[TEST_FILE], dataset.held_out())
    write_json(made[MANIFEST], public_manifest(dataset.manifest))
    write_text(made["README.md"], card)
    return {**made, RECORDS: dataset.folder / RECORDS}


def open_repository(api: "HfApi", repo: str, private: bool, *, kind: Literal["model", "dataset"]) -> None:
    """Make the repository if it is not there.

    Raises:
        HubError: it is there for everybody to see, and should not be.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.repo_info(repo, repo_type=kind, timeout=TIMEOUT_SECONDS)
    except RepositoryNotFoundError:  # the Hub says so to a wrong token, too, which then cannot make it
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        return
    if private and not found.private:
        raise HubError(f"{repo} is public already, so it was left alone; choose another name, or push it publicly.")


@contextmanager
def as_sentences(repo: str, special: Mapping[int, str] | None = None) -> Iterator[None]:
    """Turn what the Hub's client raises into a `HubError`. Its own messages may hold anything that a server says.

    Args:
        special: what to say to HTTP statuses that mean something of their own here.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:  # the Hub's errors, those of the two clients under it, and the disk's
        said = (special or {}).get(http_status(error) or 0)
        raise HubError(disk_problem(error) or said or _sentence(error, repo)) from None


def _sentence(error: BaseException, repo: str) -> str:
    status = http_status(error)
    owner = repo.split("/")[0]
    if status == 401:
        return f"The Hub does not know this token; copy it again, or make a new one at {_TOKENS}."
    if status == 403:
        return f"This token may not write to {repo}; make one with write access at {_TOKENS}, or choose a name of your own."
    if status == 404:
        return f"There is no {owner} on the Hub that this token may write for; check the name before the slash."
    if status == 429:
        return "The Hub has had too many requests from you; wait some minutes, then push again."
    if status is None and not is_unreached(error):
        return unexpected(error)
    if status is None:
        return f"The Hub cannot be reached ({type(error).__name__}); check the connection, then push again."
    if status < 500:
        return f"The Hub refused to take {repo} (HTTP {status}); try another name."
    return f"The Hub has a problem of its own (HTTP {status}); push again later."


def http_status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, which the uploads wrap in one of their own."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__ or error.__context__
    return None
