"""Pre-commit hooks and workflows agree with the Makefile."""

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()


def test_hooks_are_the_commands_of_make_check():
    recipe = re.search(r"^check:.*\n((?:\t.+\n)+)", MAKEFILE, re.M).group(1)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == commands
    assert all(hook["language"] == "system" for hook in repository["hooks"])


def steps(name: str) -> list[dict]:
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())["jobs"].values()
    return job["steps"]


def test_the_test_workflow_runs_make_test_on_linux_and_macos():
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"].values()
    assert job["strategy"]["matrix"] == {
        "os": ["ubuntu-latest", "macos-latest"],
        "python-version": ["3.11", "3.14"],
    }
    assert any(step.get("run", "").startswith("make test") for step in steps("test"))


def test_the_build_workflow_installs_what_it_built():
    commands = "\n".join(step.get("run", "") for step in steps("build"))
    assert "python -m build" in commands and "dist/*.whl" in commands and "earmark --version" in commands


def test_the_build_workflow_builds_the_site():
    assert any(step.get("run", "").startswith("make docs") for step in steps("build"))
