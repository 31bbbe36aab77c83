"""What a Hugging Face Space needs beside the app itself. Nothing here trains, and the child that trains knows nothing of it."""
