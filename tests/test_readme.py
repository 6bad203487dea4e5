"""The README: code runs, commands exist, and the file tree matches the repository."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from earmark.audio.recording import save_audio
from earmark.cli import app
from earmark.data.synthetic import synthetic_bank
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # files named as those of the demo, which tests/test_demo.py runs
    bell = synthetic_bank(2)[0]
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet(bell.labels, bell.labels))
    network.save(Path("demo", "gmap.safetensors"))
    save_audio(Path("demo", "scene.flac"), bell.load(16000))
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102


def commands() -> list[str]:
    lines = (line.partition(" #")[0].strip() for block in blocks("sh") for line in block.splitlines())
    return [line for line in lines if line.startswith("earmark ")]


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    command, bound, *_ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert callable(command) and bound.arguments


def test_the_file_tree_matches_the_repository():
    tree = re.search(r"^src/earmark/\n((?:  .*\n)+)", README, re.M).group(1)
    named = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    no_room = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
    there = {path.name for path in (ROOT / "src/earmark").iterdir()} - no_room
    assert named == there


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_links_point_to_existing_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_command_line_page_matches_the_program():
    """`make docs` writes the page."""
    namespace = runpy.run_path(str(ROOT / "docs" / "make_cli.py"))
    assert (ROOT / "docs" / "cli.md").read_text() == namespace["page"]()
