"""The run folder and what becomes of it: settings, recipes, events, checkpoints, launcher, queue. Knows no torch."""
