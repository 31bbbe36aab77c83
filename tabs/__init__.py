"""The page: a folder for each tab, what they share (`ui`) and what stands around them (`server`).

Widgets → one pipeline call → widgets. Nothing here knows torch: what needs a model imports it when a model is first asked.
What is shown is read from the dataset and run folders, so that a reload or a second window shows the same.
"""

import inspect
import sys
from typing import Any


def import_gradio() -> None:
    """Import it without what takes two of its five seconds: for each component it reads its own source, and writes anew what
    an editor shows of it. It passes over components without a source."""
    getfile = inspect.getfile

    def unless_for_editors(what: Any) -> str:
        if sys._getframe(1).f_globals.get("__name__") == "gradio.component_meta":
            raise OSError
        return getfile(what)

    inspect.getfile = unless_for_editors
    try:
        import gradio  # noqa: F401
    finally:
        inspect.getfile = getfile


import_gradio()
