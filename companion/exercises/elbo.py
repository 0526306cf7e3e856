"""Exercises of chapter 3: the bound, its gap, and the bound from several samples."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from companion.exact import DiscreteModel
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.predicting import Prediction

# --- Exercise 1: constant weights -----------------------------------------------------------------

constant_weights = Prediction(
    answer=math.log(4),
    because=(
        "Every weight is p(x) · 0.25, so the ELBO is log p(x) − log 4: constant weights show a "
        "tight bound only where q misses nothing."
    ),
    mistakes={
        0.0: "constant weights make Jensen lose nothing, but log E_q[w] is then log p(x) of the "
        "part that q covers. What does the first line of the proof integrate over?",
        -math.log(4): "a gap below zero would put the ELBO above log p(x).",
        2.0: "that is the gap in bits; the book counts in nats.",
        0.25: "that is the covered probability itself; where does the logarithm go?",
        0.75: "that is the missing probability; the gap is E_q[log q / posterior].",
        -math.log(0.75): "weigh the ratio q / posterior where q is, not where it is not.",
    },
    tolerance=0.006,
    unit="nats",
)

# --- Exercise 2: the ELBO from samples ------------------------------------------------------------

Density = Callable[[Tensor], Tensor]


def _elbo_from_samples(z: Tensor, log_joint: Density, log_q: Density) -> Tensor:
    return (log_joint(z) - log_q(z)).mean(0)


def _at_the_mean(z: Tensor, log_joint: Density, log_q: Density) -> Tensor:
    mean = z.mean(0, keepdim=True)
    return (log_joint(mean) - log_q(mean))[0]


def _elbo_cases() -> Iterable[Any]:
    """Samples of pairwise-distinct sizes: K = 7 draws for B = 5 points, d = 3; and more."""
    for samples, points, units in ((7, 5, 3), (4, 6, 2), (25, 3, 4)):
        mean = torch.randn(points, units, dtype=torch.float64)
        scale = 0.5 + torch.rand(points, units, dtype=torch.float64)
        z = mean + scale * torch.randn(samples, points, units, dtype=torch.float64)
        q = Normal(mean, scale)

        def log_joint(z: Tensor) -> Tensor:
            # A curved decoder: its log-density at the mean is not the mean of its log-density.
            likelihood = -0.03 * (z.square().sum(-1) - 1).square()
            return Normal(0.0, 1.0).log_prob(z).sum(-1) + likelihood

        def log_q(z: Tensor, q: Normal = q) -> Tensor:
            return q.log_prob(z).sum(-1)

        yield z, log_joint, log_q
    yield extreme("an x of log p(x, z) near −10,000", z, lambda z: log_joint(z) - 1e4, log_q)
    yield extreme(
        "a density so sharp that the ELBO is above 0", z, lambda z: log_joint(z) + 30, log_q
    )
    yield extreme("a single sample", z[:1], log_joint, log_q)


def _elbo_as_a_sum(z, log_joint, log_q):
    log_w = log_joint(z) - log_q(z)
    return log_w.sum(0) / len(log_w)


def _elbo_sample_by_sample(z, log_joint, log_q):
    total = sum(log_joint(sample[None])[0] - log_q(sample[None])[0] for sample in z)
    return total / len(z)


def _elbo_in_two_averages(z, log_joint, log_q):
    return log_joint(z).mean(dim=0) - log_q(z).mean(dim=0)


elbo_from_samples = Exercise(
    solution=_elbo_from_samples,
    cases=_elbo_cases,
    right=(
        _elbo_as_a_sum,
        _elbo_sample_by_sample,
        _elbo_in_two_averages,
    ),
    mistakes=(
        Mistake(
            "minus the ELBO",
            "It is a loss that is minimised; the bound itself is log p(x, z) − log q(z | x).",
            lambda z, log_joint, log_q: -_elbo_from_samples(z, log_joint, log_q),
        ),
        Mistake(
            "log q(z | x) added instead of subtracted",
            "q stands in the denominator of the weight.",
            lambda z, log_joint, log_q: (log_joint(z) + log_q(z)).mean(0),
        ),
        Mistake(
            "a sum over the samples instead of their mean",
            "An expectation is estimated by an average; does your number grow with K?",
            lambda z, log_joint, log_q: (log_joint(z) - log_q(z)).sum(0),
        ),
        Mistake(
            "the density of q left out",
            "What you average is log p(x, z) alone: which part of log w is missing?",
            lambda z, log_joint, log_q: log_joint(z).mean(0),
        ),
        Mistake(
            "the mean of z plugged in",
            "The logarithm of the weight at the average z is not the average of the logarithm.",
            _at_the_mean,
        ),
        Mistake(
            "an average over the data points",
            "z has shape (K, B, d): which axis holds the samples of one x?",
            lambda z, log_joint, log_q: (log_joint(z) - log_q(z)).mean(1),
        ),
        Mistake(
            "an average over samples and data points",
            "Each x has an ELBO of its own: (B,) numbers are asked for.",
            lambda z, log_joint, log_q: (log_joint(z) - log_q(z)).mean(),
        ),
        Mistake(
            "the logarithm of the mean weight",
            "That is the K-sample bound. In the ELBO the logarithm is inside the average.",
            lambda z, log_joint, log_q: (
                (log_joint(z) - log_q(z)).logsumexp(0) - math.log(z.shape[0])
            ),
        ),
    ),
)

# --- Exercise 3: KL between tables ----------------------------------------------------------------


def _kl(q: Tensor, p: Tensor) -> Tensor:
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(-1)


def _tables(*shape: int) -> Tensor:
    """Return random rows that sum to one, in float64."""
    return torch.randn(*shape, dtype=torch.float64).softmax(-1)


def _kl_cases() -> Iterable[Any]:
    """Two pairs of tables without zeros, and one where q has zeros."""
    yield _tables(5, 3), _tables(5, 3)
    yield _tables(2, 4), _tables(2, 4)
    q = _tables(4, 3)
    q[1, 2] = q[3, 0] = 0.0
    yield extreme("a q with zeros", q / q.sum(-1, keepdim=True), _tables(4, 3))
    rare = torch.tensor([[1e-9, 0.3, 0.7 - 1e-9], [0.2, 0.8, 1e-12]], dtype=torch.float64)
    yield extreme("entries of p as small as 1e-12", _tables(2, 3), rare)


def _kl_by_distributions(q, p):
    return kl_divergence(Categorical(probs=q), Categorical(probs=p))


def _kl_row_by_row(q, p):
    rows = []
    for q_row, p_row in zip(q.tolist(), p.tolist(), strict=True):
        terms = [a * math.log(a / b) for a, b in zip(q_row, p_row, strict=True) if a > 0]
        rows.append(math.fsum(terms))
    return torch.tensor(rows)


def _kl_with_a_mask(q, p):
    ratio = torch.where(q > 0, q / p, torch.ones_like(q))
    return torch.sum(q * torch.log(ratio), dim=-1)


kl_tables = Exercise(
    solution=_kl,
    cases=_kl_cases,
    right=(
        _kl_by_distributions,
        _kl_row_by_row,
        _kl_with_a_mask,
    ),
    mistakes=(
        Mistake(
            "the KL in the other direction",
            "KL(q ‖ p) averages under q, its first argument.",
            lambda q, p: _kl(p, q),
        ),
        Mistake(
            "the wrong sign",
            "A KL divergence is never below zero; q stands in the numerator.",
            lambda q, p: -_kl(q, p),
        ),
        Mistake(
            "the log-ratios summed without weights",
            "Each log-ratio counts with the probability of its z under q.",
            lambda q, p: (q.log() - p.log()).sum(-1),
        ),
        Mistake(
            "a plain mean of the log-ratios",
            "The average is taken under q, not with equal weights.",
            lambda q, p: (q.log() - p.log()).mean(-1),
        ),
        Mistake(
            "a mean over z instead of a sum",
            "The weights q(z) already make the sum an average; divide by nothing.",
            lambda q, p: _kl(q, p) / q.shape[-1],
        ),
        Mistake(
            "one number for all rows",
            "Each row is a distribution of its own: sum over the last axis only.",
            lambda q, p: _kl(q, p).sum(),
        ),
        Mistake(
            "the sum taken over the rows",
            "z runs along the last axis.",
            lambda q, p: (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(0),
        ),
        Mistake(
            "the entropy of q left out",
            "That is the cross-entropy, −E_q[log p].",
            lambda q, p: -torch.xlogy(q, p).sum(-1),
        ),
        Mistake(
            "bits instead of nats",
            "Use the natural logarithm.",
            lambda q, p: _kl(q, p) / math.log(2),
        ),
        Mistake(
            "zero times the logarithm of zero",
            "It gives NaN where q is zero, but such a z counts as nothing: see torch.xlogy.",
            lambda q, p: (q * (q.log() - p.log())).sum(-1),
        ),
    ),
)

# --- Exercise 4: the gap from tables --------------------------------------------------------------


def _joint(prior: Tensor, likelihood: Tensor) -> Tensor:
    """Return p(x, z), one row for each x."""
    return (prior[:, None] * likelihood).mT


def _gap(prior: Tensor, likelihood: Tensor, q: Tensor) -> Tensor:
    joint = _joint(prior, likelihood)
    return _kl(q, joint / joint.sum(-1, keepdim=True))


def _tilted(prior: Tensor, likelihood: Tensor, q: Tensor) -> Tensor:
    joint = _joint(prior, likelihood)
    return _kl(joint / joint.sum(-1, keepdim=True), q)


def _gap_cases() -> Iterable[Any]:
    """Z = 3 and X = 5, then Z = 4 and X = 2; then a q that misses two z."""
    for latents, values in ((3, 5), (4, 2)):
        prior, likelihood = _tables(latents), _tables(latents, values)
        q = _tables(values, latents)
        yield prior, likelihood, q
    zeros = torch.tensor([[0.3, 0.6, 0.1, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    yield extreme("a q with zeros", prior, likelihood, zeros)


def _gap_by_bayes_rule(prior, likelihood, q):
    evidence = (prior[:, None] * likelihood).sum(0)
    posterior = (prior[:, None] * likelihood / evidence).T
    ratio = torch.where(q > 0, q / posterior, 1.0)
    return (q * torch.log(ratio)).sum(1)


def _gap_by_the_elbo(prior, likelihood, q):
    reconstruction = (q * likelihood.T.log()).sum(1)
    rate = (torch.xlogy(q, q) - q * prior.log()).sum(1)
    return torch.log(prior @ likelihood) - (reconstruction - rate)


def _gap_by_the_package(prior, likelihood, q):
    model = DiscreteModel(prior, likelihood)
    return model.log_marginal() - model.elbo(q)


gap_from_tables = Exercise(
    solution=_gap,
    cases=_gap_cases,
    right=(
        _gap_by_bayes_rule,
        _gap_by_the_elbo,
        _gap_by_the_package,
    ),
    mistakes=(
        Mistake(
            "minus the ELBO",
            "You compare q with p(x, z), which sums to p(x), not to one: divide by p(x).",
            lambda prior, likelihood, q: _kl(q, _joint(prior, likelihood)),
        ),
        Mistake(
            "the ELBO itself",
            "The gap is what the ELBO lacks of log p(x).",
            lambda prior, likelihood, q: -_kl(q, _joint(prior, likelihood)),
        ),
        Mistake(
            "the KL to the prior",
            "That is the second term of the ELBO; the gap compares q with the posterior.",
            lambda prior, likelihood, q: _kl(q, prior),
        ),
        Mistake(
            "the prior left out of the posterior",
            "Bayes' rule has p(x | z) p(z) above the line.",
            lambda prior, likelihood, q: _gap(torch.ones_like(prior), likelihood, q),
        ),
        Mistake(
            "the KL in the other direction",
            "The gap averages under q: KL(q ‖ posterior).",
            _tilted,
        ),
        Mistake(
            "the ELBO less log p(x)",
            "The sign: the bound lies below, so the gap is log p(x) − ELBO.",
            lambda prior, likelihood, q: -_gap(prior, likelihood, q),
        ),
        Mistake(
            "zero times the logarithm of zero",
            "It gives NaN where q is zero, but such a z counts as nothing: see torch.xlogy.",
            lambda prior, likelihood, q: _gap(prior, likelihood, q) + (q * q.log()).sum(1) * 0,
        ),
        Mistake(
            "log p(x) itself",
            "The ELBO is still to be taken off.",
            lambda prior, likelihood, q: _joint(prior, likelihood).sum(-1).log(),
        ),
        Mistake(
            "the reconstruction term taken for the ELBO",
            "The ELBO is the reconstruction term less the KL to the prior.",
            lambda prior, likelihood, q: (
                _joint(prior, likelihood).sum(-1).log() - torch.xlogy(q, likelihood.mT).sum(-1)
            ),
        ),
    ),
)

# --- Exercise 5: the bound from K samples ---------------------------------------------------------


def _k_sample_bound(log_w: Tensor) -> Tensor:
    return log_w.logsumexp(0) - math.log(len(log_w))


def _bound_cases() -> Iterable[Any]:
    """K = 7 weights of B = 5 points, then 4 of 6; then so small or large that exp fails."""
    for shape in ((7, 5), (4, 6)):
        log_w = 1.5 * torch.randn(*shape, dtype=torch.float64)
        yield log_w
    yield extreme("log-weights near −1500, where exp() gives 0", log_w - 1500)
    yield extreme("log-weights near +10,000, where exp() overflows", log_w + 1e4)
    yield extreme("a single sample", log_w[:1])
    apart = log_w - 3000.0 * torch.arange(6)
    yield extreme("data points whose log-weights lie thousands of nats apart", apart)
    spread = torch.cat([log_w[:3], log_w[3:] + 3000])
    yield extreme("a sample whose log-weight is 3,000 nats above the others", spread)


def _bound_term_by_term(log_w):
    top = log_w.max(0).values
    total = (log_w - top).exp().sum(0)
    return top + total.log() - math.log(len(log_w))


def _bound_by_the_largest(log_w):
    top = log_w.max(dim=0).values
    return top + (log_w - top).exp().mean(0).log()


def _bound_inside(log_w):
    return torch.logsumexp(log_w - math.log(log_w.shape[0]), dim=0)


def _bound_column_by_column(log_w):
    return [torch.logsumexp(column, 0) - math.log(len(column)) for column in log_w.T]


k_sample_bound = Exercise(
    solution=_k_sample_bound,
    cases=_bound_cases,
    right=(
        _bound_term_by_term,
        _bound_by_the_largest,
        _bound_inside,
        _bound_column_by_column,
    ),
    mistakes=(
        Mistake(
            "the ELBO: a mean of logarithms",
            "The K-sample bound averages the weights first and takes one logarithm.",
            lambda log_w: log_w.mean(0),
        ),
        Mistake(
            "log K not subtracted",
            "A sum of K weights is K times their mean.",
            lambda log_w: log_w.logsumexp(0),
        ),
        Mistake(
            "the largest weight alone",
            "The other samples count too: the weights are averaged.",
            lambda log_w: log_w.max(0).values,
        ),
        Mistake(
            "the largest weight alone, divided by K",
            "The other samples count too: the weights are averaged.",
            lambda log_w: log_w.max(0).values - math.log(len(log_w)),
        ),
        Mistake(
            "K subtracted instead of log K",
            "Dividing inside the logarithm subtracts log K outside it.",
            lambda log_w: log_w.logsumexp(0) - len(log_w),
        ),
        Mistake(
            "logsumexp over the data points",
            "The weights of one x stand in one column: reduce over axis 0.",
            lambda log_w: log_w.logsumexp(1) - math.log(log_w.shape[1]),
        ),
        Mistake(
            "samples along axis 0, but log of the batch size",
            "Which of the two sizes is K?",
            lambda log_w: log_w.logsumexp(0) - math.log(log_w.shape[1]),
        ),
        Mistake(
            "the surrogate Σ w̃ log w",
            "It has the bound's gradient for fixed w̃, not its value: it is up to log K too high.",
            lambda log_w: (log_w.softmax(0) * log_w).sum(0),
        ),
        Mistake(
            "weights made from the loss, +(−log w)",
            "With the sign turned, the worst sample counts most.",
            lambda log_w: (log_w.neg().softmax(0) * log_w).sum(0),
        ),
        Mistake(
            "the harmonic mean of the weights",
            "The sign is turned inside and outside: you average 1/w.",
            lambda log_w: -_k_sample_bound(-log_w),
        ),
        Mistake(
            "minus the bound",
            "It is a loss that is minimised; the bound lies below log p(x).",
            lambda log_w: -_k_sample_bound(log_w),
        ),
        Mistake(
            "weights that underflow to zero",
            "exp(−1500) is 0 in floating point: stay in logarithms with torch.logsumexp.",
            lambda log_w: log_w.exp().mean(0).log(),
        ),
    ),
)

# --- Exercise 6: the same bound in chunks ---------------------------------------------------------

Chunks = Sequence[Tensor]


def _bound_in_chunks(chunks: Chunks) -> Tensor:
    return _k_sample_bound(torch.cat(list(chunks)))


def _weighted_bounds(chunks: Chunks) -> Tensor:
    bounds = sum((len(chunk) * _k_sample_bound(chunk) for chunk in chunks), torch.zeros(()))
    return bounds / sum(map(len, chunks))


def _whole_chunks(chunks: Chunks) -> list[Tensor]:
    """Drop a last chunk that is shorter than the others."""
    return [chunk for chunk in chunks if len(chunk) == len(chunks[0])]


def _chunks_cases() -> Iterable[Any]:
    """K = 3 + 3 + 3 + 2 weights of B = 6 points, and K = 5 + 5 + 3 of 7; then very small ones."""
    for samples, points, size in ((11, 6, 3), (13, 7, 5)):
        log_w = 1.5 * torch.randn(samples, points, dtype=torch.float64)
        yield ([*log_w.split(size)],)
    yield extreme("log-weights near −1500, where exp() gives 0", [*(log_w - 1500).split(size)])
    yield extreme("chunks of three lengths", [log_w[:2], log_w[2:7], log_w[7:8]])
    yield extreme("a single chunk", [log_w])
    apart = log_w - 3000.0 * torch.arange(7)
    yield extreme("data points whose log-weights lie thousands of nats apart", [*apart.split(4)])
    rising = log_w + 200.0 * torch.arange(13)[:, None]
    yield extreme("a chunk whose log-weights are 2,000 nats above the first", [*rising.split(4)])


def _chunks_with_one_maximum(chunks):
    top = torch.stack([chunk.max(0).values for chunk in chunks]).max(0).values
    total = sum((chunk - top).exp().sum(0) for chunk in chunks)
    return top + total.log() - math.log(sum(len(chunk) for chunk in chunks))


def _chunks_one_after_the_other(chunks):
    total, count = torch.full_like(chunks[0][0], -math.inf), 0
    for chunk in chunks:
        total = torch.logaddexp(total, chunk.logsumexp(0))
        count += len(chunk)
    return total - math.log(count)


def _chunks_weighted_by_their_length(chunks):
    lengths = torch.tensor([len(chunk) for chunk in chunks])
    means = torch.stack([_k_sample_bound(chunk) for chunk in chunks])
    return torch.logsumexp(means + (lengths / lengths.sum()).log()[:, None], dim=0)


bound_in_chunks = Exercise(
    solution=_bound_in_chunks,
    cases=_chunks_cases,
    right=(
        _chunks_with_one_maximum,
        _chunks_one_after_the_other,
        _chunks_weighted_by_their_length,
    ),
    mistakes=(
        Mistake(
            "the mean of the chunks' bounds",
            "Each chunk gives a bound for its own few samples: average weights, not logarithms.",
            lambda chunks: torch.stack([_k_sample_bound(c) for c in chunks]).mean(0),
        ),
        Mistake(
            "the mean of the chunks' bounds, weighted by their lengths",
            "Each chunk gives a bound for its own few samples: average weights, not logarithms.",
            _weighted_bounds,
        ),
        Mistake(
            "the logarithm of the mean of the chunks' mean weights",
            "The last chunk is shorter: its mean stands for fewer samples.",
            lambda chunks: _k_sample_bound(torch.stack([_k_sample_bound(c) for c in chunks])),
        ),
        Mistake(
            "log K of whole chunks",
            "The chunks differ in length: add their lengths.",
            lambda chunks: (
                torch.cat(list(chunks)).logsumexp(0) - math.log(len(chunks) * len(chunks[0]))
            ),
        ),
        Mistake(
            "the logarithm of the number of chunks in place of log K",
            "The sum runs over all samples: add the chunks' lengths.",
            lambda chunks: torch.cat(chunks).logsumexp(0) - math.log(len(chunks)),
        ),
        Mistake(
            "the short chunk dropped, its samples still counted in log K",
            "Samples that are not drawn must not be divided by: the result is no bound of K.",
            lambda chunks: (
                torch.cat(_whole_chunks(chunks)).logsumexp(0) - math.log(sum(map(len, chunks)))
            ),
        ),
        Mistake(
            "the short chunk dropped",
            "The request was for all samples; use the last ones too.",
            lambda chunks: _k_sample_bound(torch.cat(_whole_chunks(chunks))),
        ),
        Mistake(
            "the last chunk dropped",
            "The request was for all samples; does your loop reach the end?",
            lambda chunks: _k_sample_bound(torch.cat(chunks[:-1] or chunks)),
        ),
        Mistake(
            "one weight of 1 too many",
            "A running logarithm of a sum starts at log 0, which is not 0.",
            lambda chunks: (
                torch.cat([*chunks, 0 * chunks[0][:1]]).logsumexp(0)
                - math.log(sum(map(len, chunks)))
            ),
        ),
        Mistake(
            "log K of one chunk",
            "The sum runs over all samples: how many are they?",
            lambda chunks: torch.cat(list(chunks)).logsumexp(0) - math.log(len(chunks[-1])),
        ),
        Mistake(
            "only the first chunk used",
            "Does your function return inside its loop?",
            lambda chunks: _k_sample_bound(chunks[0]),
        ),
        Mistake(
            "only the last chunk used",
            "Each turn of the loop overwrites what the turn before found.",
            lambda chunks: _k_sample_bound(chunks[-1]),
        ),
        Mistake(
            "log K not subtracted",
            "A sum of K weights is K times their mean.",
            lambda chunks: torch.cat(list(chunks)).logsumexp(0),
        ),
        Mistake(
            "the ELBO: a mean of logarithms",
            "The K-sample bound averages the weights first and takes one logarithm.",
            lambda chunks: torch.cat(list(chunks)).mean(0),
        ),
    ),
)

# --- Exercise 7: the width of the best q ----------------------------------------------------------

best_width = Prediction(
    answer="narrower",
    because=(
        "E_q[log q / posterior] punishes q where the posterior is nearly zero, and forgives a "
        "peak left out."
    ),
    mistakes={
        "wider": "move to a wide q and look at the gap: it pays for every z where the posterior is "
        "nearly zero.",
        "equal": "equal width would match the moments, which minimises the KL in the other "
        "direction, KL(posterior ‖ q).",
    },
)
