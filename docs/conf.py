"""Settings of the documentation site, which `make docs` builds: Sphinx with the repository's root as its source."""

import json
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent

project = "earmark"
author = "The earmark authors"
copyright = "The earmark authors, Apache-2.0"
extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon"]

# the root of the repository, so that links between pages are the same on the site and in the repository
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "results/*.md",
    "results/**/*.md",
    "src/earmark/hub/MODEL_CARD.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".*", "build", "dist", "site", "demo", "tests", "benchmarks", "results/first-run.head.md"]

myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 4
suppress_warnings = [
    "autoapi.python_import_resolution",  # names that arrive on first use
    "ref.python",  # names of axes, such as `label`, in the shapes of annotations
]

# docstrings are read, not imported: the site needs no PyTorch
autoapi_dirs = [str(ROOT / "src")]
autoapi_ignore = [f"*/earmark/{room}" for room in ("cli/*", "storage/*", "parallel/*", "demo.py", "__main__.py")]
autoapi_generate_api_docs = False
autoapi_options = ["members", "show-module-summary"]
autoapi_python_class_content = "class"
python_use_unqualified_type_names = True
add_module_names = False
default_role = "literal"
napoleon_use_rtype = False

html_theme = "furo"
html_title = "earmark"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_extra_path = ["extra"]
html_theme_options = {"navigation_with_keys": True}


class NotebookParser(MystParser):
    """Shows a notebook as a page: its text, its code and its outputs."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        parts = []
        for cell in json.loads(inputstring)["cells"]:
            source = "".join(cell["source"])
            parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
            for output in cell.get("outputs", []):
                text = output.get("text") or output["data"]["text/plain"]
                parts.append(f"```text\n{''.join(text)}\n```")
        name = Path(document["source"]).name
        parts.append(f"This page is the notebook {{download}}`{name} <{name}>`.")
        super().parse("\n\n".join(parts), document)


def draw_math(self: Any, node: nodes.Element) -> None:
    """MathML, which browsers draw without scripts and fonts from elsewhere."""
    block = isinstance(node, nodes.math_block)
    equation, _, number = node.astext().partition(r"\tag{")
    formula = convert(equation.strip(), display="block" if block else "inline")
    if block:
        label = f'<span class="eqno">({escape(number.rstrip("} "))})</span>' if number else ""
        formula = f'<div class="math">{formula}{label}</div>'
    self.body.append(formula)
    raise nodes.SkipNode


def list_records(app: Sphinx, page: str, source: list[str]) -> None:
    """Puts the decisions into the contents."""
    if page == "docs/decisions/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def setup(app: Sphinx) -> None:
    """Registers notebooks and equations."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    app.add_html_math_renderer("mathml", (draw_math, None), (draw_math, None))
    app.connect("source-read", list_records)


html_math_renderer = "mathml"
