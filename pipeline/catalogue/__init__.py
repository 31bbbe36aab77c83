"""Any file of products → a catalogue: one reader a format, columns, cleaning, a cache as Parquet, pages."""
