"""Exercises of chapter 8: gaps on a grid, the floor of a family, and what goes below it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion.exact import gaussian_floor, kl_on_grid
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction

# --- Exercise 1: the reversed divergence ----------------------------------------------------------

reversed_kl = Prediction(
    answer="both",
    because=(
        "KL(p ‖ q) averages over p, so wherever p has mass q must have some: the best q has the "
        "mean and the variance of p, 0 and 10."
    ),
    mistakes={
        "one": "that is the answer for KL(q ‖ p). Here the average is over p: what does a point of "
        "the peak that q leaves out contribute?",
    },
)

# --- Exercise 2: when floors add up ---------------------------------------------------------------

total_correlation = Prediction(
    answer=-0.5 * math.log(1 - 0.8**2),
    because="It is −½ log det Σ, for the units of q have variance 1, and det Σ = 1 − ρ².",
    mistakes={
        0.0: "the units of q are correlated, and that is what this divergence measures.",
        -0.5 * math.log(1 - 0.8): "the determinant of Σ is 1 − ρ², not 1 − ρ.",
    },
    tolerance=0.005,
    unit="nats",
)

divergence_from_a_product = Prediction(
    answer=math.log(4) - 0.75 - 0.5 * math.log(1 - 0.8**2),
    because=(
        "Twice KL(N(0, 1) ‖ N(0, 4)) = 0.318, and the total correlation, 0.511. Independent units "
        "with the same marginals would save the second."
    ),
    mistakes={
        math.log(4) - 0.75: "the total correlation is left out: q is no product.",
        0.5 * (math.log(4) - 0.75): "that is the divergence of one unit.",
        0.5 * (math.log(4) - 0.75 - math.log(1 - 0.8**2)): "both units count, not one.",
        math.log(4)
        - 0.75
        + 0.5 * math.log(1 - 0.8**2): "the total correlation is added: a q whose "
        "units hang together is farther from a product.",
        2 * math.log(4) - 0.9375 - 0.5 * math.log(1 - 0.8**2): "4 is the variance of p, not its "
        "scale.",
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


# --- Exercise 4: the floor by search --------------------------------------------------------------


def _candidates(z: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """Return log N(z; m, s²) for all pairs, (M, S, N)."""
    return Normal(means[:, None, None], scales[:, None]).log_prob(z)


def _all_kl(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    log_q = _candidates(z, means, scales)
    return (log_q.exp() * (log_q - log_p)).sum(-1) * cell


def _all_reversed(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - _candidates(z, means, scales))).sum(-1) * cell


def _floor(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    return _all_kl(z, log_p, cell, means, scales).min()


def _matched(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    mean = (log_p.exp() * z).sum() * cell
    scale = ((log_p.exp() * (z - mean).square()).sum() * cell).sqrt()
    return _all_kl(z, log_p, cell, mean[None], scale[None])[0, 0]


def _at_reversed(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    forward = _all_kl(z, log_p, cell, means, scales).flatten()
    return forward[_all_reversed(z, log_p, cell, means, scales).argmin()]


def _cross_entropy(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    return -(_candidates(z, means, scales).exp() * log_p).sum(-1).min() * cell


def _one_at_a_time(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    kl = _all_kl(z, log_p, cell, means, scales)
    return kl[kl[:, 0].argmin()].min()


def _in_turns(z: Tensor, log_p: Tensor, cell: float, means: Tensor, scales: Tensor) -> Tensor:
    kl = _all_kl(z, log_p, cell, means, scales)
    mean = len(means) // 2
    for _ in range(20):
        scale = kl[mean].argmin()
        mean = int(kl[:, scale].argmin())
    return kl[mean, scale]


def _floor_cases() -> Iterable[Any]:
    """Peaks far apart and near; the candidates are in no order."""
    for points, distance, counts, best in ((401, 2.6, (11, 7), 4), (301, 1.1, (9, 5), 1)):
        z = torch.linspace(-14, 14, points, dtype=torch.float64)
        log_p = _peaks(z, (-distance, distance), (0.35, 0.65))
        means = torch.linspace(-3, 3, counts[0], dtype=torch.float64).roll(best)
        scales = torch.linspace(0.5, 2.5, counts[1], dtype=torch.float64).roll(best)
        yield z, log_p, 28 / (points - 1), means, scales
    what = "a best pair that stands last, and candidates whose density is 0 on much of the grid"
    near = torch.tensor([[0.5, 1.2], [0.3, 0.7]], dtype=torch.float64)
    yield extreme(what, z, log_p, 28 / (points - 1), *near)
    # From the first, the middle and the last candidate a search in turns stays across both peaks.
    z = torch.linspace(-14, 14, 351, dtype=torch.float64)
    means = torch.linspace(-3.6, 3.6, 9, dtype=torch.float64)[[3, 0, 1, 2, 4, 6, 7, 8, 5]]
    scales = torch.linspace(0.6, 3, 7, dtype=torch.float64)[[4, 0, 1, 5, 2, 3, 6]]
    yield z, _peaks(z, (-3.2, 3.2), (0.35, 0.65)), 28 / 350, means, scales


def _floor_spelled_out(z, log_p, cell, means, scales):
    mean, scale = means[:, None, None], scales[None, :, None]
    log_q = -0.5 * ((z - mean) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
    kl = (log_q.exp() * (log_q - log_p)).sum(-1) * cell
    return kl.min()


def _floor_in_loops(z, log_p, cell, means, scales):
    best = math.inf
    for m in means.tolist():
        for s in scales.tolist():
            log_q = Normal(m, s).log_prob(z)
            best = min(best, float((log_q.exp() * (log_q - log_p)).sum() * cell))
    return best


def _floor_by_entropy(z, log_p, cell, means, scales):
    q = Normal(means.repeat_interleave(len(scales)), scales.repeat(len(means)))
    return -(q.entropy() + q.log_prob(z[:, None]).exp().T @ log_p * cell).max()


floor_by_search = Exercise(
    solution=_floor,
    cases=_floor_cases,
    right=(
        _floor_spelled_out,
        _floor_in_loops,
        _floor_by_entropy,
    ),
    mistakes=(
        Mistake(
            "moments matched instead of the divergence minimised",
            "The Gaussian with the mean and variance of p minimises KL(p ‖ q), the other one.",
            _matched,
        ),
        Mistake(
            "the smallest reversed divergence",
            "The gap is KL(q ‖ p): it averages over q.",
            lambda z, log_p, cell, means, scales: _all_reversed(
                z, log_p, cell, means, scales
            ).min(),
        ),
        Mistake(
            "KL(q ‖ p) at the q that minimises KL(p ‖ q)",
            "Search with the divergence that you report.",
            _at_reversed,
        ),
        Mistake(
            "the means searched at one scale, the scales at that mean",
            "The best mean depends on the scale: go through all pairs.",
            _one_at_a_time,
        ),
        Mistake(
            "means and scales searched in turns",
            "Such a search stops where no single change helps, across both peaks. Try all pairs.",
            _in_turns,
        ),
        Mistake(
            "each mean tried with one scale alone",
            "`zip` makes as many pairs as the shorter list has entries: go through all M · S.",
            lambda z, log_p, cell, means, scales: (
                _all_kl(z, log_p, cell, means, scales).diagonal().min()
            ),
        ),
        Mistake(
            "scales squared",
            "torch's Normal takes the scale s itself, not the variance s².",
            lambda z, log_p, cell, means, scales: _floor(z, log_p, cell, means, scales.square()),
        ),
        Mistake(
            "the place of the minimum",
            "argmin tells which pair is best; the floor is its divergence.",
            lambda z, log_p, cell, means, scales: _all_kl(z, log_p, cell, means, scales).argmin(),
        ),
        Mistake(
            "the volume of a cell left out",
            "Does your number grow when the grid gets finer?",
            lambda z, log_p, cell, means, scales: _floor(z, log_p, cell, means, scales) / cell,
        ),
        Mistake(
            "log q left out",
            "A divergence averages log q − log p; −log p alone rewards the narrowest candidates.",
            _cross_entropy,
        ),
        Mistake(
            "an average over the candidates",
            "A floor is what the best member of the family reaches.",
            lambda z, log_p, cell, means, scales: _all_kl(z, log_p, cell, means, scales).mean(),
        ),
        Mistake(
            "the largest divergence",
            "A floor lies under all gaps of the family, not over them.",
            lambda z, log_p, cell, means, scales: _all_kl(z, log_p, cell, means, scales).max(),
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


def _mixture_gap_cases() -> Iterable[Any]:
    """Mixtures of 3 and of 4 peaks on grids of two steps; then peaks that are far apart."""
    for points, peaks in ((401, 3), (301, 4)):
        z = torch.linspace(-14, 14, points, dtype=torch.float64)
        weights = torch.randn(peaks, dtype=torch.float64).softmax(0)
        means = 1.5 * torch.randn(peaks, dtype=torch.float64)
        scales = 0.6 + torch.rand(peaks, dtype=torch.float64)
        yield z, _peaks(z, (-1.4, 1.6), (0.4, 0.6)), 28 / (points - 1), weights, means, scales
    what = "peaks so far apart that every density between them is 0 in floating point"
    z = torch.linspace(-70, 70, 1401, dtype=torch.float64)
    weights, means = torch.tensor([[0.3, 0.7], [-55, 50]], dtype=torch.float64)
    yield extreme(what, z, _peaks(z, (-54, 51), (0.4, 0.6)), 0.1, weights, means, scales[:2])


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
            "In (8.5) the sum over the peaks stands inside the logarithm.",
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
