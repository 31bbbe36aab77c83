"""The plots' pure parts: points, smoothing, axes."""

from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.runs.settings import TrainingSettings
from pipeline.runs.status import Status
from pipeline.runs.view import RunView
from tabs.chat.plots import comparison_figure
from tabs.dataset.plots import KIND_BARS, facts_figure, kinds_figure, tokens_figure, tokens_words
from tabs.training.plots import details_figure, training_figure
from tabs.ui.plots import MOST_POINTS, axis_top, log_range, smooth, thin


def step(number: int, total: int = 100, loss: float = 1.0) -> dict[str, Any]:
    return {
        "type": "step", "time": f"2026-11-22T10:00:{number % 60:02}+00:00", "step": number, "total": total, "loss": loss,
        "tokens_per_second": 251.7, "memory_bytes": 2_100_000_123 + number, "learning_rate": 0.001 / number,
        "grad_norm": 0.123456789 * number,
    }  # fmt: skip


def view(events: list[dict[str, Any]], state: str = "running") -> RunView:
    return RunView(Path("runs/one"), TrainingSettings(), Status(state), events)


def test_thinning_keeps_both_ends_and_the_order() -> None:
    thinned = thin(range(10_000))
    assert len(thinned) == MOST_POINTS
    assert (thinned[0], thinned[-1]) == (0, 9_999)
    assert thinned == sorted(set(thinned))
    assert thin([1, 2, 3]) == [1, 2, 3]


def test_smoothing_starts_at_the_first_value_and_follows_slowly() -> None:
    smoothed = smooth([4.0, 4.0, 4.0, 0.0])
    assert smoothed[:3] == [4.0, 4.0, 4.0] or max(abs(s - 4.0) for s in smoothed[:3]) < 1e-9
    assert 0.0 < smoothed[3] < 4.0
    assert smooth([]) == []


def test_the_loss_axis_has_a_round_top_above_every_value() -> None:
    assert axis_top([4.32, 0.1]) == 5.0
    assert axis_top([0.01]) == 1.0
    assert axis_top([]) == 1.0


def test_the_axes_stand_still_while_the_curve_grows() -> None:
    started = {"type": "started", "steps": 100}
    figures = [
        training_figure(view([started, *(step(n, loss=4.3 / n) for n in range(1, end))])) for end in (2, 50, 101)
    ]
    assert {tuple(f.layout.xaxis.range) for f in figures} == {(0, 103)}
    assert {tuple(f.layout.yaxis.range) for f in figures} == {(0, 5)}
    assert {f.layout.uirevision for f in figures} == {"one"}


def test_recall_is_in_percent_at_its_steps() -> None:
    probe = {"type": "probe", "step": 50, "right": 3, "total": 4}
    recall = training_figure(view([step(50), probe])).data[2]
    assert (list(recall.x), list(recall.y), list(recall.text)) == ([50], [75.0], ["3 of 4"])
    assert recall.yaxis == "y2"


def test_an_empty_run_has_an_empty_plot() -> None:
    assert not training_figure(view([])).data[0].x


def test_a_kind_is_shown_as_text() -> None:
    figure = kinds_figure({"<a href='http://192.0.2.1'>x</a>": 2, "running_time": 1})
    assert figure.data[0].y[0] == "running time"
    assert "<a" not in figure.data[0].y[1]


def test_every_question_is_in_one_part_of_each_bar() -> None:
    verdicts = ("right", "wrong", "nothing_found", "partial")
    questions = [{"base": {"verdict": v}, "tuned": {"verdict": "right"}} for v in verdicts]
    figure = comparison_figure(questions)
    assert [sum(bar.x[side] for bar in figure.data) for side in (0, 1)] == [4, 4]
    assert figure.data[0].x == (4, 1)


def test_a_logarithmic_axis_has_whole_powers_of_ten_around_every_loss() -> None:
    assert log_range([4.3, 0.002]) == [-3, 1]
    assert log_range([0.5]) == [-1, 0] and log_range([1.0]) == [0, 1]
    assert log_range([]) == [0, 1] and log_range([0.0, 0.0]) == [0, 1]
    axis = training_figure(view([step(1, loss=4.3), step(2, loss=0.002)]), log=True).layout.yaxis
    assert (axis.type, tuple(axis.range)) == ("log", (-3, 1))


def test_smoothing_is_the_user_s() -> None:
    noisy = [step(n, loss=4.0 + n % 2) for n in range(1, 50)]
    raw, none, much = (
        training_figure(view(noisy), smoothing).data[line].y for smoothing, line in ((0, 0), (0, 1), (0.98, 1))
    )
    assert list(none) == list(raw)
    assert max(much[20:]) - min(much[20:]) < 0.1


def test_the_small_plots_show_what_each_step_told_in_its_unit() -> None:
    figure = details_figure(view([step(1), step(2) | {"grad_norm": None}]))
    assert [list(trace.y) for trace in figure.data] == [[0.001, 0.0005], [0.1235, None], [251.7, 251.7], [2.1, 2.1]]
    assert [a.text.split("(")[1] for a in figure.layout.annotations] == [
        "learning rate)", "gradient norm)", "tokens a second)", "GB)"
    ]  # fmt: skip


def test_ten_thousand_steps_are_sent_in_less_than_50_kb() -> None:
    losses = [step(n, total=10_000, loss=4.123456789 / n + 0.0123456) for n in range(1, 10_001)]
    probes = [{"type": "probe", "step": 200 * n, "right": n, "total": 50} for n in range(51)]
    told = view([*losses, *probes])
    sent = [gr.Plot().postprocess(figure) for figure in (training_figure(told), details_figure(told))]
    assert sum(len(plot.plot) for plot in sent if plot) < 50_000
    assert all(trace.x[-1] == 10_000 for trace in training_figure(told).data[:2])


def test_what_was_told_beyond_a_checkpoint_gives_way_to_what_is_told_again() -> None:
    first = [step(n, loss=1.0) for n in range(1, 8)]
    probes = [{"type": "probe", "step": n, "right": 1, "total": 2} for n in (3, 6)]
    again = [step(n, loss=2.0) for n in range(5, 7)]
    seen = view([{"type": "started", "steps": 100}, *first, *probes, {"type": "resumed", "step": 4}, *again])
    assert [(e["step"], e["loss"]) for e in seen.steps] == [(n, 1.0) for n in range(1, 5)] + [(5, 2.0), (6, 2.0)]
    assert [p["step"] for p in seen.probes] == [3]
    assert [e["step"] for e in seen.steps_since_start] == [5, 6]
    assert seen.total == 100


def test_every_row_is_in_one_bar_and_those_left_out_are_beyond_the_line() -> None:
    lengths = [*range(20, 140), *[250] * 30, 256, 257, 300]
    figure = tokens_figure(lengths, 256)
    bar = figure.data[0]
    assert sum(bar.y) == len(lengths) and len(bar.x) <= 40
    assert [c for x, c in zip(bar.x, bar.marker.color, strict=True) if x > 256] == ["#d73027"] * 2
    assert sum(y for x, y in zip(bar.x, bar.y, strict=True) if x > 256) == 2
    assert figure.layout.shapes[0].x0 == 256 and figure.layout.xaxis.range[1] > 300
    assert figure.layout.annotations[0].text == (
        "2 of 153 rows are longer than 256 tokens<br>and would be left out"
    )  # fmt: skip


def test_the_words_of_the_lengths_say_when_nothing_is_left_out_and_when_it_is_a_sample() -> None:
    fits = "Nothing is left out: the longest of 3 rows<br>has 90 of 256 tokens"
    assert tokens_words([60, 90, 70], 256) == fits == tokens_words([60, 90, 70], 256, rows=3)
    sampled = "Nothing is left out: the longest of 2 rows<br>has 90 of 256 tokens (2 of 48,000 rows were looked at)"
    assert tokens_words([60, 90], 256, rows=48_000) == sampled
    assert tokens_words([60, 900], 256).startswith("1 of 2 rows is longer")
    assert tokens_words([60, 900], 256, counted=False).endswith("left out (estimated)")


def test_a_line_far_away_leaves_the_bars_their_room_and_no_rows_are_no_bars() -> None:
    far = tokens_figure([40, 50, 60], 4096)
    assert not far.layout.shapes and far.layout.xaxis.range[1] < 100
    assert not tokens_figure([], 256).data[0].x and not facts_figure([]).data[0].x


def test_every_product_is_in_the_bar_of_its_number_of_facts() -> None:
    figure = facts_figure({"a": 1, "b": 4, "c": 1})
    assert (list(figure.data[0].x), list(figure.data[0].y)) == (["1", "2", "3", "4"], [2, 0, 0, 1])
    assert list(figure.data[0].text) == ["2", "", "", "1"]
    assert facts_figure([1, 4, 1]).data[0].y == figure.data[0].y
    assert facts_figure([0, 2]).data[0].x[0] == "0"


def test_kinds_beyond_some_share_a_bar() -> None:
    kinds = {f"kind_{n}": 40 - n for n in range(40)}
    (bar,) = kinds_figure(kinds).data
    assert len(bar.y) == KIND_BARS + 1 and bar.y[0] == f"{40 - KIND_BARS} other kinds"
    assert sum(bar.x) == sum(kinds.values())
