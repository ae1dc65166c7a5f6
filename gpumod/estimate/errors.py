"""What can be wrong with a model's files."""

from __future__ import annotations


class ModelFileError(Exception):
    """A model's file is missing, cut off, corrupt, not what it claims to be, or of a kind not known here.

    Attributes:
        detail: one sentence that names the file, what is wrong with it and what to do.
        broken: whether no engine can load it either; False where it may only be of a kind not known here.
    """

    def __init__(self, detail: str, *, broken: bool = True) -> None:
        super().__init__(detail)
        self.detail = detail
        self.broken = broken
