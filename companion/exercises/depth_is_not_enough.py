"""Exercises of chapter 8: gaps on a grid, refining q for each x, and what passes the floor."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion.exact import gaussian_floor, kl_on_grid
from companion.exercises.checking import Exercise, Function, Mistake, extreme
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction

# --- Exercise 1: the reversed divergence ----------------------------------------------------------

reversed_kl = Prediction(
    answer=math.sqrt(10),
    because=(
        "KL(p ‖ q) averages over p, so wherever p has mass q must have some: the best q has the "
        "mean and the variance of p, 0 and 10."
    ),
    mistakes={
        1.0: "so narrow a q covers one peak, as for KL(q ‖ p). Here the average is over p: what "
        "does a point of the peak that q leaves out contribute?",
        2.74: "that is the best q across both peaks for KL(q ‖ p). Here the average is over p.",
        3.0: "the peaks have a width of their own, which adds to the variance of their places.",
        4.0: "it is the variances that add, not the scales.",
    },
    tolerance=0.05,
    advice="Which mean and which variance make E_p log q largest?",
)

# --- Exercise 2: when floors add up ---------------------------------------------------------------

total_correlation = Prediction(
    answer=-0.5 * math.log(1 - 0.8**2),
    because="It is −½ log det Σ, for the units of q have variance 1, and det Σ = 1 − ρ².",
    mistakes={
        0.0: "the units of q are correlated, and that is what this divergence measures.",
        1 - 0.8**2: "that is det Σ: the total correlation is −½ of its logarithm.",
        -0.5 * math.log(1 - 0.8): "the determinant of Σ is 1 − ρ², not 1 − ρ.",
        -0.5 * math.log10(1 - 0.8**2): "that is a logarithm to the base 10.",
    },
    tolerance=0.005,
    unit="nats",
)

floor_of_four_peaks = Prediction(
    answer=2 * math.log(2),
    because=(
        "The four peaks are the product of two marginals with two peaks each, so the floors add "
        "up; or: q sits on one peak of weight ¼, and pays −log ¼."
    ),
    mistakes={
        math.log(2): "how much of p does the peak hold on which q sits?",
        4 * math.log(2): "a peak has the weight ¼, and −log ¼ is 2 log 2.",
        0.0: "a Gaussian has one peak, whatever its covariance.",
    },
    tolerance=0.005,
    unit="nats",
)

floor_of_two_peaks = Prediction(
    answer=math.log(2),
    because=(
        "The posterior is no product: which peak it is in one unit says which it is in the other. "
        "There is one choice, so log 2."
    ),
    mistakes={
        2 * math.log(2): "the floors add up for a product. Is this posterior one?",
        0.0: "a Gaussian along the diagonal would have half of its mass in the valley.",
    },
    tolerance=0.005,
    unit="nats",
)

# --- Exercise 3: the gap on a grid ----------------------------------------------------------------


def _gap(log_q: Tensor, log_joint: Tensor, cell: float) -> Tensor:
    log_target = log_joint - log_joint.logsumexp(0) - math.log(cell)
    return (log_q.exp() * (log_q - log_target)).sum() * cell


def _peaks(z: Tensor, means: Sequence[float], weights: Sequence[float]) -> Tensor:
    """Return the log-density of a mixture of Gaussians of scale 0.8 at the points z."""
    terms = [Normal(m, 0.8).log_prob(z) + math.log(w) for m, w in zip(means, weights, strict=True)]
    return torch.stack(terms).logsumexp(0)


def _gap_cases() -> Iterable[Any]:
    """Grids of different steps; log p(x) is −2.3, 1.7 and −1500."""
    for points, mean, scale, evidence in (
        (401, 0.5, 1.1, -2.3),
        (301, -1.0, 0.7, 1.7),
        (201, 0.2, 0.9, -1500),
    ):
        z = torch.linspace(-9, 9, points, dtype=torch.float64)
        log_joint = _peaks(z, (-1.4, 1.6), (0.4, 0.6)) + evidence
        log_q = Normal(mean, scale).log_prob(z)
        far = "an x so unlikely that every p(x, z) is 0 in floating point" if evidence < -9 else ""
        yield extreme(far, log_q, log_joint, 18 / (points - 1))
    z = torch.linspace(-9, 9, 901, dtype=torch.float64)
    log_joint = Normal(0.3, 0.1).log_prob(z) - 2
    what = "a posterior so narrow that its density is 0 in floating point where q has mass"
    yield extreme(what, Normal(0.4, 1.2).log_prob(z), log_joint, 0.02)


def _gap_term_by_term(log_q, log_joint, cell):
    highest = log_joint.max()
    evidence = (log_joint - highest).exp().sum().log() + highest + math.log(cell)
    return (log_q.exp() * (log_q - log_joint + evidence)).sum() * cell


def _gap_as_evidence_less_elbo(log_q, log_joint, cell):
    evidence = log_joint.logsumexp(0) + math.log(cell)
    return evidence - (log_q.exp() * (log_joint - log_q)).sum() * cell


def _gap_by_the_package(log_q, log_joint, cell):
    log_p = log_joint.log_softmax(0) - math.log(cell)
    return kl_on_grid(log_q, log_p, math.log(cell))


gap_on_grid = Exercise(
    solution=_gap,
    cases=_gap_cases,
    right=(
        _gap_term_by_term,
        _gap_as_evidence_less_elbo,
        _gap_by_the_package,
    ),
    mistakes=(
        Mistake(
            "the joint density used as if it were the posterior",
            "It integrates to p(x), not to one: divide by its sum over the grid times the cell.",
            lambda log_q, log_joint, cell: (log_q.exp() * (log_q - log_joint)).sum() * cell,
        ),
        Mistake(
            "the volume of a cell left out of the normaliser",
            "An integral is a sum times the cell, that of p(x) too.",
            lambda log_q, log_joint, cell: (
                (log_q.exp() * (log_q - log_joint + log_joint.logsumexp(0))).sum() * cell
            ),
        ),
        Mistake(
            "the volume of a cell left out of the sum",
            "Does your number grow when the grid gets finer?",
            lambda log_q, log_joint, cell: _gap(log_q, log_joint, cell) / cell,
        ),
        Mistake(
            "the volume of a cell left out of both sums",
            "Both the average under q and p(x) are integrals: each is a sum times the cell.",
            lambda log_q, log_joint, cell: (log_q.exp() * (log_q - log_joint.log_softmax(0))).sum(),
        ),
        Mistake(
            "the volume of a cell where its logarithm is due",
            "`cell` is the volume itself: beside a logsumexp stands math.log(cell).",
            lambda log_q, log_joint, cell: (
                (log_q.exp() * (log_q - log_joint.log_softmax(0) + cell)).sum() * cell
            ),
        ),
        Mistake(
            "a logarithm of the cell expected",
            "`cell` is the volume itself: multiply by it, without exp.",
            lambda log_q, log_joint, cell: (
                (log_q.exp() * (log_q - log_joint.log_softmax(0) + cell)).sum() * math.exp(cell)
            ),
        ),
        Mistake(
            "the ELBO in the place of the gap",
            "The gap is log p(x) less this number, and log p(x) is an integral over the grid too.",
            lambda log_q, log_joint, cell: (log_q.exp() * (log_joint - log_q)).sum() * cell,
        ),
        Mistake(
            "no average under q",
            "Each point of the grid counts with the density q has there.",
            lambda log_q, log_joint, cell: (
                (log_q - log_joint.log_softmax(0) + math.log(cell)).sum() * cell
            ),
        ),
        Mistake(
            "a mean over the grid's points",
            "The terms are weighted by q already; an integral is their sum times the cell.",
            lambda log_q, log_joint, cell: _gap(log_q, log_joint, cell) / cell / len(log_q),
        ),
        Mistake(
            "the reversed divergence",
            "The gap averages over q: which density stands in front of the logarithm?",
            lambda log_q, log_joint, cell: _reversed(log_q, log_joint, cell),
        ),
        Mistake(
            "the sign turned around",
            "A KL divergence is never negative: which of the two logarithms comes first?",
            lambda log_q, log_joint, cell: -_gap(log_q, log_joint, cell),
        ),
    ),
)


def _reversed(log_q: Tensor, log_joint: Tensor, cell: float) -> Tensor:
    log_target = log_joint - log_joint.logsumexp(0) - math.log(cell)
    return (log_target.exp() * (log_target - log_q)).sum() * cell


# --- Exercise 4: q refined for each x -------------------------------------------------------------


def _refined(
    z: Tensor,
    log_p: Tensor,
    cell: float,
    mean: Tensor,
    log_scale: Tensor,
    lr: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    for _ in range(steps):
        mean, log_scale = (v.detach().requires_grad_() for v in (mean, log_scale))
        log_q = Normal(mean, log_scale.exp()).log_prob(z[:, None])
        gap = (log_q.exp() * (log_q - log_p)).sum() * cell
        down = torch.autograd.grad(gap, (mean, log_scale))
        mean, log_scale = mean - lr * down[0], log_scale - lr * down[1]
    return mean.detach(), log_scale.detach()


def _refinement_cases() -> Iterable[Any]:
    """Posteriors with two peaks of unequal weight; grids of two steps."""
    for points, batch, lr, steps in ((401, 5, 0.15, 3), (301, 3, 0.08, 6)):
        z = torch.linspace(-12, 12, points, dtype=torch.float64)
        log_p = torch.stack(
            [_peaks(z, (-m, 0.6 + m), (0.35, 0.65)) for m in torch.rand(batch).tolist()], 1
        )
        mean = torch.randn(batch, dtype=torch.float64)
        log_scale = 0.3 * torch.randn(batch, dtype=torch.float64)
        yield z, log_p, 24 / (points - 1), mean, log_scale, lr, steps


def _refined_by_sgd(z, log_p, cell, mean, log_scale, lr, steps, kind=torch.optim.SGD):
    numbers = [v.detach().clone().requires_grad_() for v in (mean, log_scale)]
    optimizer = kind(numbers, lr=lr)
    for _ in range(steps):
        log_q = Normal(numbers[0], numbers[1].exp()).log_prob(z.reshape(-1, 1))
        optimizer.zero_grad()
        (torch.exp(log_q) * (log_q - log_p)).sum().mul(cell).backward()
        optimizer.step()
    return tuple(numbers)


def _refined_one_by_one(z, log_p, cell, mean, log_scale, lr, steps):
    each = [
        _refined(z, log_p[:, i : i + 1], cell, mean[i : i + 1], log_scale[i : i + 1], lr, steps)
        for i in range(len(mean))
    ]
    return torch.cat([m for m, _ in each]), torch.cat([s for _, s in each])


def _refined_by_pencil(z, log_p, cell, mean, log_scale, lr, steps):
    """With z = m + s ε both slopes are averages under q of log q − log p times its score."""
    for _ in range(steps):
        q = Normal(mean, log_scale.exp())
        noise = (z[:, None] - mean) / q.scale
        each = q.log_prob(z[:, None]).exp() * (q.log_prob(z[:, None]) - log_p) * cell
        in_mean = (each * noise / q.scale).sum(0)
        in_log_scale = (each * (noise.square() - 1)).sum(0)
        mean, log_scale = mean - lr * in_mean, log_scale - lr * in_log_scale
    return mean, log_scale


def _gradients_that_add_up(z, log_p, cell, mean, log_scale, lr, steps):
    totals = [torch.zeros_like(mean), torch.zeros_like(log_scale)]
    for _ in range(steps):
        moved = _refined(z, log_p, cell, mean, log_scale, 1.0, 1)
        slopes = [v - new for v, new in zip((mean, log_scale), moved, strict=True)]
        totals = [t + slope for t, slope in zip(totals, slopes, strict=True)]
        mean, log_scale = mean - lr * totals[0], log_scale - lr * totals[1]
    return mean, log_scale


def _mean_first(z, log_p, cell, mean, log_scale, lr, steps):
    for _ in range(steps):
        mean = _refined(z, log_p, cell, mean, log_scale, lr, 1)[0]
        log_scale = _refined(z, log_p, cell, mean, log_scale, lr, 1)[1]
    return mean, log_scale


def _in_the_scale(z, log_p, cell, mean, log_scale, lr, steps):
    for _ in range(steps):
        new_mean, moved = _refined(z, log_p, cell, mean, log_scale, 1.0, 1)
        # dKL/ds = dKL/d(log s) / s
        scale = log_scale.exp() - lr * (log_scale - moved) / log_scale.exp()
        mean, log_scale = mean - lr * (mean - new_mean), scale.log()
    return mean, log_scale


refinement = Exercise(
    solution=_refined,
    cases=_refinement_cases,
    right=(
        _refined_by_sgd,
        _refined_one_by_one,
        _refined_by_pencil,
    ),
    mistakes=(
        Mistake(
            "one step shared by all x",
            "Each x has a gradient of its own: do not average the gradients over x.",
            (
                "lr * down[0], log_scale - lr * down[1]",
                "lr * down[0].mean(), log_scale - lr * down[1].mean()",
            ),
        ),
        Mistake(
            "a gap averaged over x",
            "The mean divides each gradient by B, so that each x takes shorter steps: use the sum.",
            (".sum() * cell", ".sum(0).mean() * cell"),
        ),
        Mistake(
            "the reversed divergence",
            "The gap averages over q: which density stands in front of the logarithm?",
            ("log_q.exp() * (log_q - log_p)", "log_p.exp() * (log_p - log_q)"),
        ),
        Mistake(
            "steps uphill",
            "The gap should fall: subtract the gradient.",
            (
                "mean - lr * down[0], log_scale - lr * down[1]",
                "mean + lr * down[0], log_scale + lr * down[1]",
            ),
        ),
        Mistake(
            "gradients that add up over the steps",
            "`backward` adds to `.grad`: set it to zero before each step.",
            _gradients_that_add_up,
        ),
        Mistake(
            "log q left out",
            "A divergence averages log q − log p; −log p alone makes every q too narrow.",
            ("(log_q - log_p)", "(-log_p)"),
        ),
        Mistake(
            "the volume of a cell left out",
            "Is your gap larger on a finer grid? Then so is your step.",
            (".sum() * cell", ".sum()"),
        ),
        Mistake(
            "the scale moved in the place of its logarithm",
            "Ask for the derivative with respect to log s, and step there.",
            _in_the_scale,
        ),
        Mistake(
            "log_scale used as a scale",
            "Normal takes the scale itself: exp of it.",
            ("log_scale.exp()", "log_scale.abs()"),
        ),
        Mistake(
            "log_scale taken for a log-variance",
            "The scale is exp of it, not exp of one half of it.",
            ("log_scale.exp()", "(0.5 * log_scale).exp()"),
        ),
        Mistake(
            "the mean first, and then the scale at the new mean",
            "Take both derivatives at the same point, before either moves.",
            _mean_first,
        ),
        Mistake(
            "the means moved alone",
            "The scale has a gradient, too.",
            ("log_scale - lr * down[1]", "log_scale"),
        ),
        Mistake(
            "Adam in the place of gradient descent",
            "Adam's steps are about `lr` long, however small the gradient: step by `lr` times it.",
            lambda z, log_p, cell, mean, log_scale, lr, steps: _refined_by_sgd(
                z, log_p, cell, mean, log_scale, lr, steps, torch.optim.Adam
            ),
        ),
        Mistake(
            "one long step",
            "The gradient changes on the way: compute it anew at each step.",
            lambda z, log_p, cell, mean, log_scale, lr, steps: _refined(
                z, log_p, cell, mean, log_scale, lr * steps, 1
            ),
        ),
        Mistake(
            "a step too few",
            "Take `steps` steps.",
            lambda z, log_p, cell, mean, log_scale, lr, steps: _refined(
                z, log_p, cell, mean, log_scale, lr, steps - 1
            ),
        ),
    ),
)

# --- Exercise 5: a posterior that passes the floor ------------------------------------------------


def _peak_densities(z: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    return Normal(means, scales).log_prob(z[:, None])


def _mixture(z: Tensor, weights: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    return (weights.log() + _peak_densities(z, means, scales)).logsumexp(-1)


def _on_grid(log_q: Tensor, log_p: Tensor, cell: float) -> Tensor:
    return (log_q.exp() * (log_q - log_p)).sum() * cell


def _mixture_gap(
    z: Tensor, log_p: Tensor, cell: float, weights: Tensor, means: Tensor, scales: Tensor
) -> Tensor:
    return _on_grid(_mixture(z, weights, means, scales), log_p, cell)


def _of_logits(
    function: Function,
    z: Tensor,
    log_p: Tensor,
    cell: float,
    logits: Tensor,
    means: Tensor,
    scales: Tensor,
) -> list[Any]:
    """Call an answer with weights that sum to one wherever the gradient leads."""
    weights = logits.softmax(0).clone()  # an answer may spoil it
    return [function(z.detach(), log_p.detach(), cell, weights, means, scales)]


def _mixture_gap_cases() -> Iterable[Any]:
    """Mixtures of 3 and of 4 peaks on grids of two steps; then peaks that are far apart.

    In the place of the weights stand their logits.
    """
    for points, peaks in ((401, 3), (301, 4)):
        z = torch.linspace(-14, 14, points, dtype=torch.float64)
        weights = torch.randn(peaks, dtype=torch.float64)
        means = 1.5 * torch.randn(peaks, dtype=torch.float64)
        scales = 0.6 + torch.rand(peaks, dtype=torch.float64)
        yield z, _peaks(z, (-1.4, 1.6), (0.4, 0.6)), 28 / (points - 1), weights, means, scales
    what = "peaks so far apart that every density between them is 0 in floating point"
    z = torch.linspace(-70, 70, 1401, dtype=torch.float64)
    weights, means = torch.tensor([[0.3, 0.7], [-55, 50]], dtype=torch.float64)
    log_p = _peaks(z, (-54, 51), (0.4, 0.6))
    yield extreme(what, z, log_p, 0.1, weights.log(), means, scales[:2])


def _mixture_gap_by_torch(z, log_p, cell, weights, means, scales):
    q = MixtureSameFamily(Categorical(weights), Normal(means, scales))
    log_q = q.log_prob(z)
    return torch.sum(log_q.exp() * (log_q - log_p)) * cell


def _mixture_gap_spelled_out(z, log_p, cell, weights, means, scales):
    exponent = -0.5 * ((z[:, None] - means) / scales) ** 2
    height = weights / (scales * math.sqrt(2 * math.pi))
    log_q = torch.logsumexp(exponent + height.log(), 1)
    return (torch.exp(log_q) * log_q - torch.exp(log_q) * log_p).sum() * cell


def _mixture_gap_by_the_package(z, log_p, cell, weights, means, scales):
    return kl_on_grid(_mixture(z, weights, means, scales), log_p, math.log(cell))


def _peak_by_peak(
    z: Tensor, log_p: Tensor, cell: float, weights: Tensor, means: Tensor, scales: Tensor
) -> Tensor:
    log_q = _peak_densities(z, means, scales)
    return weights @ ((log_q.exp() * (log_q - log_p[:, None])).sum(0) * cell)


def _stratified_without_the_mixture(
    z: Tensor, log_p: Tensor, cell: float, weights: Tensor, means: Tensor, scales: Tensor
) -> Tensor:
    log_q = weights.log() + _peak_densities(z, means, scales)
    return (log_q.exp() * (log_q - log_p[:, None])).sum() * cell


mixture_gap = Exercise(
    solution=_mixture_gap,
    cases=_mixture_gap_cases,
    look=_of_logits,
    differentiable=True,
    results=("The gap",),
    right=(
        _mixture_gap_by_torch,
        _mixture_gap_spelled_out,
        _mixture_gap_by_the_package,
    ),
    mistakes=(
        Mistake(
            "an average of the peaks' own divergences",
            "Each peak alone pays for the others: log q is the logarithm of the whole mixture.",
            _peak_by_peak,
        ),
        Mistake(
            "the density of one peak where the mixture's belongs",
            "In (8.6) the sum over the peaks stands inside the logarithm.",
            _stratified_without_the_mixture,
        ),
        Mistake(
            "the peaks' weights forgotten",
            "Without them the density integrates to C.",
            lambda z, log_p, cell, w, m, s: _on_grid(
                _peak_densities(z, m, s).logsumexp(-1), log_p, cell
            ),
        ),
        Mistake(
            "equal weights",
            "The weights are given; they need not be 1 / C.",
            lambda z, log_p, cell, w, m, s: _on_grid(
                _peak_densities(z, m, s).logsumexp(-1) - math.log(len(w)), log_p, cell
            ),
        ),
        Mistake(
            "an average of logarithms",
            "The logarithm is of the sum: log Σ π N, not Σ π log N.",
            lambda z, log_p, cell, w, m, s: _on_grid(
                (w * _peak_densities(z, m, s)).sum(-1), log_p, cell
            ),
        ),
        Mistake(
            "weights added to the logarithms",
            "A factor π becomes log π there.",
            lambda z, log_p, cell, w, m, s: _on_grid(
                (w + _peak_densities(z, m, s)).logsumexp(-1), log_p, cell
            ),
        ),
        Mistake(
            "the weights put through a softmax",
            "They sum to one already: are they given to torch as logits?",
            lambda z, log_p, cell, w, m, s: _mixture_gap(z, log_p, cell, w.softmax(0), m, s),
        ),
        Mistake(
            "scales taken for variances",
            "`scales` are standard deviations already, which torch's Normal takes: no root.",
            lambda z, log_p, cell, w, m, s: _mixture_gap(z, log_p, cell, w, m, s.sqrt()),
        ),
        Mistake(
            "scales squared",
            "torch's Normal takes the scale σ itself, not the variance σ².",
            lambda z, log_p, cell, w, m, s: _mixture_gap(z, log_p, cell, w, m, s.square()),
        ),
        Mistake(
            "one Gaussian with the mean and the variance of the mixture",
            "That is one peak again, and one peak has the floor.",
            lambda z, log_p, cell, w, m, s: _on_grid(
                Normal(
                    (w * m).sum(), ((w * (s**2 + m**2)).sum() - (w * m).sum() ** 2).sqrt()
                ).log_prob(z),
                log_p,
                cell,
            ),
        ),
        Mistake(
            "the reversed divergence",
            "The gap averages over q: which density stands in front of the logarithm?",
            lambda z, log_p, cell, w, m, s: _on_grid(log_p, _mixture(z, w, m, s), cell),
        ),
        Mistake(
            "log q left out",
            "A divergence averages log q − log p.",
            lambda z, log_p, cell, w, m, s: -(_mixture(z, w, m, s).exp() * log_p).sum() * cell,
        ),
        Mistake(
            "the volume of a cell left out",
            "Does your number grow when the grid gets finer?",
            lambda z, log_p, cell, w, m, s: _mixture_gap(z, log_p, 1.0, w, m, s),
        ),
        Mistake(
            "the sign turned around",
            "A KL divergence is never negative: which of the two logarithms comes first?",
            lambda z, log_p, cell, w, m, s: -_mixture_gap(z, log_p, cell, w, m, s),
        ),
        Mistake(
            "densities that underflow",
            "Far out exp gives zero and its logarithm −∞: use logsumexp.",
            lambda z, log_p, cell, w, m, s: _on_grid(
                (w * _peak_densities(z, m, s).exp()).sum(-1).log(), log_p, cell
            ),
        ),
    ),
)

# --- Exercise 6: a floor above log 2 --------------------------------------------------------------


def _density(z: Tensor, log_p: Tensor) -> Tensor:
    """Return the density, normalised on the grid."""
    return log_p.double().softmax(0) / (z[1] - z[0])


def _is_even(z: Tensor, log_p: Tensor) -> bool:
    steps = z.diff()
    fits = z.dim() == 1 and z.shape == log_p.shape and len(z) >= 200
    return fits and bool((steps > 0).all() and (steps - steps[0]).abs().max() < 1e-3 * steps[0])


def _is_inside(z: Tensor, log_p: Tensor) -> bool:
    density = _density(z, log_p)
    return bool(density.isfinite().all() and density[[0, -1]].max() < 1e-3 * density.max())


def _is_fine(z: Tensor, log_p: Tensor) -> bool:
    """Whether the best Gaussian is far from the narrowest and the widest that the search tries."""
    _, mean, scale = gaussian_floor(z.double()[:, None], log_p.double()[:, None])
    middle, step = (z[0] + z[-1]) / 2, z[1] - z[0]
    reach = (mean - middle).abs() + 7 * scale
    return bool(scale > 4 * step and reach < 0.98 * (z[-1] - middle))


def _has_two_peaks(z: Tensor, log_p: Tensor) -> bool:
    density = _density(z, log_p)
    above = density[1:-1] > torch.maximum(density[:-2], density[2:])
    return int(above.sum()) == 2


def _is_mirrored(z: Tensor, log_p: Tensor) -> bool:
    density = _density(z, log_p)
    return bool((density - density.flip(0)).abs().max() < 1e-3 * density.max())


def _floor_of(z: Tensor, log_p: Tensor) -> float:
    return gaussian_floor(z.double()[:, None], log_p.double()[:, None])[0].item()


above_log_two = Inspection(
    conditions=(
        Condition(
            "The grid is not even, or log p has another shape",
            "Give z in ascending, equal steps, and one number for each of its points.",
            _is_even,
        ),
        Condition(
            "The density is not nearly nothing at the edges of the grid, or is no number",
            "Move the peaks in, or take a wider grid.",
            _is_inside,
        ),
        Condition(
            "There are not exactly two peaks",
            "Count the points that are higher than both their neighbours. Is the middle a third?",
            _has_two_peaks,
        ),
        Condition(
            "The two halves are not mirror images",
            "Reflected about the middle of the grid the density must stay: use z² or |z|.",
            _is_mirrored,
        ),
        Condition(
            "The best Gaussian is as narrow or as wide as the grid allows",
            "Then its divergence says more about the grid than about the peaks: take another grid.",
            _is_fine,
        ),
        Condition(
            "The floor is not above log 2",
            "One Gaussian leaves one peak out for log 2. What else could it have to pay for?",
            lambda z, log_p: _floor_of(z, log_p) > math.log(2) + 0.002,
        ),
    ),
    finding=lambda z, log_p: (
        f"The floor is {_floor_of(z, log_p):.3f} nats; log 2 is 0.693. "
        "Is the rest what one of the peaks alone costs a Gaussian?"
    ),
)

# --- Exercise 7: the auxiliary bound without r ----------------------------------------------------

auxiliary_without_r = Prediction(
    answer=0.689,
    because=(
        "q(u) cancels, and what is left is an average over u of ELBOs of single Gaussians, "
        "q(z | u, x): each has a gap of at least the floor, 0.689 at ±3."
    ),
    mistakes={
        0.0: "q(z | x) may have two peaks, but does this bound know it? What is left of the "
        "fraction once q(u) has cancelled?",
        0.994: "that is in bits; the book counts in nats.",
        0.84: "that is the best Gaussian across both peaks; one on a peak has a smaller gap.",
    },
    tolerance=0.005,  # log 2, what one whole peak costs, is as good an answer
    advice="What is left of the fraction once q(u) has cancelled?",
)
