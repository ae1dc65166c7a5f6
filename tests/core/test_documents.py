"""Documents that are generated from the code say what the code says."""

from pathlib import Path

from gpumod.core.states import mermaid

_DOCS = Path(__file__).parents[2] / "docs"


def test_the_state_diagram_in_the_documentation_is_the_table():
    assert f"```mermaid\n{mermaid()}```" in (_DOCS / "architecture.md").read_text()
