"""Exercises of chapter 8: gaps on a grid, the floor of a family, and what goes below it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from companion.exact import kl_on_grid
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

# --- Exercise 1: the gap on a grid ----------------------------------------------------------------


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


# --- Exercise 2: the floor by search --------------------------------------------------------------


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

# --- Exercise 3: the reversed divergence ----------------------------------------------------------

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

# --- Exercise 4: what one peak costs --------------------------------------------------------------


def _one_peak(weights: Tensor) -> Tensor:
    return -weights.max(-1).values.log()


def _weights_cases() -> Iterable[Any]:
    """Weights of 3 peaks in 5 rows, and of 4 peaks in 2 rows; then one row."""
    for shape in ((5, 3), (2, 4), (1, 6)):
        weights = torch.randn(*shape, dtype=torch.float64).softmax(-1)
        yield extreme("one row" if len(weights) == 1 else "", weights)


def _bound_on_each_peak(weights):
    costs = -weights.log()
    return costs.min(dim=1).values


def _bound_row_by_row(weights):
    return [-math.log(max(row)) for row in weights.tolist()]


one_peak_bound = Exercise(
    solution=_one_peak,
    cases=_weights_cases,
    right=(
        _bound_on_each_peak,
        _bound_row_by_row,
    ),
    mistakes=(
        Mistake(
            "the peaks' weights forgotten",
            "log C is the cost where all peaks weigh the same; these do not.",
            lambda weights: torch.full(
                weights.shape[:1], math.log(weights.shape[1]), dtype=weights.dtype
            ),
        ),
        Mistake(
            "the lightest peak",
            "q may choose: on which peak does it pay least?",
            lambda weights: -weights.min(-1).values.log(),
        ),
        Mistake(
            "an average of −log π over the peaks",
            "q sits on one peak, and may choose the one on which it pays least.",
            lambda weights: -weights.log().mean(-1),
        ),
        Mistake(
            "one maximum for all rows",
            "Each row is a density of its own: take the maximum along one axis.",
            lambda weights: -weights.max().log().expand(len(weights)),
        ),
        Mistake(
            "the entropy of the weights",
            "That is an average of −log π over all peaks; q sits on one.",
            lambda weights: -torch.xlogy(weights, weights).sum(-1),
        ),
        Mistake(
            "the sign turned around",
            "A divergence is not negative, and the logarithm of a weight is.",
            lambda weights: weights.max(-1).values.log(),
        ),
        Mistake(
            "the weight itself, without a logarithm",
            "p ≥ π q gives log(q / p) ≤ −log π.",
            lambda weights: weights.max(-1).values,
        ),
        Mistake(
            "the mass that q leaves out",
            "KL counts where q has mass, and there the ratio q / p is 1 / π.",
            lambda weights: 1 - weights.max(-1).values,
        ),
        Mistake(
            "the logarithm of the mass that q leaves out",
            "In p ≥ π q stands the weight of the peak that q sits on.",
            lambda weights: -torch.log1p(-weights.max(-1).values),
        ),
        Mistake(
            "two equal peaks",
            "log 2 is the bound for weights of one half; here each row has its own.",
            lambda weights: torch.full_like(weights[:, 0], math.log(2)),
        ),
        Mistake(
            "a logarithm to base 2",
            "Nats take the natural logarithm.",
            lambda weights: -weights.max(-1).values.log2(),
        ),
        Mistake(
            "the largest weight of each peak instead of each row",
            "Each row is a density of its own: over which axis does its q choose?",
            lambda weights: -weights.max(0).values.log(),
        ),
    ),
)

# --- Exercise 5: the density of a mixture ---------------------------------------------------------


def _peak_densities(z: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    return Normal(means, scales).log_prob(z[:, None])


def _mixture(z: Tensor, weights: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    return (weights.log() + _peak_densities(z, means, scales)).logsumexp(-1)


def _mixture_cases() -> Iterable[Any]:
    """7 points and 3 peaks, then 5 and 4; one point; points near and far, peaks far apart."""
    for points, peaks, what in ((7, 3, ""), (5, 4, ""), (1, 3, "one point")):
        z = 3 * torch.randn(points, dtype=torch.float64)
        weights = torch.randn(peaks, dtype=torch.float64).softmax(0)
        means = 2 * torch.randn(peaks, dtype=torch.float64)
        scales = 0.5 + torch.rand(peaks, dtype=torch.float64)
        yield extreme(what, z, weights, means, scales)
    what = "points of which some lie so far out that every density there is 0 in floating point"
    far = torch.tensor([0.3, 160.0, -91.0, 68.0], dtype=torch.float64)
    yield extreme(what, far, weights[:2] / weights[:2].sum(), 70 * far.sign()[1:3], scales[:2])


def _mixture_by_torch(z, weights, means, scales):
    return MixtureSameFamily(Categorical(weights), Normal(means, scales)).log_prob(z)


def _mixture_spelled_out(z, weights, means, scales):
    error = (z[:, None] - means) / scales
    log_peaks = -0.5 * error**2 - scales.log() - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(weights.log() + log_peaks, 1)


def _mixture_by_hand(z, weights, means, scales):
    exponent = -0.5 * ((z[:, None] - means) / scales) ** 2
    height = weights / (scales * math.sqrt(2 * math.pi))
    return torch.logsumexp(exponent + height.log(), 1)


mixture_density = Exercise(
    solution=_mixture,
    cases=_mixture_cases,
    right=(
        _mixture_spelled_out,
        _mixture_by_hand,
        _mixture_by_torch,
    ),
    mistakes=(
        Mistake(
            "the peaks' weights forgotten",
            "Without them the density integrates to C.",
            lambda z, w, m, s: _peak_densities(z, m, s).logsumexp(-1),
        ),
        Mistake(
            "equal weights",
            "The weights are given; they need not be 1 / C.",
            lambda z, w, m, s: _peak_densities(z, m, s).logsumexp(-1) - math.log(len(w)),
        ),
        Mistake(
            "an average of logarithms",
            "The logarithm is of the sum: log Σ π N, not Σ π log N.",
            lambda z, w, m, s: (w * _peak_densities(z, m, s)).sum(-1),
        ),
        Mistake(
            "weights added to the logarithms",
            "A factor π becomes log π there.",
            lambda z, w, m, s: (w + _peak_densities(z, m, s)).logsumexp(-1),
        ),
        Mistake(
            "log-densities multiplied by the weights inside the logsumexp",
            "A factor π of a density is a summand log π of its logarithm.",
            lambda z, w, m, s: (w * _peak_densities(z, m, s)).logsumexp(-1),
        ),
        Mistake(
            "the weights put through a softmax",
            "They sum to one already: are they given to torch as logits?",
            lambda z, w, m, s: _mixture(z, w.softmax(0), m, s),
        ),
        Mistake(
            "the largest term alone",
            "A mixture adds all peaks' shares, the small ones too.",
            lambda z, w, m, s: (w.log() + _peak_densities(z, m, s)).max(-1).values,
        ),
        Mistake(
            "scales taken for variances",
            "`scales` are standard deviations already, which torch's Normal takes: no root.",
            lambda z, w, m, s: _mixture(z, w, m, s.sqrt()),
        ),
        Mistake(
            "scales squared",
            "torch's Normal takes the scale σ itself, not the variance σ².",
            lambda z, w, m, s: _mixture(z, w, m, s.square()),
        ),
        Mistake(
            "one Gaussian with the mean and the variance of the mixture",
            "A mixture keeps its peaks; these two moments alone describe another density.",
            lambda z, w, m, s: Normal(
                (w * m).sum(), ((w * (s**2 + m**2)).sum() - (w * m).sum() ** 2).sqrt()
            ).log_prob(z),
        ),
        Mistake(
            "the density itself",
            "Its logarithm is asked for, and far out the density underflows to zero.",
            lambda z, w, m, s: _mixture(z, w, m, s).exp(),
        ),
        Mistake(
            "a product of the peaks",
            "A mixture adds densities; adding log-densities multiplies them.",
            lambda z, w, m, s: (w.log() + _peak_densities(z, m, s)).sum(-1),
        ),
        Mistake(
            "densities that underflow",
            "Far out exp gives zero and its logarithm −∞: use logsumexp.",
            lambda z, w, m, s: (w * _peak_densities(z, m, s).exp()).sum(-1).log(),
        ),
    ),
)

# --- Exercise 6: the gap of the K-sample bound ----------------------------------------------------


def _k_gap(log_w: Tensor, log_p: Tensor) -> Tensor:
    return log_p - (log_w.logsumexp(1) - math.log(log_w.shape[1])).mean(0)


def _pooled(log_w: Tensor, log_p: Tensor) -> Tensor:
    pooled = log_w.flatten(0, 1)
    return log_p - pooled.logsumexp(0) + math.log(len(pooled))


def _k_gap_cases() -> Iterable[Any]:
    """R = 6 repetitions of K = 4 draws for B = 3 points, then 2, 7 and 5; then huge weights."""
    for shape, size, spread, what in (
        ((6, 4, 3), 0.0, 1.5, ""),
        ((2, 7, 5), 0.0, 1.5, ""),
        ((3, 5, 2), -1500.0, 1.5, "log-weights near −1500, where exp() gives 0"),
        ((2, 4, 3), -3000.0, 900.0, "log-weights that lie more than 700 nats apart"),
        ((1, 6, 2), 10_000.0, 1.5, "one repetition, with log-weights near 10,000"),
    ):
        log_w = spread * torch.randn(*shape, dtype=torch.float64) - 4 + size
        log_p = torch.randn(shape[-1], dtype=torch.float64) - 3 + size
        yield extreme(what, log_w, log_p)


def _k_gap_spelled_out(log_w, log_p):
    highest = log_w.max(1, keepdim=True).values
    total = (log_w - highest).exp().sum(1).log() + highest[:, 0]
    bound = total - math.log(log_w.shape[1])
    return log_p - bound.sum(0) / log_w.shape[0]


def _k_gap_by_relative_weights(log_w, log_p):
    return -torch.logsumexp(log_w - log_p - math.log(log_w.shape[1]), 1).mean(0)


k_sample_gap = Exercise(
    solution=_k_gap,
    cases=_k_gap_cases,
    right=(
        _k_gap_spelled_out,
        _k_gap_by_relative_weights,
    ),
    mistakes=(
        Mistake(
            "log K left out",
            "The bound is the logarithm of a mean of K weights, not of their sum.",
            lambda log_w, log_p: log_p - log_w.logsumexp(1).mean(0),
        ),
        Mistake(
            "repetitions and draws pooled into one logarithm",
            "That is the bound of R · K draws. L_K is an average over the R repetitions.",
            _pooled,
        ),
        Mistake(
            "the ELBO in the place of the K-sample bound",
            "The mean over the K draws stands inside the logarithm.",
            lambda log_w, log_p: log_p - log_w.mean((0, 1)),
        ),
        Mistake(
            "the largest weight of each repetition in the place of the mean",
            "The bound averages all K weights before the logarithm.",
            lambda log_w, log_p: log_p - log_w.max(1).values.mean(0),
        ),
        Mistake(
            "the largest weight of each repetition, divided by K, in the place of the mean",
            "The bound averages all K weights before the logarithm.",
            lambda log_w, log_p: log_p - log_w.max(1).values.mean(0) + math.log(log_w.shape[1]),
        ),
        Mistake(
            "the logarithm divided by K",
            "The mean of K weights is divided by K inside the logarithm: subtract log K outside.",
            lambda log_w, log_p: log_p - log_w.logsumexp(1).mean(0) / log_w.shape[1],
        ),
        Mistake(
            "repetitions inside the logarithm, draws outside",
            "log_w has shape (R, K, B): which axis holds the draws of one bound?",
            lambda log_w, log_p: log_p - (log_w.logsumexp(0) - math.log(len(log_w))).mean(0),
        ),
        Mistake(
            "the sign turned around",
            "The gap is what the bound lacks: log p(x) less the bound.",
            lambda log_w, log_p: -_k_gap(log_w, log_p),
        ),
        Mistake(
            "the bound in the place of its gap",
            "The gap is log p(x) less this number.",
            lambda log_w, log_p: log_p - _k_gap(log_w, log_p),
        ),
        Mistake(
            "the logarithm of R in the place of log K",
            "The mean inside the logarithm is over the K draws, axis 1.",
            lambda log_w, log_p: log_p - (log_w.logsumexp(1) - math.log(len(log_w))).mean(0),
        ),
        Mistake(
            "log K added",
            "A mean of K weights is their sum divided by K: subtract log K.",
            lambda log_w, log_p: log_p - (log_w.logsumexp(1) + math.log(log_w.shape[1])).mean(0),
        ),
        Mistake(
            "one repetition only",
            "L_K is an expectation: average over all R repetitions.",
            lambda log_w, log_p: log_p - log_w[0].logsumexp(0) + math.log(log_w.shape[1]),
        ),
        Mistake(
            "a sum over the repetitions",
            "An expectation is estimated by an average; does your number grow with R?",
            lambda log_w, log_p: log_p - (log_w.logsumexp(1) - math.log(log_w.shape[1])).sum(0),
        ),
    ),
)
