"""The journal, and how a reply is read, today or later."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.writing.api.replies import (
    CUT_OFF,
    INVALID,
    REFUSED,
    TOO_LARGE,
    Journal,
    Reply,
    UnusableReply,
    journal,
    read_reply,
    reply_of,
)
from tests.servers.api import KEY, completion

WORDS = Reply(content='{"words": ["a", "–", "\\u0000"]}', finish_reason="stop", tokens_in=3, tokens_out=4, seconds=0.5)


class Echo(BaseModel):
    words: list[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replies" / "j.jsonl"


def test_what_is_kept_is_found_again(path: Path) -> None:
    with Journal(path) as first:
        assert "k1" not in first
        first.append("k1", WORDS)
        first.append("k2", Reply(unreadable="no JSON"))
        assert first.get("k1") == WORDS
    with Journal(path) as second:
        assert second.get("k1") == WORDS
        assert second.get("k2") == Reply(unreadable="no JSON")
        assert second.get("k3") is None
    assert path.stat().st_mode & 0o077 == 0


def test_two_who_append_at_once_find_each_other_s(path: Path) -> None:
    with Journal(path) as one, Journal(path) as other:
        one.append("k1", WORDS)
        assert other.get("k1") == WORDS
        other.append("k2", Reply(content="2"))
        assert one.get("k2") == Reply(content="2")
        other.append("k1", Reply(content="later"))
        assert one.get("missing") is None
        assert one.get("k1") == Reply(content="later")


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_torn_line_is_dropped_and_ended(path: Path, cut: int) -> None:
    with Journal(path) as first:
        first.append("k1", WORDS)
        first.append("k2", WORDS)
    os.truncate(path, path.stat().st_size - cut)
    with Journal(path) as second:
        assert second.get("k2") is None
        second.append("k3", WORDS)
        assert second.get("k3") == WORDS
    with Journal(path) as third:
        assert third.get("k1") == third.get("k3") == WORDS
        # Only its end was missing, so with the next line's beginning the row is whole: it was paid for.
        assert ("k2" in third) == (cut == 1)


def test_lines_that_are_none_are_passed_over(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'\n\xff\xfe\n[]\n{"key": 1}\n{"key": "k", "reply": 7}\n"\\ud800"\n')
    with Journal(path) as found:
        assert "k" not in found
        found.append("k", WORDS)
        assert found.get("k") == WORDS


def test_many_large_replies_stay_on_disk(path: Path) -> None:
    """Lines longer than what is read at once, too."""
    with Journal(path) as first:
        for n in range(30):
            first.append(f"k{n}", Reply(content="x" * (300_000 + n)))
        assert len(first.get("k29").content or "") == 300_029  # type: ignore[union-attr]
    with Journal(path) as second:
        assert [len(second.get(f"k{n}").content) for n in range(30)] == [300_000 + n for n in range(30)]  # type: ignore[union-attr,arg-type]


_WRITER = """
import sys
from pathlib import Path
from pipeline.writing.api.replies import Journal, Reply
with Journal(Path(sys.argv[1])) as journal:
    for n in range(200):
        journal.append(f"{sys.argv[2]}-{n}", Reply(content=sys.argv[2] * 9000))
"""


def test_processes_append_at_once(path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in "abc"]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    with Journal(path) as found:
        kept = [found.get(f"{name}-{n}") for name in "abc" for n in range(200)]
    assert [reply.content[0] + reply.content[-1] for reply in kept if reply and reply.content] == [
        name * 2 for name in "abc" for _ in range(200)
    ]


def test_a_full_disk_is_no_reply_kept() -> None:
    with Journal(Path("/dev/full")) as full, pytest.raises(OSError, match="No space left"):
        full.append("k", WORDS)


def test_each_model_and_address_has_its_file(home: Path) -> None:
    names = set()
    for model in ("m", "../../etc/passwd", "a/b", "m" * 5000, "\0"):
        for url in ("http://one/v1", "http://two/v1"):
            with journal(model, url) as opened:
                names.add(opened.path)
    assert len(names) == 10
    assert {path.parent for path in names} == {home / "replies"}
    with journal("m", " http://one/v1/ ") as same:
        assert same.path in names


# --- Reading ---

UNUSABLE = {
    "refused": (completion(None, refusal="I cannot help with that.").body, REFUSED),
    "filtered": (completion("", "content_filter").body, REFUSED),
    "truncated": (completion('{"words": ["a', "length").body, CUT_OFF),
    "prose": (completion("Sure! Here are your words.").body, INVALID),
    "another form": (completion({"words": "none"}).body, INVALID),
    "empty": (completion(None).body, INVALID),
    "no choices": (b'{"choices": []}', INVALID),
    "no completion": (b"[1, 2]", INVALID),
    "half of it": (b'{"choices": [{"mess', INVALID),
    "a web page": (b"<html>Welcome to the hotel's wifi</html>", INVALID),
    "not text": (b"\xff\xfe\x00\x01", INVALID),
    "nothing": (b"", INVALID),
    "half a letter": (b'{"choices": [{"message": {"content": "\\ud800"}}]}', INVALID),
    "very deep": (b"[" * 100_000, INVALID),
    "too large": (completion("x" * 1_000_001).body, TOO_LARGE),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_reply_is_so_again_from_the_journal(path: Path, case: str) -> None:
    body, reason = UNUSABLE[case]
    reply = reply_of(body, KEY)
    with Journal(path) as first:
        first.append("k", reply)
    with Journal(path) as second:
        kept = second.get("k")
    assert kept == reply
    for each in (reply, kept):
        with pytest.raises(UnusableReply) as caught:
            read_reply(each, Echo)
        assert caught.value.reason == reason
        assert len(caught.value.problem) < 300


@pytest.mark.parametrize(
    "text", ["```json" + "\n" * 100_000, "```" + " \n" * 50_000 + "{", "\n" * 100_000 + "```json\n"]
)
def test_a_fence_and_nothing_but_lines_is_read_at_once(text: str) -> None:
    """It took minutes, in which the page stood still: here the test would not end."""
    with pytest.raises(UnusableReply):
        read_reply(Reply(content=text), Echo)


def test_a_reply_without_what_others_have_is_read() -> None:
    bare = json.dumps({"choices": [{"message": {"content": '```json\n{"words": ["a"]}\n```'}}], "usage": "much"})
    reply = reply_of(bare.encode(), "none")
    assert read_reply(reply, Echo).words == ["a"]
    assert (reply.tokens_in, reply.tokens_out) == (None, None)
    for usage in (
        {"prompt_tokens": -1, "completion_tokens": 1e99},
        {"prompt_tokens": True},
        [1],
        {"prompt_tokens": "7"},
    ):
        body = json.dumps({"choices": [{"message": {"content": "{}"}}], "usage": usage})
        assert reply_of(body.encode(), "").tokens_in is None


def test_a_key_that_is_echoed_is_not_kept() -> None:
    reply = reply_of(completion({"words": [f"Bearer {KEY}"]}).body, KEY)
    assert read_reply(reply, Echo).words == ["Bearer …"]
    assert read_reply(reply_of(completion({"words": ["none"]}).body, "none"), Echo).words == ["none"]
