"""The command line: a module a group of commands; `__main__` only joins them."""
