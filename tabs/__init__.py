"""The page: one module a tab. Widgets → settings → one pipeline call → widgets.

Nothing here knows torch: what needs a model imports it when a model is first asked. What is shown is read from the
dataset and run folders, so that a reload or a second window shows the same. Modules: `dataset`, `training` and `chat`
are the tabs, the first made of the boxes `shelf`, `generating` and `rows`; `controls` has the words for every training
setting, `runview` reads a run, `figures` draws, `status` is the line on top, and `shared` has what all of them need.
"""
