"""The house rules that a machine can check."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

import earmark
from earmark.inference.windows import sigmoid

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "src").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))
SOURCES = [*PACKAGE, *EXPERIMENTS]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
MAX_FILE, MAX_FUNCTION = 400, 60
FORBIDDEN_NAMES = {"utils", "helpers", "core", "base", "types", "config", "constants"}


def python(code: str) -> str:
    """The output of a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_and_no_function_is_too_long(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= MAX_FUNCTION, node.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_code_has_no_assert_no_forbidden_name_and_no_loose_end(path):
    assert path.stem not in FORBIDDEN_NAMES
    text = path.read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)
    tree = ast.parse(text)
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    assert ast.get_docstring(tree) or not text.strip(), "a module says what it is"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_and_nothing_runs_a_shell(path):
    text = path.read_text()
    assert not re.search(r"^\s*(import|from) (pickle|shelve|dill|cloudpickle|joblib)\b", text, re.M)
    assert "shell=True" not in text and "os.system" not in text and "allow_pickle=True" not in text
    for call in re.findall(r"torch\.load\([^)]*\)", text):
        assert "weights_only=True" in call


def test_tests_mirror_sources():
    missing = []
    for path in SOURCES:
        relative = path.relative_to(ROOT / "src" / "earmark" if path in PACKAGE else ROOT)
        if path.stem in ("__init__", "__main__", "errors"):
            continue
        if not any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text()))):
            continue  # names alone, such as a NamedTuple, have nothing to test
        folder = ROOT / "tests" / relative.parent
        # a room may be tested as one: bulk/parts.py in bulk/test_bulk.py, evaluation/localisation/ in a file beside it
        room = f"test_{relative.parent.name}.py"
        candidates = (folder / f"test_{relative.stem}.py", folder / room, folder.parent / room)
        if not any(candidate.exists() for candidate in candidates):
            missing.append(str(relative))
    assert not missing, missing


def test_public_api():
    assert sorted(earmark.__all__) == [
        "Audio",
        "AudioError",
        "CheckpointError",
        "ConfigError",
        "DataError",
        "EarmarkError",
        "LabelSet",
        "Tagger",
        "load",
        "load_audio",
        "open_data",
    ]
    assert all(hasattr(earmark, name) for name in earmark.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        earmark.nonsense  # noqa: B018


def test_names_that_users_rely_on_stay(tmp_path):
    from earmark.data.audioset import Segment, read_segments
    from earmark.evaluation import metrics
    from earmark.model import frontend, network, pooling

    for name in ("labels", "tag", "timeline", "evidence", "embed", "score", "stream"):
        assert hasattr(earmark.Tagger, name) or name in earmark.load().__dict__, name
    for module, names in (
        (metrics, ("average_precision", "roc_auc", "d_prime")),
        (frontend, ("LogMel", "FrontendConfig")),
        (network, ("Network", "NetworkConfig")),
    ):
        assert [name for name in names if not hasattr(module, name)] == []
    assert all(hasattr(network.Network, name) for name in ("encode", "classify", "save", "load"))
    gmap = pooling.POOLINGS["gmap"](8, n_heads=4, gate=True, deviation=True)
    assert gmap.n_features == 16 and gmap.query.shape == (4, 2) and gmap.gate.in_features == 16
    assert pooling.POOLINGS["mean"](8).attention(gmap.query.new_zeros(1, 3, 8)) is None
    (tmp_path / "list.csv").write_text('-abcdefghij, 30.000, 40.000, "/m/09x0r,/m/05zppz"\n')
    assert read_segments(tmp_path / "list.csv") == [Segment("-abcdefghij", 30.0, 40.0, ("/m/09x0r", "/m/05zppz"))]


def test_importing_earmark_is_light():
    heavy = "{'torch', 'numpy', 'tensorboard', 'matplotlib', 'soundfile', 'cyclopts'}"
    assert python(f"import earmark, sys; print({heavy} & set(sys.modules))") == "set()"


def test_tagging_starts_without_data_sets_and_downloads():
    """They take more than a tenth of a second: jaxtyping needs unittest and asyncio, http.client email and ssl."""
    code = "import sys, earmark.cli.tag, earmark.cli.timeline, earmark.cli.detect, earmark.hub.loading"
    assert python(f"{code}; print({{'earmark.data', 'jaxtyping', 'http.client'}} & set(sys.modules))") == "set()"


def test_audio_labels_data_metrics_and_tagger_need_no_torch():
    code = "import sys, earmark.data, earmark.evaluation.metrics, earmark.inference.tagger, earmark.hub"
    assert python(f"{code}; print('torch' in sys.modules)") == "False"


def test_the_package_and_its_wheel_do_without_the_experiments():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/earmark"], "exclude": ["*.safetensors"]}
    importing = [path for path in PACKAGE if any(name.startswith("experiments") for name in imported(path))]
    assert not importing


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_experiments_use_public_names_alone(path):
    private = [name for name in imported(path) if re.search(r"(^|\.)_[a-z]", name)]
    assert not private


def imported(path):
    """The dotted names that a module imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def tree() -> list[str]:
    """Lines of the map in ARCHITECTURE.md below its root."""
    return re.search(r"^src/earmark/\n((?:.+\n)+)```", PAGE, re.M).group(1).splitlines()


def test_architecture_fits_a_page():
    assert len(PAGE.split()) <= 700


def test_architecture_names_only_existing_files():
    named = {word for word in re.findall(r"`([^`\s]+)`", PAGE) if "/" in word or word.endswith((".py", ".md"))}
    named |= {"src/earmark/" * line.startswith("  ") + line.split()[0] for line in tree()}
    modules = set(re.findall(r"`(earmark(?:\.\w+)+)`", PAGE))
    named |= {"src/" + module.replace(".", "/") for module in modules}
    assert len(named) > 30
    places = (ROOT, ROOT / "src" / "earmark")
    assert not [path for path in sorted(named) if not any(_exists(place / path) for place in places)]


def _exists(path: Path) -> bool:
    return path.exists() or path.with_suffix(".py").exists()


def test_the_map_of_architecture_is_complete():
    rooms = {line.split()[0].rstrip("/") for line in tree() if line.startswith("  ")}
    no_room = {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    assert rooms == {path.name for path in (ROOT / "src" / "earmark").iterdir()} - no_room
    assert len(rooms) <= 23


def test_the_layers_of_architecture_are_those_of_import_linter():
    page = re.search(r"^## Layers\n.*?^```\n(.*?)^```", PAGE, re.M | re.S).group(1).splitlines()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [page] == [contract["layers"] for contract in contracts if contract["type"] == "layers"]


def test_each_decision_is_short_and_in_the_index():
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    records = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    assert sorted(re.findall(r"\]\(([^)]+)\)", index)) == [path.name for path in records]
    assert len({path.name[:4] for path in records}) == len(records), "each record has a number of its own"
    for path in records:
        text = path.read_text()
        assert 60 <= len(text.split()) <= 200, path.name
        assert re.search(r"^Date: \d{4}-\d\d-\d\d\. Status: \w+", text, re.M), path.name


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == earmark.__version__
    assert f"version: {earmark.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{earmark.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_imports_point_down():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    tool = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([tool], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_shapes_are_checked_where_annotations_are_text():
    with pytest.raises(jaxtyping.TypeCheckError):
        sigmoid(np.zeros(3, int))
