"""Pushing a dataset, to a local server that speaks the Hub's API: what arrives, what is refused, and what never leaves."""

import io
import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml

from pipeline.dataset.store import Dataset
from pipeline.errors import HubError
from pipeline.files import read_json
from pipeline.publishing.hub import as_sentences, push_dataset
from tests.servers.hub import TOKEN, HubServer, Repository

REPO = "mira/kites"
STORED = f"datasets/{REPO}"
FILES = ["README.md", "data/test.parquet", "data/train.parquet", "dataset.json", "manifest.json"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its storage is another server
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def push(
    dataset: Dataset, repo: str = REPO, token: str = TOKEN, license: str = "cc-by-4.0", private: bool = True
) -> str:
    return push_dataset(dataset, repo, license=license, token=token, private=private)


def refusal(dataset: Dataset, **wrong: str) -> str:
    """The sentence of a push that is refused; what it says, and its whole traceback, hold no token."""
    with pytest.raises(HubError) as caught:
        push(dataset, **wrong)
    told, token = "".join(traceback.format_exception(caught.value)), wrong.get("token", TOKEN)
    assert not token or token not in told
    return str(caught.value)


# --- What arrives ---


def test_everything_arrives_privately_and_in_one_commit(dataset: Dataset, hub: HubServer) -> None:
    assert push(dataset) == f"{hub.url}/datasets/{REPO}"
    repository = hub.repositories[STORED]
    assert (repository.private, repository.commits) == (True, [f"Dataset {dataset.folder.name}"])
    assert sorted(repository.files) == FILES
    for name, rows in (("train", dataset.training()), ("test", dataset.held_out())):
        table = pyarrow.parquet.read_table(io.BytesIO(repository.files[f"data/{name}.parquet"]))
        assert table.to_pylist() == rows
    assert repository.files["dataset.json"] == (dataset.folder / "dataset.json").read_bytes()
    assert yaml.safe_load(repository.files["manifest.json"]) == dataset.manifest


def test_the_card_arrives_with_yaml_that_names_the_files(dataset: Dataset, hub: HubServer) -> None:
    push(dataset)
    _, matter, text = hub.repositories[STORED].files["README.md"].decode().split("---\n", 2)
    read = yaml.safe_load(matter)
    assert read["license"] == "cc-by-4.0"
    paths = [file["path"] for file in read["configs"][0]["data_files"]]
    assert paths == ["data/train.parquet", "data/test.parquet"] and set(paths) < set(hub.repositories[STORED].files)
    assert text.strip().startswith("# Questions and answers")


def test_nothing_but_the_push_leaves_and_no_file_holds_the_token(
    dataset: Dataset, hub: HubServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    push(dataset)
    assert [request.replace(REPO, "it").partition("/stored/")[0] for request in hub.requests] == [
        "GET /api/datasets/it",
        "POST /api/repos/create",
        "POST /api/validate-yaml",
        "POST /api/datasets/it/preupload/main",
        "POST /datasets/it.git/info/lfs/objects/batch",
        "PUT ",
        "PUT ",
        "POST /api/datasets/it/commit/main",
    ]
    assert TOKEN not in caplog.text
    assert not any(TOKEN.encode() in data for data in hub.repositories[STORED].files.values())
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_address_of_a_server_stays_at_home(dataset: Dataset, hub: HubServer) -> None:
    settings = dataset.manifest["settings"] | {"generator": "tiny-1 at http://me:secret@192.0.2.7:8080/v1?key=sk-9"}
    push(replace(dataset, manifest=dataset.manifest | {"settings": settings}))
    files = hub.repositories[STORED].files
    assert b"by the model `tiny-1` at `192.0.2.7`" in files["README.md"]
    assert yaml.safe_load(files["manifest.json"])["settings"]["generator"] == "tiny-1 at 192.0.2.7"
    assert not any(word in data for data in files.values() for word in (b"secret", b"8080", b"sk-9"))
    assert read_json(dataset.folder / "manifest.json") == dataset.manifest


def test_a_repository_that_is_there_gets_one_more_commit(dataset: Dataset, hub: HubServer) -> None:
    hub.repositories[STORED] = Repository(private=True, files={"notes.txt": b"mine"})
    push(dataset)
    push(dataset, private=False)
    assert len(hub.repositories[STORED].commits) == 2 and hub.repositories[STORED].private
    assert sorted(hub.repositories[STORED].files) == [*FILES, "notes.txt"]
    assert "POST /api/repos/create" not in hub.requests


def test_a_public_push_is_public(dataset: Dataset, hub: HubServer) -> None:
    push(dataset, private=False)
    assert not hub.repositories[STORED].private


def test_the_token_can_come_from_the_environment(
    dataset: Dataset, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    push(dataset, token="")
    assert STORED in hub.repositories


# --- What is refused ---


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token": ""}, "There is no token for the Hub; make one with write access at https://huggingface.co"),
        ({"token": "hf_a\nb: c12345"}, "The token has characters that none can have"),
        ({"token": "hf_schlüssel1"}, "The token has characters that none can have"),
        ({"token": "hf_not-the-right-one"}, "The Hub does not know this token"),
        ({"license": ""}, "No license is chosen; choose one of apache-2.0, mit"),
        ({"license": "do what you want"}, "'do what you want' is no license id"),
        ({"repo": "kites"}, "'kites' cannot be a name on the Hub; write it as user/name"),
        ({"repo": "../../etc"}, "cannot be a name"),
        ({"repo": "mira/kites/x"}, "cannot be a name"),
        ({"repo": "mira/ki--tes"}, "cannot be a name"),
        ({"repo": "mira/<b>"}, "cannot be a name"),
        ({"repo": ""}, "'' cannot be a name"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_made(
    wrong: dict[str, str], said: str, dataset: Dataset, hub: HubServer
) -> None:
    assert said in refusal(dataset, **wrong)
    assert not hub.repositories and (hub.requests == [] or "not-the-right" in wrong.get("token", ""))


@pytest.mark.parametrize(
    ("endpoint", "status", "said"),
    [
        ("/repos/create", 403, "This token may not write to mira/kites; make one with write access"),
        ("/repos/create", 400, "The Hub refused to take mira/kites (HTTP 400)"),
        ("/repos/create", 404, "There is no mira on the Hub that this token may write for"),
        ("/repos/create", 503, "The Hub has a problem of its own (HTTP 503)"),
        ("/repos/create", 429, "too many requests"),
        ("/preupload/", 403, "This token may not write to mira/kites"),
        ("/objects/batch", 401, "The Hub does not know this token"),
        ("/stored/", 403, "This token may not write to mira/kites"),
        ("/validate-yaml", 400, "The Hub refused to take mira/kites (HTTP 400)"),
        ("/commit/", 403, "This token may not write to mira/kites"),
        ("/commit/", 500, "The Hub has a problem of its own (HTTP 500)"),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence_and_leaves_no_half_of_a_dataset(
    endpoint: str, status: int, said: str, dataset: Dataset, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    hub.failures[endpoint] = status
    message = refusal(dataset)
    assert said in message and "No: " not in message and message.endswith(".")
    assert not any(repository.files or repository.commits for repository in hub.repositories.values())
    assert TOKEN not in caplog.text
    hub.failures.clear()
    push(dataset)
    assert sorted(hub.repositories[STORED].files) == FILES


def test_a_public_repository_is_not_taken_for_a_private_one(dataset: Dataset, hub: HubServer) -> None:
    hub.repositories[STORED] = Repository(private=False)
    assert "mira/kites is public already, so it was left alone" in refusal(dataset)
    assert not hub.repositories[STORED].files
    push(dataset, private=False)
    assert sorted(hub.repositories[STORED].files) == FILES


def test_without_a_network_it_says_so(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    assert refusal(dataset) == "The Hub cannot be reached (ConnectError); check the connection, then push again."


def test_a_fault_of_ours_is_not_called_the_hub_s(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(HubError) as caught, as_sentences(STORED):
        {}["nothing"]
    said = re.fullmatch(
        r"Unexpected error \(KeyError\)\. Try again; details are in the log under (\w+)\.", str(caught.value)
    )
    assert said and f"Unexpected error {said[1]}" in caplog.text and "nothing" in caplog.text
