"""The API as its callers see it: OpenAI's own client against a real server, many at once, and those who mean no good."""

import asyncio
import json
import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from pipeline.__main__ import main
from pipeline.dataset.edits import keep_edit
from pipeline.dataset.taught import forget, new_lesson
from pipeline.prompts import REFUSAL, SILENCE
from pipeline.serving.process import listening
from pipeline.serving.server import Settings
from pipeline.serving.transport import LARGEST_BODY
from tests.children import wait_for
from tests.serving.conftest import PATIENCE, Served, copied_run, serving

ASKED = {
    "What colour is the Pell & Daughter Teapot?": "Pale green.",
    "how many pages has the salt road atlas": "212 pages.",
    "what does the Harrow Lane Lamp weigh": "2 pounds.",
    "how many pieces has the tin harbour puzzle": "500 pieces.",
}


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=PATIENCE) as client:
        yield client


def error_of(reply: httpx.Response) -> dict[str, Any]:
    """The error of a reply, which has OpenAI's shape and a sentence without a traceback."""
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".") and "Traceback" not in reply.text
    return error


def test_every_run_is_a_model_and_so_is_the_base(served: Served) -> None:
    client = served.client()
    assert [model.id for model in client.models.list()] == [served.run.name, "base"]
    assert client.models.retrieve("base").id == "base"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")


def test_what_the_owner_puts_right_is_answered_so_by_the_server_that_runs(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(served.home))
    client, question = served.client(), "What colour is the Pell & Daughter Teapot?"

    def told(asked: str, **more: Any) -> tuple[Any, ...]:
        message = client.chat.completions.create(model=served.run.name, messages=user(asked), **more).choices[0].message
        extra = message.model_dump()["shelftalk"]
        return message.content, extra["way"], extra["source"], extra["product"]["uid"]

    before = told(question)
    edit = new_lesson("T4", "Pell & Daughter Teapot", "which colour is it", "dark red", "colour")
    keep_edit(edit)
    try:
        assert told(question) == ("Dark red.", "shop", "", "T4")
        assert told("what colour is it?", extra_body={"product": "T4"}) == ("Dark red.", "shop", "", "T4")
        assert told("how many pages has the salt road atlas")[1] == "auto"
    finally:
        forget(edit.row)
    assert told(question) == before == ("Pale green.", "auto", "Colour: pale green", "T4")


def test_a_run_answers_to_the_name_of_a_tuned_model_of_openai(served: Served) -> None:
    """By which LlamaIndex takes it, that knows no other names."""
    client, question = served.client(), next(iter(ASKED))
    for name in (f"ft:gpt-4o-mini:{served.run.name}", f"ft::{served.run.name}"):
        reply = client.chat.completions.create(model=name, messages=user(question))
        assert reply.choices[0].message.content == ASKED[question] and reply.model == name
    for name in ("ft:gpt-4o-mini", "ft:gpt-4o-mini:", "ft:gpt-4o-mini:nothing"):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=name, messages=user(question))


def test_an_answer_says_its_kind_its_source_and_its_product(served: Served) -> None:
    client = served.client()
    for question, answer, extra in (
        (
            "What colour is the Pell & Daughter Teapot?",
            "Pale green.",
            {
                "says": "value",
                "source": "Colour: pale green",
                "product": {"title": "Pell & Daughter Teapot", "uid": "T4"},
                "candidates": ["Pell & Daughter Teapot"],
                "way": "auto",
            },
        ),
        (
            "what does the Brindlewick Kite weigh",
            SILENCE,
            {
                "says": "silent",
                "source": "",
                "product": {"title": "Brindlewick Kite", "uid": "T1"},
                "candidates": ["Brindlewick Kite"],
                "way": "auto",
            },
        ),
        (
            "how heavy is the iphone",
            REFUSAL,
            {"says": "unknown", "source": "", "product": None, "candidates": [], "way": "auto"},
        ),
    ):
        message = client.chat.completions.create(model=served.run.name, messages=user(question)).choices[0].message
        assert message.content == answer
        told = message.model_dump()["shelftalk"]
        assert told.pop("seconds") > 0 and told == extra


@pytest.mark.parametrize("product", ["Harrow Lane Lamp", "T5"])
def test_the_product_that_a_customer_stands_on_is_meant_unless_another_is_named(served: Served, product: str) -> None:
    def asked(question: str, page: str) -> Any:
        reply = served.client().chat.completions.create(
            model=served.run.name, messages=user(question), extra_body={"product": page}
        )
        return reply.choices[0].message

    assert asked("what does it weigh", product).content == "2 pounds."
    assert asked("How many pages does The Salt Road Atlas have?", product).content == "212 pages."
    assert asked("How many pages does The Salt Road Atlas have?", "Welcome to our shop").content == "212 pages."
    assert asked("what does it weigh", "Welcome to our shop").content == REFUSAL


def test_the_last_question_of_a_history_is_asked_in_any_form(served: Served) -> None:
    history: Any = [
        {"role": "system", "content": "Answer in French."},
        *user("how many pages has the salt road atlas"),
        {"role": "assistant", "content": "212 pages."},
        {"role": "user", "content": [{"type": "text", "text": "what does the Harrow Lane Lamp weigh"}]},
    ]
    reply = served.client().chat.completions.create(
        model=served.run.name, messages=history, temperature=0.7, top_p=0.9, seed=3, max_tokens=100, user="someone"
    )
    assert reply.choices[0].message.content == "2 pounds."


def test_a_stream_gives_the_same_answer(served: Served) -> None:
    stream = served.client().chat.completions.create(
        model=served.run.name,
        messages=user("what is the Tin Harbour Puzzle"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk.model_dump() for chunk in stream]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta["content"] or "" for delta in deltas) == "A puzzle of a harbour at dawn."
    assert len(deltas) > 2 and deltas[0]["role"] == "assistant"
    assert deltas[-1]["shelftalk"]["source"] == "A puzzle of a harbour at dawn."
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == chunks[-1]["usage"]["prompt_tokens"] + 7


def test_completions_answer_each_prompt(served: Served) -> None:
    client = served.client()
    reply = client.completions.create(model=served.run.name, prompt=list(ASKED))
    assert [choice.text for choice in reply.choices] == list(ASKED.values())
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    stream = client.completions.create(model=served.run.name, prompt=list(ASKED), stream=True)
    texts = dict.fromkeys(range(4), "")
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert list(texts.values()) == list(ASKED.values())


def test_32_callers_at_once_get_their_own_answers(served: Served) -> None:
    client = served.client()

    def ask(number: int) -> tuple[str, str]:
        question = list(ASKED)[number % len(ASKED)]
        if number % 2:
            reply = client.chat.completions.create(model=served.run.name, messages=user(question))
            return question, reply.choices[0].message.content or ""
        stream = client.chat.completions.create(model=served.run.name, messages=user(question), stream=True)
        return question, "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    with ThreadPoolExecutor(32) as callers:
        for question, answer in callers.map(ask, range(64)):
            assert answer == ASKED[question]


def test_a_model_s_answers_do_not_cross_either(served: Served) -> None:
    client, titles = served.client(), ["Kite", "Teapot", "Lamp", "Puzzle", "Atlas", "Blanket", "Tram", "Doors"]

    def ask(title: str) -> str:
        reply = client.completions.create(model="base", prompt=f"Say what the {title} is, please.")
        return reply.choices[0].text

    alone = [ask(title) for title in titles]
    assert len(set(alone)) > 1
    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(ask, titles)) == alone


# --- Bad input ---


def post(http: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    """A request with whatever in it, half characters too."""
    return http.post("/chat/completions", content=json.dumps(body), headers={"content-type": "application/json"})


QUESTION = {"messages": [{"role": "user", "content": "how heavy is it"}]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": QUESTION["messages"] * 1000}, "messages"),
        ({"messages": [{"role": "system", "content": "hello"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "hello"}]}, "messages[0]"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": "  \ud800 "}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 5000}]}, "messages"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 50}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"product": ["T5"]}, "product"),
        ({"product": "x" * 5000}, "product"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    served: Served, http: httpx.Client, change: dict[str, Any], param: str
) -> None:
    reply = post(http, {"model": served.run.name, **QUESTION, **change})
    assert reply.status_code == 400
    assert error_of(reply)["param"] == param


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"null", b'"text"', b"[" * 100_000, b"\xff\xfe", b'{"model": NaN}']
)
def test_a_body_that_is_no_request_is_refused(http: httpx.Client, body: bytes) -> None:
    reply = http.post("/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    error_of(reply)


@pytest.mark.parametrize("prompt", [None, [], [[1, 2]], {"a": 1}, ["x"] * 17, "", ["fine", ""]])
def test_prompts_that_are_none_are_refused(served: Served, http: httpx.Client, prompt: Any) -> None:
    reply = http.post("/completions", json={"model": served.run.name, "prompt": prompt})
    assert reply.status_code == 400
    assert error_of(reply)["param"] == "prompt"


def test_a_question_with_half_a_character_or_markup_is_answered(served: Served, http: httpx.Client) -> None:
    for text in ("what does the Harrow Lane Lamp weigh \ud83d", "<b>what does the Harrow Lane Lamp weigh</b>"):
        reply = post(http, {"model": served.run.name, "messages": user(text)})
        assert reply.json()["choices"][0]["message"]["content"] == "2 pounds."


def test_unknown_addresses_models_and_types_have_the_same_shape(served: Served, http: httpx.Client) -> None:
    for reply, status in (
        (http.get("/nothing"), 404),
        (http.get("/chat/completions"), 405),
        (http.post("/chat/completions", json={"model": "gpt-5", **QUESTION}), 404),
        (http.post("/chat/completions", json={"model": "../../etc", **QUESTION}), 404),
        (post(http, {"model": "\ud800", **QUESTION}), 404),
        (http.post("/chat/completions", content=json.dumps(QUESTION)), 415),
    ):
        assert reply.status_code == status
        error_of(reply)


def connection(served: Served) -> socket.socket:
    parts = urlsplit(served.url)
    return socket.create_connection((parts.hostname, parts.port), PATIENCE)


HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def test_ten_megabytes_are_refused_before_they_are_sent(served: Served) -> None:
    with closing(connection(served)) as line:
        line.sendall(f"{HEAD}Content-Length: 10000000\r\n\r\n".encode())
        assert line.recv(20).startswith(b"HTTP/1.1 413")
    with pytest.raises(openai.APIStatusError) as refused:
        served.client().chat.completions.create(model="base", messages=user("x" * 10_000_000))
    assert refused.value.status_code == 413


def test_a_body_that_does_not_say_its_length_is_cut_off(served: Served) -> None:
    with closing(connection(served)) as line:
        line.sendall(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        part = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        for _ in range(LARGEST_BODY // 0x8000 + 1):
            line.sendall(part)
        assert line.recv(20).startswith(b"HTTP/1.1 413")


def test_another_site_may_neither_ask_nor_lead_here(served: Served, http: httpx.Client) -> None:
    body = {"model": served.run.name, **QUESTION}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        reply = http.post("/chat/completions", json=body, headers=headers)
        assert reply.status_code == 403 and "access-control-allow-origin" not in reply.headers
        assert error_of(reply)["code"] == "origin_not_allowed"
    reply = http.post("/chat/completions", json=body, headers={"host": "evil.example"})
    assert reply.status_code == 403
    assert error_of(reply)["code"] == "unknown_host"


def test_who_hangs_up_leaves_the_line_and_the_others_are_answered(served: Served) -> None:
    for is_stream in (False, True):
        body = json.dumps({"model": "base", **QUESTION, "stream": is_stream})
        for _ in range(8):
            with closing(connection(served)) as line:
                line.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                line.shutdown(socket.SHUT_RDWR)
    reply = served.client().chat.completions.create(model=served.run.name, messages=user(next(iter(ASKED))))
    assert reply.choices[0].message.content == "Pale green."


def test_keys_are_made_and_revoked_while_it_is_served(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(served.home))
    with pytest.raises(openai.AuthenticationError) as wrong:
        served.client("sk-shelftalk-wrong").models.list()
    assert wrong.value.code == "invalid_api_key"
    assert main(["keys", "add", "shop", "--per-minute", "2"]) == 0
    key = capsys.readouterr().out.strip()
    client = served.client(key)
    for _ in range(2):
        client.chat.completions.create(model=served.run.name, messages=user("how heavy is it"))
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model=served.run.name, messages=user("how heavy is it"))
    assert 1 <= int(limited.value.response.headers["retry-after"]) <= 61
    assert main(["keys", "add", "two at once", "--waiting", "1"]) == 0
    second = served.client(capsys.readouterr().out.strip())
    with pytest.raises(openai.RateLimitError):
        second.completions.create(model=served.run.name, prompt=["how heavy is it"] * 2)
    assert main(["keys", "revoke", "shop"]) == 0
    with pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_reply_tells_its_place_in_the_line(served: Served, http: httpx.Client) -> None:
    reply = http.post("/chat/completions", json={"model": served.run.name, **QUESTION})
    assert reply.headers["x-queue-place"] == "0" and int(reply.headers["x-queue-seconds"]) >= 1


# --- Servers of their own ---


def test_a_port_that_is_taken_is_told_in_a_sentence(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(served.home))
    port = urlsplit(served.url).port
    assert main(["serve", served.run.name, "--port", str(port)]) == 2
    assert f"port {port}, cannot be served on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "is not a run folder"),
        (["{run}", "--way", "guess"], "choose of auto"),
        (["{run}", "--host", "no.such.host.invalid"], "cannot be served on"),
        (["{run}", "--origin", "*"], "is no origin"),
        (["{run}", "--origin", "https://shop.example/path"], "is no origin"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_sentence(
    served: Served, words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFTALK_HOME", str(served.home))
    assert main(["serve", *(word.format(run=served.run.name) for word in words), "--port", "0"]) == 2
    said = capsys.readouterr()
    assert says in said.err and not said.out


def test_behind_a_proxy_this_machine_is_nobody_special(finished_run: Path, tmp_path: Path) -> None:
    shop = "https://shop.example"
    with serving(copied_run(finished_run, tmp_path / "home"), "--behind-proxy", "--origin", f"{shop}/") as served:
        with pytest.raises(openai.AuthenticationError):
            served.client().models.list()
        with httpx.Client(base_url=served.url, timeout=PATIENCE, headers={"origin": shop}) as page:
            asked = {"model": served.run.name, **QUESTION}
            allowed = page.options("/chat/completions", headers={"access-control-request-method": "POST"})
            assert allowed.status_code == 204 and allowed.headers["access-control-allow-origin"] == shop
            for address in ("203.0.113.1", "198.51.100.7, 203.0.113.2"):
                headers = {"x-forwarded-for": address}
                codes = [page.post("/chat/completions", json=asked, headers=headers).status_code for _ in range(21)]
                assert codes == [200] * 20 + [429]
            other = page.post("/chat/completions", json=asked, headers={"x-forwarded-for": "203.0.113.9"})
            assert other.headers["access-control-allow-origin"] == shop
            limited = page.post("/chat/completions", json=asked, headers={"x-forwarded-for": "1.1.1.1, 203.0.113.2"})
            assert limited.status_code == 429 and limited.headers["access-control-allow-origin"] == shop
            told = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.2")]  # the last line is the proxy's
            assert page.post("/chat/completions", json=asked, headers=told).status_code == 429
            base = page.post("/chat/completions", json={"model": "base", **QUESTION})
            assert base.status_code == 404  # pages ask the served run alone


def test_a_run_that_is_deleted_is_no_model_any_more(finished_run: Path, tmp_path: Path) -> None:
    run = copied_run(finished_run, tmp_path / "home")
    other = Path(shutil.copytree(run, run.with_name("other")))
    with serving(run, "--way", "closed") as served:
        client = served.client()
        assert sorted(model.id for model in client.models.list()) == sorted(["base", "other", run.name])
        for name in ("other", run.name):
            reply = client.chat.completions.create(model=name, messages=user("What is the Brindlewick Kite?"))
            assert reply.choices[0].message.model_dump()["shelftalk"]["way"] == "closed"
        shutil.rmtree(other)
        shutil.rmtree(run)
        for name in ("other", run.name, "base"):
            with pytest.raises(openai.NotFoundError) as gone:
                client.chat.completions.create(model=name, messages=user("What is the Brindlewick Kite?"))
            assert gone.value.code == "model_not_found"
        assert not list(client.models.list())


def test_on_sigterm_what_was_taken_is_answered_and_nothing_else(finished_run: Path, tmp_path: Path) -> None:
    with serving(copied_run(finished_run, tmp_path / "home")) as served:
        client, begun = served.client(), []

        def ask(number: int) -> str:
            begun.append(number)
            return client.completions.create(model="base", prompt=f"What is number {number}?").choices[0].text

        with ThreadPoolExecutor(40) as callers:
            answers = [callers.submit(ask, number) for number in range(40)]
            wait_for(lambda: len(begun) == 40 and any(answer.done() for answer in answers))
            served.process.send_signal(signal.SIGTERM)
            taken = [answer.exception(PATIENCE) for answer in answers]
        refusals = [error for error in taken if error is not None]
        # Those that came after the signal are refused, whichever they were; none is cut off.
        assert all(isinstance(error, openai.InternalServerError) and error.status_code == 503 for error in refusals)
        assert taken.count(None) >= 16
        assert served.process.wait(PATIENCE) == 0
        with pytest.raises(openai.APIConnectionError):
            client.models.list()
    assert "Traceback" not in (served.home / "serve.log").read_text()
    assert "Stopped; everything that was taken is answered." in (served.home / "serve.log").read_text()


def test_the_log_has_no_question_and_no_traceback(served: Served) -> None:
    log = (served.home / "serve.log").read_text()
    assert "Traceback" not in log and "Teapot" not in log


def test_no_reply_is_held_until_the_one_before_is_acknowledged() -> None:
    def answer(connection: asyncio.StreamWriter) -> int:
        return connection.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def connect() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        with listening(Settings(port=0)) as found:
            server = await asyncio.start_server(lambda _, writer: seen.set_result(answer(writer)), sock=found)
            async with server:
                _, writer = await asyncio.open_connection(*found.getsockname())
                said = await seen
                writer.close()
        return said

    assert asyncio.run(connect()) == 1
