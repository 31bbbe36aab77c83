"""A record → facts: the patterns, finding them, their sentences; the ways to ask for them are data."""
