"""A base by name, its shape and its memory; loading, asking, adapters, decoding. No run and no dataset."""
