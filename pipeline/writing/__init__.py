"""The rows of a dataset by a language model: prompts, the job that can be left alone, and how requests travel (`api/`)."""
