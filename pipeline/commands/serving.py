"""`serve`, `renew`, `keys`, `questions`: a run behind the OpenAI API, out of which catalogue, who may ask, and what was asked."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.inputs import ContentColumns, TitleColumn, open_catalogue
from pipeline.commands.terminal import say
from pipeline.errors import SettingsError
from pipeline.serving.callers import is_loopback, origin_of
from pipeline.serving.keys import PER_MINUTE, WAITING, add_key, list_keys, revoke_key, without_hash

BACKEND_KEY = "SHELFTALK_BACKEND_KEY"
"""Names the variable with what a backend wants as its key."""

app = typer.Typer()
keys = typer.Typer(help="The keys of those who may ask what `serve` serves.", rich_markup_mode=None)
app.add_typer(keys, name="keys")
questions = typer.Typer(help="What people asked, where `serve --keep-questions` kept it.", rich_markup_mode=None)
app.add_typer(questions, name="questions")


def _print_rows(rows: list[dict[str, Any]], none: str) -> None:
    """A line of JSON each, or the sentence where there are none."""
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    if not rows:
        say(none)


RunNamed = Annotated[Path, typer.Argument(metavar="RUN", help="its folder or its name")]


@app.command()
def serve(
    run: RunNamed,
    way: Annotated[str, typer.Option(metavar="WAY", help="how it answers: auto, open, closed or extractive")] = "auto",
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="where it listens; 0.0.0.0 is everywhere")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free")] = 8000,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="a shop's pages that may ask without a key; can be repeated"),
    ] = None,
    keep_questions: Annotated[
        int, typer.Option(metavar="DAYS", help="keep what is asked (never who asks) for so many days; 0 keeps nothing")
    ] = 0,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="a proxy on this machine passes on what others ask")
    ] = False,
    backend: Annotated[
        str, typer.Option(metavar="URL", help="another OpenAI API that says the model's words, such as vLLM's")
    ] = "",
    backend_model: Annotated[
        str, typer.Option(metavar="NAME", help="the run's model there; can be left out where it has one")
    ] = "",
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Serve a run as an OpenAI API. Prints its address; Ctrl-C lets it finish what it took."""
    origins = tuple(origin_of(text) for text in origin or ())
    from pipeline.answering.backend import Backend
    from pipeline.serving.asked import check_days
    from pipeline.serving.desk import Desk, run_named
    from pipeline.serving.process import serve
    from pipeline.serving.server import Settings
    from pipeline.serving.switch import end_with_parent

    if with_parent:
        end_with_parent()
    if not is_loopback(host) and not list_keys() and not origins:
        say("Only this machine can ask: there is no key yet (`python -m pipeline keys add NAME`) and no --origin.")

    def ready(address: str) -> None:
        if origins:
            server = address.removesuffix("/v1")
            say(f'For the pages of {", ".join(origins)}: <script src="{server}/embed.js" defer></script>')
        print(address, flush=True)

    words = Backend(backend, backend_model, os.environ.get(BACKEND_KEY, "")) if backend else None
    days = check_days(keep_questions)
    desk = Desk(run_named(run), way, tells_doubt=days > 0, backend=words)
    serve(desk, Settings(host, port, origins, behind_proxy, days), say, ready)
    say("Stopped; everything that was taken is answered.")


@app.command()
def renew(
    run: RunNamed,
    catalogue: Annotated[
        Path | None, typer.Argument(metavar="CATALOGUE", help="a newer file of its products", show_default=False)
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="answer from the catalogue that it was taught again")] = False,
    title_column: TitleColumn = "",
    content_column: ContentColumns = None,
) -> None:
    """Let a run answer from a newer catalogue, without training. A server that runs does so from the next question on."""
    from pipeline.answering.renewed import as_it_was, renew
    from pipeline.runs.folder import read_settings
    from pipeline.serving.desk import run_named

    if back == (catalogue is not None):
        raise SettingsError("Name either a CATALOGUE to answer from, or --back.")
    folder = run_named(run)
    read_settings(folder)
    if catalogue is None:
        as_it_was(folder)
        say(f"Run {folder.name} answers from the catalogue that it was taught.")
        return
    said = renew(folder, open_catalogue(catalogue, 0, title_column, content_column))
    say(f"Run {folder.name} answers from {catalogue.name} now: {said}")


@keys.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="whose it is")],
    per_minute: Annotated[int, typer.Option(help="requests a minute")] = PER_MINUTE,
    waiting: Annotated[int, typer.Option(help="questions that may wait at once")] = WAITING,
) -> None:
    """Make a key and print it. This is the only time that it is shown."""
    secret, key = add_key(name, per_minute=per_minute, waiting=waiting)
    say(f"The key of {key.name} (revoke it as {key.id}); keep it now, it cannot be shown again:")
    print(secret)


@keys.command("list")
def list_() -> None:
    """List the keys: a line of JSON each, without the keys themselves."""
    none = "There is no key yet; `python -m pipeline keys add NAME` makes one."
    _print_rows([without_hash(key) for key in list_keys()], none)


@keys.command()
def revoke(key: Annotated[str, typer.Argument(metavar="KEY", help="its id or its name")]) -> None:
    """Revoke a key. A server that runs refuses it from the next request on."""
    gone = revoke_key(key)
    say(f"The key of {gone.name} ({gone.id}) is revoked.")


@questions.command("list")
def list_questions() -> None:
    """List what people asked, the most doubtful first. A line of JSON each, as `judge` reads it."""
    from pipeline.serving.asked import asked_questions

    none = "No question is kept; `serve RUN --keep-questions DAYS` keeps them."
    _print_rows([asdict(one) for one in asked_questions()], none)


@questions.command("forget")
def forget() -> None:
    """Delete what people asked, for good."""
    from pipeline.serving.asked import forget_questions

    say(f"{forget_questions():,} questions are deleted.")
