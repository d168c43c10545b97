"""Sphinx: `make docs` writes the site to build/docs."""

import importlib
import pkgutil
import re
import sys
from pathlib import Path

from typer.cli import get_docs_for_click
from typer.main import get_command

import pyg_symbreak
from pyg_symbreak.cli import app

sys.path.insert(0, str(Path(__file__).parent))

project = "pyg_symbreak"
version = release = pyg_symbreak.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["images", "README.md"]
html_theme = "furo"
html_title = "pyg_symbreak"
html_static_path: list[str] = []
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Shapes"]
suppress_warnings = ["ref.python"]  # names that two packages export, such as groups.Representation.irreps

# A page of the reference for each package, which documents all that its __all__ names.
REFERENCE = Path(__file__).parent / "reference"
# A page for each table of figures that the benchmarks made.
RESULTS = Path(__file__).parent / "results"
TABLES = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("*.md"))
PACKAGES = [m.name for m in pkgutil.iter_modules(pyg_symbreak.__path__) if m.name[0] != "_" and m.name != "cli"]


def page_of(name: str) -> str:
    """The page of one package, in reStructuredText."""
    module = importlib.import_module(f"pyg_symbreak.{name}")
    title = f"pyg_symbreak.{name}"
    lines = [title, "=" * len(title), "", f".. automodule:: {title}", "   :no-members:", ""]
    for public in module.__all__:
        value = getattr(module, public)
        kind = "class" if isinstance(value, type) else "function" if callable(value) else "data"
        lines += [f".. auto{kind}:: {title}.{public}"]
        lines += ["   :members:", ""] if kind == "class" else [""]
    return "\n".join(lines)


def command_line() -> str:
    """The page of all commands and their options, as their help has it, in Markdown."""
    command = get_command(app)
    context = command.make_context("pyg-symbreak", [], resilient_parsing=True)
    return get_docs_for_click(obj=command, ctx=context, name="pyg-symbreak", title="Command line")


def underline_shapes(app, what, name, obj, options, lines):
    """PyG's heading of shapes becomes one that napoleon knows."""
    if "Shapes:" in lines:
        at = lines.index("Shapes:")
        lines[at : at + 1] = ["Shapes", "------"]


def escape_bars(app, what, name, obj, options, lines):
    """An order |S| is no substitution, as it would be in reStructuredText; formulas and literals stay as they are."""
    in_formula = False
    for number, line in enumerate(lines):
        if line.strip():
            in_formula = ".. math::" in line or (in_formula and line.startswith(" "))
        if not in_formula and not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(``.*?``|:math:`.*?`)", line)
            lines[number] = "".join(p.replace("|", r"\|") if k % 2 == 0 else p for k, p in enumerate(parts))


def link_to_results(app, docname, source):
    """Links to tables of the benchmarks lead to their pages of the site."""
    inside = "" if docname.startswith("results/") else "../" * docname.count("/") + "results/"
    source[0] = re.sub(r"\]\((?:\.\./)+benchmarks/results/(\w+\.md)", rf"]({inside}\1", source[0])


def write_changed(path: Path, text: str) -> None:
    """Write a page, unless it is there as it would be, so that Sphinx does not read it anew."""
    path.parent.mkdir(exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_interactive_sets(app, exception):
    """The sets of all point groups in three dimensions, where pages are written."""
    if exception is None and app.builder.format == "html":
        from make_interactive_sets import interactive_page

        (Path(app.outdir) / "sets.html").write_text(interactive_page(), encoding="utf-8")


def setup(app):
    """Write the pages of the reference and of the results before they are read."""
    app.connect("autodoc-process-docstring", underline_shapes, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", escape_bars, priority=900)  # after napoleon
    app.connect("source-read", link_to_results)
    app.connect("build-finished", write_interactive_sets)
    for name in PACKAGES:
        write_changed(REFERENCE / f"{name}.rst", page_of(name))
    write_changed(REFERENCE / "command_line.md", command_line())
    for table in TABLES:
        write_changed(RESULTS / table.name, table.read_text(encoding="utf-8"))
