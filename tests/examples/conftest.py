"""The example that a test module names in EXAMPLE, and its default dtype."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.append(str(EXAMPLES))  # where an example finds _shared.py when it is run


@pytest.fixture(scope="module")
def example(request):
    name = request.module.EXAMPLE
    path = EXAMPLES / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _float64(double):
    """Examples compute in float64."""
