"""A Hugging Face Space: its settings, getting the app there, and keeping it awake while a run is on."""
