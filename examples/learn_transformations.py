"""Learn transformations from pairs, orbits from a dictionary, and a latent transformation that composes.

Signals on a ring and their shifts, and images and their rotations, give the generator of the transformation and how
far each pair is transformed, after R. P. N. Rao and D. L. Ruderman (1999). A dictionary of noisy shifted templates is
pulled towards an orbit, after F. Anselmi et al. (2019). Auto-encoders of pairs of views learn a transformation of their
latents, after G. Giannone et al., arXiv 1912.03845: of clouds that turn by up to 45° either way, and of signals on a
cycle graph that move along it by up to an eighth of its length. Told two views, the auto-encoder then continues four
times as far, to where it has seen nothing, T(4w). The same auto-encoder without a transformation can go straight on in
its latents, or stay; the better of both counts.

    python examples/learn_transformations.py
    python examples/learn_transformations.py --seeds 5
    python examples/learn_transformations.py --seeds 10 --only dictionary
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import torch
import typer
from _seeds import Rows, over_seeds
from torch import Tensor

from pyg_symbreak.discover import TransformationVAE, fit_generator, learn_orbit

RING, BAND = 21, 4  # nodes, and the highest frequency of a signal
GRID = 9  # pixels along a side of an image
ATOMS, WEIGHT = 8, 1.0  # shifts of the template, and the weight of the penalty
CYCLE = 8  # nodes of the graph
SEEN = math.pi / 4  # the largest angle of the views that are trained with
FAR = 4  # how many times as far the views are that are asked for


# ------------------------------------------------------------------ generators of pairs


def shifts(pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Signals, their images, the shifts, and the derivative on their band, [RING, RING]."""
    place = torch.arange(RING) * 2 * math.pi / RING
    waves = torch.arange(1, BAND + 1)
    coefficients = torch.randn(2, pairs, BAND, generator=generator)
    sizes = 2 * (2 * torch.rand(pairs, generator=generator) - 1) * 2 * math.pi / RING

    def signal(shift: Tensor) -> Tensor:
        phase = waves[:, None] * (place + shift[:, None])[:, None, :]  # [P, BAND, RING]
        return (coefficients[0, :, :, None] * phase.cos() + coefficients[1, :, :, None] * phase.sin()).sum(1)

    phase = waves[:, None] * place
    basis = torch.cat([phase.cos(), phase.sin()]).T
    slope = torch.cat([-waves[:, None] * phase.sin(), waves[:, None] * phase.cos()]).T
    return signal(torch.zeros(pairs)), signal(sizes), sizes, slope @ torch.linalg.pinv(basis)


def rotations(pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Smooth images, the images turned, the angles, and x∂y - y∂x on such images, [GRID², GRID²]."""
    side = torch.linspace(-2.5, 2.5, GRID)
    x, y = (g.flatten() for g in torch.meshgrid(side, side, indexing="ij"))
    powers = [(a, b) for a in range(4) for b in range(4 - a)]
    coefficients = torch.randn(pairs, len(powers), generator=generator)
    angles = 2 * torch.rand(pairs, generator=generator) - 1

    def basis(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([x**a * y**b * (-(x**2 + y**2) / 2).exp() for a, b in powers], dim=-1)

    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    turned = torch.einsum("pgk,pk->pg", basis(cos * x - sin * y, sin * x + cos * y), coefficients)
    slope = torch.autograd.functional.jvp(
        lambda t: basis(t.cos() * x - t.sin() * y, t.sin() * x + t.cos() * y), torch.zeros(()), torch.ones(())
    )[1]
    return coefficients @ basis(x, y).T, turned, angles, slope @ torch.linalg.pinv(basis(x, y))


def fitted(x: Tensor, images: Tensor, sizes: Tensor, truth: Tensor, steps: int) -> dict:
    """The error of the operator, relative, and that of the sizes, root mean square over their spread."""
    fit = fit_generator(x, images, steps=steps)
    scale = (fit.generators[0] * truth).sum() / fit.generators[0].square().sum()
    miss = fit.sizes[:, 0] / scale - sizes
    return {
        "operator error": float((scale * fit.generators[0] - truth).norm() / truth.norm()),
        "size error": float(miss.square().mean().sqrt() / sizes.std()),
    }


# ------------------------------------------------------------------ dictionaries


def orbit_distance(atoms: Tensor) -> float:
    """Root mean square distance to the nearest orbit of shifts, over the size of the atoms, in their best order.

    The nearest orbit of atoms that are shifted by 0, 1, ... has the mean of the atoms shifted back as its template.
    The order is grown from the first atom: each shift takes the atom that is nearest to it.
    """
    best = math.inf
    for start in atoms:
        left, back = list(range(len(atoms))), []
        for shift in range(len(atoms)):
            miss = (atoms[left] - start.roll(shift)).norm(dim=1)
            back.append(atoms[left.pop(int(miss.argmin()))].roll(-shift))
        turned = torch.stack(back)
        best = min(best, float((turned - turned.mean(0)).norm() / atoms.norm()))
    return best


def dictionary(seed: int, generator: torch.Generator, steps: int) -> dict:
    """How far dictionaries of noisy members of an orbit are from an orbit, with the penalty and without."""
    template = torch.randn(ATOMS, generator=generator)
    drawn = torch.randint(ATOMS, (48,), generator=generator)
    x = torch.stack([template.roll(int(i)) for i in drawn]) + 0.35 * torch.randn(48, ATOMS, generator=generator)
    pulled, plain = (orbit_distance(learn_orbit(x, ATOMS, weight, steps, seed=seed)) for weight in (WEIGHT, 0.0))
    return {"error": pulled, "without": plain, "better": "yes" if pulled < plain else "no"}


# ------------------------------------------------------------------ latent transformations


def clouds(count: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Clouds of five points, a function of the angles [count] by which they are turned."""
    shape = torch.tensor([[1.0, 0.0], [0.0, 0.5], [-1.0, 0.3], [0.2, -1.0], [0.6, 0.8]])
    x = shape + 0.2 * torch.randn(count, 5, 2, generator=generator)

    def view(a: Tensor) -> Tensor:
        turn = torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()], dim=1).view(count, 2, 2)
        return torch.einsum("nij,naj->nai", turn, x)

    return view


def waves(count: int, generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Signals of two frequencies on the nodes of a cycle graph, a function of how far they are moved along it."""
    place = torch.arange(CYCLE) * 2 * math.pi / CYCLE
    phases = torch.tensor([0.3, 1.1]) + 0.5 * torch.randn(count, 2, generator=generator)
    sizes = torch.tensor([1.0, 0.7]) + 0.2 * torch.randn(count, 2, generator=generator)

    def view(a: Tensor) -> Tensor:
        parts = [sizes[:, k, None] * ((k + 1) * (place + a[:, None]) + phases[:, k, None]).cos() for k in (0, 1)]
        return (parts[0] + parts[1])[:, :, None]

    return view


def pairs_of_views(make: Callable, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Views that are transformed by up to SEEN either way, two of each."""
    view = make(count, generator)
    first, second = SEEN * (2 * torch.rand(2, count, generator=generator) - 1)
    return view(first), view(second)


def rows_of_views(make: Callable, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A view, one that is transformed by between half of SEEN and SEEN, either way, and one FAR times as far."""
    view = make(count, generator)
    draws = 2 * torch.rand(count, generator=generator) - 1
    size = SEEN / 2 * (draws.sign() + draws)
    return view(torch.zeros(count)), view(size), view(FAR * size)


def train(make: Callable, action: str, seed: int, steps: int) -> TransformationVAE:
    """A model of pairs of views within SEEN, its latents of as many dimensions as views span."""
    generator = torch.Generator().manual_seed(seed)  # so that all models see the same views
    x, _ = pairs_of_views(make, 200, generator)
    torch.manual_seed(seed)
    latent = int(torch.linalg.matrix_rank(x.flatten(1)))
    model = TransformationVAE(*x.shape[1:], latent=latent, action=action)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(*pairs_of_views(make, 256, generator), generator).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return model


def latent(make: Callable, seed: int, generator: torch.Generator, steps: int) -> dict:
    """Errors of views two to four times as far as any seen, with a latent transformation and without."""
    models = {action: train(make, action, seed, steps) for action in ("group", "free", "none")}
    x, near, far = rows_of_views(make, 200, generator)

    def error(latents: Tensor, model: TransformationVAE) -> float:
        return float((model.decode(latents) - far).norm() / far.norm())

    with torch.no_grad():
        errors = {}
        for action in ("group", "free"):
            model = models[action]
            errors[action] = error(model.transform(model.encode(x), FAR * model.infer(x, near, reach=4.0)), model)
        plain = models["none"]
        first, second = plain.encode(x), plain.encode(near)
        without = min(error(first + FAR * (second - first), plain), error(second, plain))
        some = torch.randn(2, 64, generator=generator)
        composed = {action: models[action].composition_error(*some) for action in ("group", "free")}
        return {
            "error": errors["group"],
            "without": without,
            "better": "yes" if 2 * errors["group"] <= without else "no",
            "any T(w)": errors["free"],
            "without, shown": error(plain.encode(far), plain),
            "composition": composed["group"],
            "of any T(w)": composed["free"],
        }


# ------------------------------------------------------------------ output


def figure(rows: Rows) -> plt.Figure:
    """Errors with and without what is learned, on a log axis."""
    fig, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    names = [name for name, row in rows.items() if "without" in row]
    for offset, (key, color) in enumerate({"error": "#30638e", "without": "#d1495b"}.items()):
        axes.barh([i + 0.38 * offset for i in range(len(names))], [rows[n][key] for n in names], 0.36, color=color)
    axes.set(yticks=[i + 0.19 for i in range(len(names))], yticklabels=names, xlabel="relative error", xscale="log")
    axes.legend(["with orbit or transformation", "without"], fontsize=8)
    return fig


def main(
    out: Annotated[Path, typer.Option(help="Folder for table, figure and metrics.")] = Path(
        "results/learn_transformations"
    ),
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 1,
    pairs: Annotated[int, typer.Option(help="Pairs that a generator is fitted to.")] = 200,
    steps: Annotated[int, typer.Option(help="Steps of each training.")] = 600,
    only: Annotated[str, typer.Option(help="Only rows whose name holds this.")] = "",
) -> None:
    """Generators of pairs, dictionaries pulled towards orbits, and latent transformations."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # the tensors are small

    def run(seed: int) -> Rows:
        parts = {
            "shifts on a ring": lambda g: fitted(*shifts(pairs, g), steps // 2),
            "rotations of images": lambda g: fitted(*rotations(pairs, g), steps // 2),
            "dictionary": lambda g: dictionary(seed, g, steps),
            "latent, clouds": lambda g: latent(clouds, seed, g, steps),
            "latent, cycle graph": lambda g: latent(waves, seed, g, steps),
        }
        return {name: make(torch.Generator().manual_seed(seed)) for name, make in parts.items() if only in name}

    runs = over_seeds(run, range(seed, seed + seeds), "What was learned", out)
    if any("without" in row for row in runs[0].values()):
        figure(runs[0]).savefig(out / "learn_transformations.png", dpi=100)


if __name__ == "__main__":
    typer.run(main)
