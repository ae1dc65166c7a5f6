"""The words of gpumod as frozen values, its state tables, errors and ports.

Nothing here reads a clock, a file or a card: every module is plain data and pure functions,
so that decisions can be tested by writing their inputs down. Sizes are bytes (``int``),
durations seconds (``float``), instants Unix time in seconds (``float``).
"""
