"""Dataset + settings → adapter: the run folder, and the child process that fills it."""
