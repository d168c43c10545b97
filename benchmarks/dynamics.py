"""The double pendulum of examples/dynamics.py: a baseline trained until it fits as well as the learned Lagrangian.

python benchmarks/dynamics.py
"""

import sys
from pathlib import Path

import torch

from pyg_symbreak.dynamics import Lagrangian, integrate

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import dynamics

STEPS, BATCHES = 5000, 500


def baseline(seed: int) -> None:
    torch.manual_seed(seed)
    true, test = Lagrangian(dynamics.double_pendulum), dynamics.swings(40)  # the starts of the example
    pool = [dynamics.swings(128) for _ in range(BATCHES)]
    with torch.no_grad():
        targets = [true(batch)[1] for batch in pool]
    model = dynamics.Rates(("pos", "vel"), coordinates=2, angles=True)
    turn = iter(range(STEPS))

    def loss() -> torch.Tensor:
        i = next(turn) % BATCHES
        return (model(pool[i])[1] - targets[i]).abs().mean()

    dynamics.train(model, loss, STEPS)
    with torch.no_grad():
        l1 = (model(test)[1] - true(test)[1]).abs().mean().item()
        energy = dynamics.along(true.energy, test, true.state, integrate(model, test, 500, 0.02))
    error = (energy[-1] - energy[0]).abs() / 29.4
    print(f"| {seed} | {l1:.2g} | {error.mean().item():.2g} | {error.median().item():.2g} |", flush=True)


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small
    print("| seed | L1 | mean | median |\n| --- | ---: | ---: | ---: |")
    for number in range(3):
        baseline(number)
