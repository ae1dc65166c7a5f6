"""The meter: asks a model over HTTP, and notes when every part of its answer came."""
