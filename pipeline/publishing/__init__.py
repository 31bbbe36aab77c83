"""A run's model and a dataset for others: adapter, merged, GGUF, card, Hub."""
