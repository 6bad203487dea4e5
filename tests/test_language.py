"""Words and openings that make a reader translate stay out of code and documents."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("src", "experiments", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/**/*.md"), *ROOT.glob("src/**/*.md")}
)

OPENINGS = ("Of ", "What ")
WORDS = frozenset(
    {"hear", "hears", "heard", "tell", "tells", "told", "wander", "wanders", "wandered", "recolour", "anew", "nought"}
)
PHRASES = re.compile(
    r"\b(?:such as (?:are|is)|goes on|gone on with|one's own|there be)\b|\bthat there (?:is|are)(?=[.,;:]|$)",
    re.IGNORECASE,
)
NAME = re.compile(r"\bHEAR\b|\bintegrations[./]hear\b|\btest_hear\b")  # a benchmark, whose name is the module's
NAMES = WORDS | {"overlay", "steady"}  # fine in a sentence, but no name of a function or a setting

Found = Iterator[tuple[int, str]]


def bare_strings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Docstrings, those below attributes included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def openings(text: str) -> Found:
    for node in bare_strings(ast.parse(text)):
        if node.value.strip().startswith(OPENINGS):
            yield node.lineno, node.value.strip().splitlines()[0]


def words(text: str, first_line: int = 1) -> Found:
    for number, line in enumerate(text.splitlines(), first_line):
        for word in re.findall(r"[^\W\d_]+", NAME.sub("", line)):
            if word.lower() in WORDS:
                yield number, f"{word}: {line.strip()}"
        for phrase in PHRASES.findall(line):
            yield number, f"{phrase}: {line.strip()}"


def comments(text: str) -> Found:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from words(token.string, token.start[0])


def parts(name: str) -> set[str]:
    """`LoudClips` and `loud_clips` -> {"loud", "clips"}."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def names(text: str, kinds: tuple[type[ast.AST], ...]) -> Found:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, kinds) or (isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)):
            continue
        name = next(getattr(node, field) for field in ("name", "arg", "id") if hasattr(node, field))
        if parts(name) & NAMES:
            yield node.lineno, name


def in_source(text: str) -> Found:
    yield from openings(text)
    yield from names(text, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.arg, ast.Name))
    yield from comments(text)
    for node in ast.walk(ast.parse(text)):  # docstrings, help, errors, pieces of f-strings
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from words(node.value, node.lineno)


def in_test(text: str) -> Found:
    yield from openings(text)
    yield from names(text, (ast.FunctionDef, ast.ClassDef))
    yield from comments(text)
    for node in bare_strings(ast.parse(text)):  # other strings are data
        yield from words(node.value, node.lineno)


def in_page(text: str) -> Found:
    # the changelog lists old names
    return words(re.sub(r"^### Renamed$.*?(?=^## )", lambda cut: "\n" * cut[0].count("\n"), text, flags=re.M | re.S))


def offences() -> dict[str, list[str]]:
    """Offences of each file, as `line: text`."""
    found = {}
    for paths, reader in ((SOURCES, in_source), (TESTS, in_test), (PAGES, in_page)):
        for path in paths:
            lines = [f"{number}: {text}" for number, text in reader(path.read_text())]
            if lines:
                found[str(path.relative_to(ROOT))] = lines
    return found


@pytest.mark.parametrize(
    "text",
    [
        '"""Of a clip the segments."""',
        'class A:\n    x: int = 1\n    """What x is."""',
        "# clips that are told apart",
        "# the pack is written anew",
        '"""The files that there are."""',
        'print("the run goes on")',
        'print(f"{1} was heard")',
        "def hear(): ...",
        "class HeardClips: ...",
        "def f(overlay_db): ...",
        "wander = 0.1",
    ],
)
def test_offences_are_found(text):
    assert list(in_source(text))


@pytest.mark.parametrize(
    "text",
    ['"""Hearing of storytellers."""', "def overhear(): ...", "# an overlay in the plot", '"""Offset of a clip."""'],
)
def test_other_words_are_left_alone(text):
    assert not list(in_source(text))


def test_code_and_documents_are_plain():
    found = offences()
    assert not found, "\n".join(f"{path}:{line}" for path, lines in found.items() for line in lines)
