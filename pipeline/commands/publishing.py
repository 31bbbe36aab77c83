"""`publish`: a run's model for others."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.inputs import License, Public, RunFolder, check_finished
from pipeline.commands.terminal import say
from pipeline.errors import SettingsError

Form = Literal["adapter", "merged", "gguf"]

app = typer.Typer()


@app.command()
def publish(
    run: RunFolder,
    form: Annotated[Form, typer.Option()] = "adapter",
    repo: Annotated[str, typer.Option(metavar="USER/NAME", help="model on the Hub; made when it is not there")] = "",
    license: License = "",
    public: Public = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="only write it into this new folder; needs no token")
    ] = None,
) -> None:
    """Make, check and push a run's model. To the Hugging Face Hub or into a folder; prints where it is."""
    if bool(repo) == bool(out):
        raise SettingsError("Say either where on the Hub with --repo, or which folder with --out.")
    check_finished(run)
    from pipeline.publishing.publish import export_model, publish_model

    if out:
        steps = export_model(run, form, out, license=license or "unknown")
    else:
        steps = publish_model(run, form, repo, license=license, private=not public)
    where = out
    for step in steps:
        say(step.text)
        where = step.address or where
        if served := step.served:
            say(served.why_not or f"vLLM serves it so:\n{served.vllm}")
            if served.job:
                say(f"The same as a Job of the Hub:\n{served.job}")
    print(where)
