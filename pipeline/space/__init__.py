"""What a Hugging Face Space needs beside the app itself: its settings, getting there, staying awake, and keeping what it has.

Nothing here trains, and the child that trains knows nothing of it.
"""
