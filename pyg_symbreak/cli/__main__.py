"""python -m pyg_symbreak.cli."""

from pyg_symbreak.cli import app

app()
