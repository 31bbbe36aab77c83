"""Scripts that measure, one a group of figures; raw JSON in `results/`, the figures in `RESULTS.md`."""
