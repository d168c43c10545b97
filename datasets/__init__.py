"""Data files of pyg_symbreak.datasets; README.md beside this file lists their sources."""
