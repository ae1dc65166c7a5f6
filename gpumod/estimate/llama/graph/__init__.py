"""The graph that llama.cpp reserves its compute buffers for, and how they are laid out."""
