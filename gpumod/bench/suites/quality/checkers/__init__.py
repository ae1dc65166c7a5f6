"""Checkers of answers: pure functions of the answer and their arguments, each by a name."""
