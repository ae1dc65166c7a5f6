"""Errors as problem documents, there and back."""

import pytest

from gpumod.core import errors
from gpumod.core.errors import ErrorCode, GpumodError, IllegalTransitionError, RefusedError
from gpumod.core.problem import HTTP_STATUS, error_from, problem_from

CLASSES = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, GpumodError) and one is not IllegalTransitionError
]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_the_way_over_the_wire(kind):
    error = kind("the sentence", {"need": 3, "reasons": []})
    there = error_from(problem_from(error))
    assert type(there) is kind
    assert (there.detail, there.facts) == (error.detail, error.facts)


def test_every_code_has_its_status():
    assert set(HTTP_STATUS) == set(ErrorCode)


def test_facts_cannot_replace_what_every_problem_has():
    problem = problem_from(RefusedError("no", {"status": 200, "detail": "yes"}))
    assert (problem["status"], problem["detail"]) == (409, "no")


def test_a_problem_of_somebody_else():
    error = error_from({"title": "Bad Gateway", "code": "upstream", "status": 502})
    assert type(error) is GpumodError
    assert error.detail == "Bad Gateway"
