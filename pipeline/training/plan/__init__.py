"""Before a run: will it learn, does it fit, how long will it take. Knows no torch."""
