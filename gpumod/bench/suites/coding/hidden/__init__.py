"""The hidden tests. They run inside the sandbox, on the standard library alone.

Each is a function `test_…(solution)`, `solution` being the module that the model wrote. No test depends on
how fast the box is: waits end with an event, and their bounds are only reached by a solution that is wrong.
"""
