"""The question's form: whether what it asks is answered of the run's whole catalogue is told beside the ways to answer."""

from pathlib import Path

import gradio as gr

from pipeline.catalogue import uploads
from pipeline.dataset.build import build_dataset
from pipeline.runs.manage import create_run
from pipeline.runs.settings import default_base, settings_for
from tabs.chat.cards import BASE
from tabs.chat.question_form import QuestionForm
from tests.tiny import FEW_ROWS, write_catalogue


def test_a_run_whose_catalogue_is_gone_is_asked_with_a_notice(home: Path, tmp_path: Path) -> None:
    uploads.take_upload(write_catalogue(tmp_path / "shop & co.json"))
    dataset = build_dataset(uploads.open_catalogue("shop & co.json"), FEW_ROWS)
    run = create_run(dataset, settings_for("quick", default_base()), home / "runs" / "one")
    with gr.Blocks():
        form = QuestionForm()
    assert form.show([run], run, BASE)[form.lost] == ""
    uploads.remove("shop & co.json")
    said = form.show([run], run, BASE)[form.lost]
    assert "shop &amp; co.json, is not on this machine any more" in said and "upload the same file" in said
