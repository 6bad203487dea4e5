"""The README is short, its code runs, its commands exist; pages at the root link to what is there."""

import re
import runpy

import pytest

from tests.pages import ROOT, blocks, check_command, commands, run_python

README = ROOT / "README.md"


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= 1200


def test_python_blocks_run(recordings):
    python = [block.code for block in blocks(README) if block.language == "python"]
    assert python
    for code in python:
        run_python(README)(code)


@pytest.mark.parametrize(
    "words",
    [words for block in blocks(README) if block.language == "sh" for words in commands(block.code)],
    ids=" ".join,
)
def test_commands_parse(words):
    check_command(words)


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_point_to_existing_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_command_line_page_matches_the_program():
    """`make docs` writes the page."""
    namespace = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))
    assert (ROOT / "docs" / "cli.md").read_text() == namespace["page"]()
