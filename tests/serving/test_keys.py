"""Keys: shown once, kept as hashes that only their owner can read, listed, revoked."""

import json
import stat
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.errors import ServingError
from pipeline.logs import mask
from pipeline.serving.keys import KeyRing, add_key, keys_file, list_keys, revoke_key


def test_a_key_is_shown_once_and_its_file_is_its_owner_s(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "add", "shop"]) == 0
    key = capsys.readouterr().out.strip()
    assert key not in keys_file().read_text() and key not in mask(f"Bearer {key}")
    assert stat.S_IMODE(keys_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(keys_file().parent.stat().st_mode) == 0o700
    assert main(["keys", "list"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    listed = json.loads(line)
    assert listed["name"] == "shop" and "sha256" not in listed and key not in line
    assert main(["keys", "revoke", listed["id"]]) == 0
    assert list_keys() == []
    assert main(["keys", "list"]) == 0
    assert "no key yet" in capsys.readouterr().err


def test_a_ring_follows_the_file(home: Path) -> None:
    ring = KeyRing()
    assert ring.find("sk-shelftalk-anything") is None
    secret, key = add_key("one")
    other, _ = add_key("two")
    assert ring.find(secret) == key and ring.find(other) is not None
    revoke_key("one")
    assert ring.find(secret) is None and ring.find(other) is not None
    assert ring.find("\ud800") is None


def test_a_damaged_file_lets_nobody_in_and_says_so(home: Path) -> None:
    secret, _ = add_key("one")
    ring = KeyRing()
    assert ring.find(secret)
    for damaged in ("{", "[]", '{"keys": [{"id": 1}]}', '{"keys": 7}'):
        keys_file().write_text(damaged)
        for _ in range(2):
            with pytest.raises(ServingError, match="cannot be read"):
                ring.find(secret)
        with pytest.raises(ServingError):
            add_key("two")
        assert keys_file().read_text() == damaged


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\x00b", "\x1b[31m"])
def test_a_name_that_cannot_be_one_is_refused(home: Path, name: str) -> None:
    with pytest.raises(ServingError):
        add_key(name)


def test_a_name_is_taken_once_and_limits_are_limits(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_key("shop")
    for words in (["shop"], ["a", "--per-minute", "0"], ["a", "--waiting", "-1"], ["a", "--per-minute", "1000000"]):
        assert main(["keys", "add", *words]) == 2
    assert main(["keys", "revoke", "nobody"]) == 2
    assert not capsys.readouterr().out
