"""GGUF: the header of a model file, read without its weights."""
