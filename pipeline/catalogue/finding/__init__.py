"""Finding the product that a question is about, and the part of its record that answers it. No model is loaded here."""
