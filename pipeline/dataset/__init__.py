"""Facts → rows: examples, unknown titles, checks, a dataset's files, edits, its card and its export."""
