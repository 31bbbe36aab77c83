"""The page's colours and fonts, on top of Gradio's default theme; assets/style.css has the rest."""

from typing import Any

import gradio as gr

ORANGE = {
    f"button_primary_{part}{dark}": value
    for dark in ("", "_dark")
    for part, value in {
        "background_fill": "#c2500a",
        "background_fill_hover": "#a94305",
        "border_color": "#c2500a",
        "text_color": "white",
    }.items()
}
"""The one orange button of each tab, dark enough for white text (contrast 4.9 to 1)."""


def theme() -> gr.themes.Base:
    """Gradio's default with the system's own fonts, so that none is fetched."""
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    subdued = {"body_text_color_subdued": "*neutral_600", "block_info_text_color": "*neutral_600"}
    return gr.themes.Default(primary_hue="orange", **fonts).set(**ORANGE, **subdued)
