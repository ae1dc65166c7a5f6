"""What can be wrong with a model's files."""

from __future__ import annotations


class ModelFileError(Exception):
    """A model's file is missing, cut off, corrupt, or not what it claims to be.

    Attributes:
        detail: one sentence that names the file, what is wrong with it and what to do.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
