"""gpumod owns the GPU memory of one box and moves the box between modes."""

__version__ = "0.1.0"
