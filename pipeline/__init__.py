"""The pipeline: everything but the page.

catalogue ─▶ facts ─▶ examples ─▶ dataset ─▶ training run ─▶ adapter ─▶ answers ─▶ comparison ─▶ report ─▶ served

A folder for each stretch of that way, in its order; an import points to the left or to the modules that lie directly here.
Nothing knows Gradio. The run folder, its events and the rules that hold everywhere are in `docs/ARCHITECTURE.md`.
"""
