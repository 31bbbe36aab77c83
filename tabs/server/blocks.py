"""Gradio's Blocks with less work for each event and less memory for each page.

Gradio makes every output of an event anew, also one that stays as it is, and keeps a description of the whole page for every
session, which each call through the API is, too. Both are most of what a crowd would cost (`benchmarks/visitors.py`).
"""

from copy import copy
from typing import Any

import gradio as gr
from gradio.blocks import BlocksConfig

LOOK_SECONDS = 0.005
"""Between two looks at whether an event waits. Gradio's millisecond costs a twelfth of a core while nobody is there."""

NOTHING: dict[str, Any] = {}
"""The same for all components, of which a page has hundreds."""


class PageConfig(BlocksConfig):
    """What a page is made of. The copies, of which every session has one, describe nothing.

    Gradio uses a session's descriptions for links to a state of the page alone, which the gate closes, and for parts that
    are rendered anew (`gr.render`), of which there are none.
    """

    def __copy__(self) -> BlocksConfig:
        own = super().__copy__()
        own.config_for_block = _nothing
        return own


def _nothing(_id: int, rendered_ids: list[int], block: Any, renderable: Any = None) -> dict[str, Any]:
    return NOTHING


class LeanBlocks(gr.Blocks):
    """Blocks for many visitors."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.default_config = PageConfig(self)

    def queue(self, *values: Any, **options: Any) -> gr.Blocks:
        super().queue(*values, **options)
        self._queue.sleep_when_free = LOOK_SECONDS
        return self

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """As Gradio's, which here sees only the outputs that an update names; the others stay as they are."""
        outputs = block_fn.outputs
        if not isinstance(predictions, dict) or len(outputs) < 2:
            return await super().postprocess_data(block_fn, predictions, state)
        named = [output for output in outputs if output in predictions]
        if predictions != gr.skip() and len(named) < len(predictions):  # something else is named
            return await super().postprocess_data(block_fn, predictions, state)
        part = copy(block_fn)
        part.outputs = named
        told = iter(await super().postprocess_data(part, predictions, state) if named else [])
        return [next(told) if output in predictions else None if output.stateful else gr.skip() for output in outputs]
