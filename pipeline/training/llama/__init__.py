"""The fast step of a plain Llama with LoRA on all its projections."""
