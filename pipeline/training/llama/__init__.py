"""The fast step of a Llama, or a base that is built as one, with LoRA on all its projections."""
