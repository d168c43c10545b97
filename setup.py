"""Build configuration; the tools' settings are in pyproject.toml."""

import re
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup

# The data files lie in the top-level datasets/ and are installed as package data.
DATA = "pyg_symbreak.datasets.files"
(VERSION,) = re.findall(r'^__version__ = "(.*)"$', Path("pyg_symbreak/__init__.py").read_text(encoding="utf-8"), re.M)
SOURCES = Path("pyg_symbreak/csrc")
NATIVE = Extension(
    "pyg_symbreak._native",
    sources=sorted(map(str, SOURCES.glob("*.cpp"))),
    depends=sorted(map(str, SOURCES.glob("*.h"))),
    language="c++",
    extra_compile_args=["/std:c++17"] if sys.platform == "win32" else ["-std=c++17", "-O2", "-g0", "-Wno-psabi"],
)

setup(
    name="pyg_symbreak",
    version=VERSION,
    description="Symmetry breaking for equivariant networks in PyTorch Geometric",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["pyg_symbreak", "pyg_symbreak.*"]), DATA],
    package_dir={DATA: "datasets"},
    package_data={DATA: ["*", "*/*"], "pyg_symbreak": ["py.typed", "*.pyi"], "pyg_symbreak.plot": ["page/*"]},
    ext_modules=[NATIVE],
    install_requires=[
        "torch>=2.7",
        "torch-geometric>=2.6",
        "e3nn>=0.5.6",
        "ase>=3.26",
        "moyopy>=0.21",
        "vesin>=0.6",
        "numpy>=1.26.4",
        "scipy>=1.11.4",
        "typer>=0.19",
        "rich>=13",
        "matplotlib>=3.8",
    ],
    extras_require={
        "scatter": ["torch-scatter"],
        "benchmark": ["libmsym", "pymatgen", "pynauty"],
        "peers": ["nequip>=0.19", "cuequivariance-torch>=0.13"],
        "distributed": ["ray>=2.9"],
        "quantum": ["pyscf"],
        "potentials": ["sevenn>=0.13"],
        "xtb": ["tblite>=0.8"],
        "docs": ["sphinx>=9", "furo", "myst-parser>=4", "sphinx-mathjax-offline", "lightning>=2.6"],
        "train": ["lightning>=2.6"],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3",
            "lightning>=2.6",
            "ruff",
            "mypy",
            "spglib>=2.5",
            "sympy",
            "triton>=3.3; sys_platform == 'linux'",
            "build",
            "uv",
        ],
    },
    entry_points={"console_scripts": ["pyg-symbreak = pyg_symbreak.cli:app"]},
)
