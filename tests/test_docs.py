"""Pages and notebooks of docs/: code runs, links lead somewhere, the picture can be drawn."""

import json
import re
import runpy
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks, check_command, commands, run_command, run_python

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "decisions")
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
SMALL = {"N_CLIPS": 16, "N_CLIPS_SEEN": 32, "WIDTH": 2}
"""Parameters of the notebooks under test."""


def name(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_code_of_a_page_runs(page, recordings, unchecked):
    python = run_python(page)
    for block in blocks(page):
        if block.language == "python":
            python(block.code)
        for words in commands(block.code) if block.language == "sh" else ():
            (check_command if block.parsed_only else run_command)(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_point_to_existing_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def code_cells(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_notebook_runs(notebook, tmp_path, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for cell in code_cells(notebook):
        exec(compile("".join(cell["source"]), notebook.name, "exec"), namespace)  # noqa: S102
        if "parameters" in cell["metadata"].get("tags", ()):
            namespace |= {key: value for key, value in SMALL.items() if key in namespace}


def test_notebooks_are_small():
    assert len(NOTEBOOKS) == 2
    for notebook in NOTEBOOKS:
        assert notebook.stat().st_size < 20_000
        assert all(output.keys() & {"text", "data"} for cell in code_cells(notebook) for output in cell["outputs"])


def test_the_pictures_of_the_poolings_are_drawn(tmp_path):
    script = runpy.run_path(str(DOCS / "draw_poolings.py"))
    for name in ("draw", "draw_scores"):
        script[name](tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
