"""Tab 1: catalogue → products → Generate → rows, and exactly what the model will read."""
