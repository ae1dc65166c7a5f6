"""docs/jobs.md: every command in it is one, with options that it has."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from gpumod.bench.suites import SUITES
from gpumod.cli.app import app

TEXT = (Path(__file__).parents[2] / "docs/jobs.md").read_text()
COMMANDS = sorted(set(re.findall(r"^\$ (gpumodctl [^\n]*?)(?:\s+#[^\n]*)?$", TEXT, re.MULTILINE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_can_be_read(line: str) -> None:
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("gpumodctl", words).close()


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 20


def test_every_suite_is_described() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == set(SUITES)
