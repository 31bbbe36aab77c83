"""What every tab needs and no tab owns: theme, safe text, tables, the watcher, plots, the status line."""
