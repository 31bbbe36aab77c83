"""What stands around the page: Gradio's private parts, who may do what, health, ZeroGPU."""
