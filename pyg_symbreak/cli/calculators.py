"""Calculators of ASE by name, for commands that need energies."""

from __future__ import annotations

import importlib
import json
from typing import Any

__all__ = ["CALCULATORS", "made_calculator"]

CALCULATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "emt": ("ase.calculators.emt:EMT", {}),
    "lj": ("ase.calculators.lj:LennardJones", {}),
    "sevenn": ("sevenn.calculator:SevenNetCalculator", {"model": "7net-0", "device": "cpu"}),
    "chgnet": ("chgnet.model.dynamics:CHGNetCalculator", {"use_device": "cpu"}),
}
"""Where each is, and what it is made with unless parameters say otherwise."""


def made_calculator(name: str, parameters: str) -> Any:
    """An ASE calculator by a short name or module:Class, made with arguments given as JSON.

    Raises
    ------
    ValueError
        There is none of that name, it is not installed, or it does not take the arguments.
    """
    place, defaults = CALCULATORS.get(name, (name, {}))
    module, _, kind = place.partition(":")
    try:
        made = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        hint = f"pip install {name}" if defaults else f"give {', '.join(CALCULATORS)} or module:Class"
        raise ValueError(f"calculator {name!r}: {error}; {hint}") from error
    try:
        return made(**{**defaults, **json.loads(parameters)})
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"parameters {parameters!r} of {name}: {error}") from error
