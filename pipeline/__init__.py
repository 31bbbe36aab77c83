"""Shelftalk's pipeline: everything but the page.

catalogue ─▶ facts ─▶ examples ─▶ dataset ─▶ training run ─▶ adapter ─▶ answers ─▶ comparison ─▶ report
   └──────── pipeline/data ────────┘└── pipeline/training ──┘└──────── pipeline/answering ────────┘

An import points to the left on that line, or to the shared lower layer that training uses too: `files`, `errors`, and in
`answering` the modules `embedded`, `bases`, `models`, `prompts`, `answers`, `scoring`, `quantities`, `lookup`, `baseline`.
Nothing here knows Gradio, and only `answering.models`, `training.watcher` and `training.train` load torch when they are imported.

A run folder holds `settings.json`, `dataset/`, `process.json` (the child's process id, and what it is known by), `baseline.json`,
`events.jsonl`, `train.log`, `checkpoints/` (a whole one has a `checkpoint.json`), `adapter/`, `comparison.json`, `report.html`
and `report.md`; one of a sweep has a `sweep.json`, one that waits for its turn a `queued`, and one that came back from where
runs are kept and was not started since may have a `.restored.json`. Its events, one JSON object a
line with `type` and `time` (ISO 8601):

| type | values |
|---|---|
| started | steps, processes, micro_batch, accumulation, unpacked |
| resumed | step: the checkpoint that it goes on from; the steps told beyond it are done again |
| message | text; memory_split: the micro-batch to go on with after the memory ran out; going_down: the machine stops it |
| step | step, total, loss, learning_rate, grad_norm, tokens_per_second, memory_bytes |
| probe | step, right, total, answers (title, question, expected, raw, answer, verdict) |
| finished, stopped | steps, first_loss, last_loss, seconds, probe_seconds, tokens_per_second, peak_memory_bytes, message |
| failed | message |

The last of `started`, `resumed`, `finished`, `stopped`, `failed` is what counts.
"""
