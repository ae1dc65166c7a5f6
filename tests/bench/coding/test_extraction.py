import pytest

from gpumod.bench.suites.coding.extraction import extract_code

CODE = "class JobQueue:\n    pass\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (f"Here it is:\n\n```python\n{CODE}```\nDone.", CODE),
        (f"```\n{CODE}```", CODE),
        (f"~~~py\n{CODE}~~~", CODE),
        (f"````Python\n{CODE}````", CODE),
        (f"```{{.python}}\n{CODE}```", CODE),
        ("1. So:\n\n   ```python\n   class JobQueue:\n       pass\n   ```", CODE),
        (f"```python\n{CODE}", CODE),  # the fence was forgotten
        (f"```python\r\n{CODE}```", CODE),
        (CODE, CODE),  # no fence at all
        (f"```bash\npip install x\n```\n```python\n{CODE}```", CODE),
        (f"```python\n{CODE}```\nUse it:\n```python\nJobQueue().put(1)\n```", CODE),
        (f"```python\nclass JobQueue: first\n```\nBetter:\n```python\n{CODE}```", CODE),
        (f"<think>```python\nclass JobQueue: no\n```</think>\n```python\n{CODE}```", CODE),
        (f"I think ```python\nclass JobQueue: no\n```\n</think>\n```python\n{CODE}```", CODE),
        (f"````python\n{CODE}x = '''\n```\n'''\n````", f"{CODE}x = '''\n```\n'''\n"),
        ("```python\nx = 1\n```", "x = 1\n"),  # the wrong module is code too
        ("I would use a deque for the class JobQueue.", None),
        ("```json\n{}\n```", None),
        ("```python\n```", None),
        ("<think>class JobQueue:\n    pass\n", None),
        ("", None),
    ],
)
def test_the_code_of_an_answer(answer, code):
    assert extract_code(answer, ("JobQueue",)) == code
