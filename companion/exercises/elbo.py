"""Exercises of chapter 3: the bound, its gap, EM, and the bound from several samples."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from companion.exact import DiscreteModel
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction

# --- Guesses in the text --------------------------------------------------------------------------

same_weights = Prediction(
    answer="the posterior and the cut one",
    because=(
        "The cut q is the posterior times a constant wherever it draws, so its weights are as "
        "constant as the posterior's. Yet its gap is open, since it never draws z = 2."
    ),
    mistakes={
        "the posterior": "divide p(x, z) by the cut q for z = 0 and z = 1, the only codes that it "
        "draws: are the two weights different?",
        "all": "the table of section 3.1 has the weights of the poor q: 0.083, 0.5 and 1.8.",
    },
)

price_of_a_nat = Prediction(
    answer=1.0,
    because=(
        "The optimum minimises D + βR. If a little more rate saved more than β nats of distortion "
        "per nat, it would pay to spend it; if less, to save it. So the slope is −β."
    ),
    mistakes={
        2.0: "that is the price at β = 2, where the slider stands.",
        -1.0: "that is the slope of the curve. What is saved is a positive number.",
        0.5: "no ½ comes in: what does a nat of rate cost in D + βR, and what must it save?",
        0.0: "then the rate would be wasted, and β = 1 charges for it.",
    },
    advice="At the optimum D + βR does not change to first order; set β = 1.",
)

silent_from = Prediction(
    answer=0.6989 / 0.15**2,
    because="The last unit falls silent where βσ² reaches the largest variance λ₁: at β = λ₁ / σ².",
    mistakes={
        0.6989 / 0.15: "the scale σ enters with its square.",
        0.6989: "that is the variance alone; the decoder's variance σ² counts too.",
        0.5 * math.log(0.6989 / 0.15**2): "that is its rate at β = 1. At which β is it zero?",
        0.15**2 / 0.6989: "upside down: a larger variance of the data keeps the unit longer.",
    },
    tolerance=0.15,
)

cured_by_samples = Prediction(
    answer="wide",
    because=(
        "A wide q draws codes with large weights now and then, so the mean weight settles. A "
        "narrow one off centre hardly ever meets the few huge weights that carry the average."
    ),
    mistakes={
        "narrow": "raise K in figure 3.11 at scale 0.3, then at 1: which green line arrives?",
        "both alike": "both start about 1.5 nats low, but compare them at K = 100 in figure 3.11: "
        "which one is still 0.7 nats away?",
    },
)

# --- Exercise 1: constant weights -----------------------------------------------------------------

constant_weights = Prediction(
    answer=math.log(4),
    because=(
        "Signs do not show in x: the posterior has four equal peaks and q sits on one, where "
        "every weight is about p(x) / 4. At the others q is tiny, not zero: the weights are huge "
        "there, but no draw meets them."
    ),
    mistakes={
        0.0: "the weights that you draw agree, but the average weight, p(x), also counts those "
        "that you never draw. Which other z explain this x?",
        -math.log(4): "a gap below zero would put the ELBO above log p(x).",
        2.0: "that is the gap in bits; the book counts in nats.",
        math.log(2): "that is two peaks; each of the two units can change its sign.",
        math.log(3): "q misses three of how many peaks? q / posterior compares it with all.",
        4.0: "that is q / posterior where q is; the gap is its logarithm.",
        0.25: "that is the covered probability itself; where does the logarithm go?",
        0.75: "that is the missing probability; the gap is E_q[log q / posterior].",
        -math.log(0.75): "weigh the ratio q / posterior where q is, not where it is not.",
        0.05: "that is the scatter, which tells of the codes that q can draw. Which other z "
        "explain this x?",
    },
    tolerance=0.006,
    unit="nats",
)

# --- Exercise 2: the width of the best q ----------------------------------------------------------

posterior_deviation = Prediction(
    answer=1.18,
    because=(
        "About 0.81 of the probability lies under the right peak, and the peaks' means are 2.94 "
        "apart: 0.81 · 0.19 · 2.94² and 0.09 within the peaks make a variance of about 1.4."
    ),
    mistakes={
        1.4: "that is about the variance: have you taken its root?",
        0.3: "that is the spread within one peak; the distance between the peaks is missing.",
        2.94: "that is the distance between the peaks' means; weigh it with their shares.",
    },
    tolerance=0.15,
    advice="The share of a peak is about its height times its width, over the sum of both.",
)

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

# --- Exercise 3: EM, first with a pencil ----------------------------------------------------------

em_by_pencil = Prediction(
    answer=4 / 3,
    because=(
        "The posterior of φ = 1 has mean x/2 = 1 and variance ½, and the top of the parabola is "
        "x · 1 / (1² + ½)."
    ),
    mistakes={
        2.0: "that meets x at the posterior's mean alone. E_q[(x − φz)²] also holds the spread of "
        "q, which pulls φ towards 0.",
        1.0: "that is where the step begins, or the step with the variance of the prior: the "
        "posterior of φ = 1 is narrower.",
        2 / (1 + math.sqrt(0.5)): "the standard deviation of q in place of its variance.",
        math.sqrt(3): "that is the maximum of log p(x), where EM ends; one round goes part of the "
        "way.",
        8 / 9: "x/φ turns the decoder round; the prior pulls the mean to φx / (1 + φ²).",
        1.6: "E_q[z²] is the mean² plus the variance, not plus the variance².",
        0.8: "the squares of the mean and of x have changed places; which of them is the data?",
    },
    tolerance=0.006,
)


def _posterior(phi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of p(z | x) for z ~ N(0, 1), x | z ~ N(φz, 1)."""
    return phi * x / (phi**2 + 1), 1 / (phi**2 + 1)


def _em_round(phi: Tensor, x: Tensor) -> Tensor:
    mean, variance = _posterior(phi, x)
    return (x * mean).sum() / (mean**2 + variance).sum()


def _em_cases() -> Iterable[Any]:
    """Decoders on both sides of 0, with 5, 7 and 3 data points."""
    for phi, points in ((0.7, 5), (-1.4, 7), (2.2, 3)):
        x = 0.5 + 2 * torch.randn(points, dtype=torch.float64)
        yield torch.tensor(phi, dtype=torch.float64), x
    yield extreme("a single data point", torch.tensor(1.1, dtype=torch.float64), x[:1])
    yield extreme("φ = 0, which EM never leaves", torch.tensor(0.0, dtype=torch.float64), x)


def _round_in_closed_form(phi, x):
    size = x.square().mean()
    return phi * size * (1 + phi**2) / (phi**2 * size + 1 + phi**2)


def _round_point_by_point(phi, x):
    above = below = 0.0
    for value in x.tolist():
        mean = float(phi) * value / (float(phi) ** 2 + 1)
        above += value * mean
        below += mean**2 + 1 / (float(phi) ** 2 + 1)
    return above / below


def _round_by_newton(phi, x):
    """The ELBO is a parabola: one step of Newton's method from anywhere reaches its top."""
    mean, variance = _posterior(phi, x)
    slope = (x * mean - phi * (mean**2 + variance)).mean()
    return phi + slope / (mean**2 + variance).mean()


def _with_variance(phi: Tensor, x: Tensor, variance: Tensor) -> Tensor:
    mean, _ = _posterior(phi, x)
    return (x * mean).sum() / (mean**2 + variance).sum()


em_round = Exercise(
    solution=_em_round,
    cases=_em_cases,
    right=(
        _round_in_closed_form,
        _round_point_by_point,
        _round_by_newton,
    ),
    mistakes=(
        Mistake(
            "the spread of q left out of the M step",
            "E_q[(x − φz)²] is (x − φm)² plus φ² times the variance of q.",
            lambda phi, x: _with_variance(phi, x, torch.zeros_like(x)),
        ),
        Mistake(
            "the variance of the prior in place of the posterior's",
            "After the E step q is the posterior: its variance is below 1.",
            lambda phi, x: _with_variance(phi, x, torch.ones_like(x)),
        ),
        Mistake(
            "the standard deviation in place of the variance",
            "E_q[z²] is m² plus the variance.",
            lambda phi, x: _with_variance(phi, x, _posterior(phi, x)[1].sqrt().expand_as(x)),
        ),
        Mistake(
            "the variance counted once for all data points",
            "Each data point has its own q, and each q its own spread.",
            lambda phi, x: (
                (x * _posterior(phi, x)[0]).sum()
                / ((_posterior(phi, x)[0] ** 2).sum() + _posterior(phi, x)[1])
            ),
        ),
        Mistake(
            "the average of the points' own tops",
            "One φ serves all data points: add the numerators and the denominators first.",
            lambda phi, x: (
                (x * _posterior(phi, x)[0]) / (_posterior(phi, x)[0] ** 2 + _posterior(phi, x)[1])
            ).mean(),
        ),
        Mistake(
            "the top of log p(x) itself",
            "That is where EM ends; one round goes part of the way.",
            lambda phi, x: phi.sign() * (x.square().mean() - 1).clamp(min=0).sqrt(),
        ),
        Mistake(
            "the E step alone",
            "That is the mean of q; the M step then chooses the φ that is best for it.",
            lambda phi, x: _posterior(phi, x)[0],
        ),
        Mistake(
            "φ left out of the posterior's mean",
            "The posterior's mean is φx / (φ² + 1): where φ is 0 the data say nothing on z.",
            lambda phi, x: (
                (x * x / (phi**2 + 1)).sum()
                / ((x / (phi**2 + 1)) ** 2 + _posterior(phi, x)[1]).sum()
            ),
        ),
    ),
)

# --- Exercise 4: the bound from above, then the gap from tables -----------------------------------

bound_from_above = Prediction(
    answer=-0.322,
    because=(
        "The posterior 0.05 / 0.38, 0.15 / 0.38, 0.18 / 0.38 weighs the logarithms −2.48, −0.69, "
        "0.59. That is log p(x) = −0.97 plus KL(posterior ‖ q) = 0.65."
    ),
    mistakes={
        -1.64: "that is the average under q: the ELBO.",
        -0.968: "that is log p(x), the logarithm of the average weight.",
        0.645: "that is by how much it is too high: add log p(x).",
        1.318: "that is the distance of the two bounds.",
        -0.122: "p(x, z) sums to 0.38, not to one: divide by p(x).",
        -1.333: "that is the average under the prior.",
        -0.863: "that is the plain mean of the three logarithms; weigh them with the posterior.",
    },
    tolerance=0.006,
    unit="nats",
)


def _kl(q: Tensor, p: Tensor) -> Tensor:
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(-1)


def _tables(*shape: int) -> Tensor:
    """Return random rows that sum to one, in float64."""
    return torch.randn(*shape, dtype=torch.float64).softmax(-1)


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
            "exp(−1500) is 0 in floating point: subtract each column's largest log-weight first, "
            "and add it again after the logarithm.",
            lambda log_w: log_w.exp().mean(0).log(),
        ),
    ),
)

# --- Exercise 6: deceive the test -----------------------------------------------------------------

SCATTER, LEAST_GAP = 0.35, 2.5


def _scatter_and_gap(bend: float, x: float, mean: float, scale: float) -> tuple[float, float]:
    """Return the standard deviation of log w under q, and the gap, in nats, on a fine grid."""
    z = torch.linspace(-14.0, 14.0, 28001, dtype=torch.float64)
    log_cell = math.log(z[1] - z[0])
    log_joint = Normal(0.0, 1.0).log_prob(z) + Normal(z + bend * z**2, 0.8).log_prob(
        torch.tensor(x, dtype=torch.float64)
    )
    log_w = log_joint - Normal(mean, scale).log_prob(z)
    q = (log_joint - log_w).softmax(0)
    bound = (q * log_w).sum()
    scatter = (q * (log_w - bound).square()).sum().sqrt()
    return scatter.item(), (log_joint.logsumexp(0) + log_cell - bound).item()


def _finding(bend: float, x: float, mean: float, scale: float) -> str:
    scatter, gap = _scatter_and_gap(bend, x, mean, scale)
    return (
        f"Deceived. log w scatters by {scatter:.2f} nats, which suggests a gap of about half its "
        f"square, {scatter**2 / 2:.2f}. The gap is {gap:.2f} nats."
    )


deceiving_q = Inspection(
    conditions=(
        Condition(
            "This state lies outside figure 3.1",
            "Its bend is from 0 to 1, x from −1.5 to 2.6, the mean of q from −3 to 2.5, its scale "
            "from 0.15 to 1.5.",
            lambda bend, x, mean, scale: (
                0 <= bend <= 1 and -1.5 <= x <= 2.6 and -3 <= mean <= 2.5 and 0.15 <= scale <= 1.5
            ),
        ),
        Condition(
            f"The gap is below {LEAST_GAP} nats",
            "This q covers most of the posterior. Where could it sit and miss most of it?",
            lambda *state: _scatter_and_gap(*state)[1] > math.log(2),
        ),
        Condition(
            f"The gap is below {LEAST_GAP} nats",
            "Fit q to a peak that holds less of the posterior: 2.5 nats need 92 % outside it. "
            "Which bend and x make the peak under q smaller?",
            lambda *state: _scatter_and_gap(*state)[1] > LEAST_GAP,
        ),
        Condition(
            f"The scatter of log w is above {SCATTER} nats",
            "The draws show that something is wrong. Fit q to the peak that it sits on, and make "
            "that peak round.",
            lambda *state: _scatter_and_gap(*state)[0] < SCATTER,
        ),
    ),
    finding=_finding,
)
