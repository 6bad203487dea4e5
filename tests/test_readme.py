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


@pytest.mark.parametrize("page", ["cli", "models"])
def test_pages_that_the_program_writes_match_it(page):
    """`make docs` writes them."""
    namespace = runpy.run_path(str(ROOT / "docs" / f"make_{page}.py"))
    assert (ROOT / "docs" / f"{page}.md").read_text() == namespace["page"]()
