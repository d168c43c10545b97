"""What takes longer than examples/dynamics.py, three seeds each.

``double`` trains a baseline of the double pendulum until it fits as well as the learned Lagrangian; ``paper`` learns
spring and pendulum with the network, the data and the budget of S. Greydanus et al., arXiv 1906.01563::

    OMP_NUM_THREADS=1 python benchmarks/dynamics.py double
    OMP_NUM_THREADS=1 python benchmarks/dynamics.py paper
"""

import sys
from pathlib import Path

import torch
import typer

from pyg_symbreak.dynamics import GraphEnergy, Hamiltonian, Lagrangian, integrate

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import dynamics

STEPS, BATCHES = 5000, 500  # of the double pendulum
app = typer.Typer()


@app.command()
def double(seeds: int = 3) -> None:
    """Error of the energy after 10 s, divided by 29.4, of a baseline that fits as well as ours."""
    print("| seed | L1 | mean | median |\n| --- | ---: | ---: | ---: |")
    for seed in range(seeds):
        torch.manual_seed(seed)
        true, test = Lagrangian(dynamics.double_pendulum), dynamics.swings(40)  # the starts of the example
        pool = [dynamics.swings(128) for _ in range(BATCHES)]
        with torch.no_grad():
            targets = [true(batch)[1] for batch in pool]
        model = dynamics.Rates(("pos", "vel"), coordinates=2, angles=True)
        turn = iter(range(STEPS))

        def loss(model=model, turn=turn, pool=pool, targets=targets) -> torch.Tensor:
            i = next(turn) % BATCHES
            return (model(pool[i])[1] - targets[i]).abs().mean()

        dynamics.train(model, loss, STEPS)
        with torch.no_grad():
            l1 = (model(test)[1] - true(test)[1]).abs().mean().item()
            energy = dynamics.along(true.energy, test, true.state, integrate(model, test, 500, 0.02))
        error = (energy[-1] - energy[0]).abs() / 29.4
        print(f"| {seed} | {l1:.2g} | {error.mean().item():.2g} | {error.median().item():.2g} |", flush=True)


@app.command()
def paper(seeds: int = 3) -> None:
    """Mean squared error of the energy over 20 units of time: 200 tanh, 2000 steps of Adam at 1e-3, decay 1e-4."""
    print("| seed | system | baseline | ours | ratio |\n| --- | --- | ---: | ---: | ---: |")
    for seed in range(seeds):
        for name in dynamics.SYSTEMS:
            torch.manual_seed(seed)
            data, rates = dynamics.observed(name, 25, 0.1)
            test, energy = dynamics.starts(name, 25), dynamics.truth(name).energy
            errors = []
            for model in dynamics.Rates(("pos", "momentum"), hidden=200), Hamiltonian(GraphEnergy(1, hidden=200)):
                optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
                for _ in range(2000):
                    optimizer.zero_grad()
                    sum((a - b).square().mean() for a, b in zip(model(data), rates, strict=True)).backward()
                    optimizer.step()
                with torch.no_grad():
                    path = integrate(model, test, 200, 0.1)
                    values = dynamics.along(energy, test, model.state, path)
                errors.append((values - values[0]).square().mean().item())
            ratio = errors[0] / errors[1]
            print(f"| {seed} | {name} | {errors[0]:.2g} | {errors[1]:.2g} | {ratio:.0f} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)  # the tensors are small
    torch.set_default_dtype(torch.float64 if sys.argv[1:2] == ["double"] else torch.float32)
    app()
