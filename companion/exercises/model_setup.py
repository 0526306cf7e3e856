"""Exercises of chapter 2: what a nat costs, draws from elsewhere, a posterior on a grid."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from companion.exact import LinearGaussian
from companion.exercises.checking import Exercise, Function, Mistake, extreme
from companion.exercises.comparing import Unreadable
from companion.exercises.predicting import Prediction

# --- in the open part ----------------------------------------------------------------------------

equal_columns = Prediction(
    answer="too low",
    because="By (2.6) 91 nats take at least 100 e⁹¹ draws, about 10⁴¹. None of 10,000 comes near "
    "the codes of x, so the large terms are missing. With columns 2/j it is about right.",
    mistakes={
        "too high": "p̂(x) is right on average, but by rare draws with very large terms: will they "
        "be among 10,000?",
        "about right": "that is so with columns 2/j and their 4.5 nats; how many draws do 91 nats "
        "take by (2.6)?",
    },
)

# --- predictions ---------------------------------------------------------------------------------

peaks = Prediction(
    answer=2.0,
    because="The point is as far from the left leg as from the right: one z on each explains it.",
    mistakes={
        1.0: "follow the arch with z: how many stretches of it pass at the same distance from x?",
        3.0: "the top of the arch is further from x than the legs; its z explains x hardly at all.",
    },
)

single_peak = Prediction(
    answer=0.55,
    because="At 0.50 there are still three peaks, for the top of the arch has joined in; at 0.55 "
    "all have merged. More noise merges them lower.",
    mistakes={
        0.45: "that is the last place with two peaks: what does the line above the caption say at "
        "0.50?",
        0.5: "there the top of the arch has joined in, so there are three peaks: push once more.",
        0.4: "at σ = 0.6 there is one peak from here on; set σ back to 0.40.",
    },
)

cut_prior = Prediction(
    answer=20.0,
    tolerance=0.01,
    because="The ratio is 20 on the whole set. Where it is constant, its average and its average "
    "logarithm are those of one number: ρ = exp KL.",
    mistakes={
        math.log(20): "that is the KL, log 20: ρ is an average of the ratio, not of its logarithm.",
        19.0: "that is ρ − 1, which sets the number of draws; ρ itself is asked for.",
        0.05: "that is the mass of the set: how many times as dense as the prior is the posterior "
        "there?",
        400.0: "the squared ratio is averaged over the prior, of which the set holds 1/20; or take "
        "the ratio, not its square, over the posterior.",
        1.0: "1 is the mean of the ratio under the prior; ρ is its mean under the posterior.",
    },
)

edge_of_rho = Prediction(
    answer=math.sqrt(2),
    tolerance=0.006,
    because="The integrand has the exponent −(z − m)²/s² + z²/2, which falls on both sides only if "
    "s² < 2.",
    mistakes={
        1.0: "at s = 1 the exponent is −(z − m)² + z²/2, which still falls: square the posterior's "
        "density first.",
        2.0: "that is the limit of the variance s².",
        0.71: "which of the two densities is squared, and which divides?",
        0.5: "that is what 1/s² must exceed: solve it for s.",
    },
)

one_code = Prediction(
    answer=math.log(7 / 4),
    tolerance=0.005,
    unit="nats",
    because="All mass on z makes the KL −log p(z | x), and 4 has the largest posterior, 4/7.",
    mistakes={
        math.log(7): "that is with code 1, the likeliest before the pixel is seen: which one is it "
        "after?",
        math.log(7 / 2): "that is with code 7: another code has a larger posterior.",
        math.log(5): "that is −log p(x, z), the score with its sign turned: how far is the score "
        "from log p(x)?",
        math.log(4): "that is the divergence from the prior; the gap is that from the posterior.",
        -math.log(0.8): "that is −log p(x | z): the gap has the posterior in its place.",
        4 / 7: "that is the posterior of the best code: the gap is −log of it.",
        3 / 7: "that is the mass that q misses: the gap is an average logarithm.",
    },
)

shared_code = Prediction(
    answer=1.0,
    because="White comes in 65 % of the cases, and 1 explains it best by far: its mean gap is 0.92 "
    "nats, that of 7 is 1.39 and that of 4 is 1.86.",
    mistakes={
        4.0: "4 is best for black alone: how often comes white, and what is its posterior of 4?",
        7.0: "7 is second for both colours, and costs more than 1: average −log p(z | x) over "
        "the colours.",
    },
)

shared_gap = Prediction(
    answer=0.35 * math.log(4),
    tolerance=0.005,
    because="Black loses log 7 − log 7/4 = log 4, in 35 % of the cases; white loses nothing.",
    mistakes={
        math.log(4): "that is what black pays; in the mean over colours, how often does it come?",
        0.35 * math.log(7) + 0.65 * math.log(13 / 9): "that is the mean of the whole gap: what "
        "would remain if each colour had its best code?",
        0.35 * math.log(7 / 4) + 0.65 * math.log(13 / 9): "that is the mean approximation gap: the "
        "rest of the gap is asked for.",
        0.35 * math.log(7): "that is black's whole gap, weighted: what remains of it with the best "
        "code?",
        0.65 * math.log(4): "that is weighted with the share of white: which colour pays?",
        0.35 * math.log2(4): "that is in bits; the book counts in nats.",
        math.log(4) / 2: "the colours do not come equally often: weight black with p(black).",
    },
)

# --- the cost of a Gaussian posterior -------------------------------------------------------------


def _kl_and_log_rho(mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    kl = (scale**2 + mean**2 - 1) / 2 - scale.log()
    log_rho = mean**2 / (2 - scale**2) - scale.log() - (2 - scale**2).log() / 2
    return kl, log_rho


def _cost_cases() -> Iterable[Any]:
    for points in (4, 7):
        yield torch.randn(points).double(), 0.2 + torch.rand(points).double()
    yield torch.randn(3, 2).double(), 0.2 + torch.rand(3, 2).double()


def _cost_by_torch(mean, scale):
    q, p = Normal(mean, scale), Normal(torch.zeros_like(mean), torch.ones_like(scale))
    log_constant = -torch.log(scale * torch.sqrt((math.sqrt(2) - scale) * (math.sqrt(2) + scale)))
    return kl_divergence(q, p), log_constant + mean * mean / (2 - scale * scale)


def _cost_completed(mean, scale):
    # −a (z − m)² + z²/2 has the top a² m² / (a − ½) − a m², with a = 1 / s².
    s2 = scale.square()
    top = mean.square() * 0.5 / (1 - s2 / 2)
    curvature = (2 - s2).log() - 2 * scale.log()
    return -scale.log() - 0.5 + (s2 + mean.square()) / 2, top - 2 * scale.log() - curvature / 2


kl_and_log_rho = Exercise(
    solution=_kl_and_log_rho,
    cases=_cost_cases,
    right=(
        _cost_by_torch,
        _cost_completed,
    ),
    results=(
        "The KL",
        "log ρ",
    ),
    mistakes=(
        Mistake(
            "ρ in place of its logarithm",
            "The second number is log ρ.",
            lambda mean, scale: (
                _kl_and_log_rho(mean, scale)[0],
                _kl_and_log_rho(mean, scale)[1].exp(),
            ),
        ),
        Mistake(
            "the KL the other way round",
            "The average is one under the posterior: which density stands in front?",
            lambda mean, scale: (
                (1 + mean**2) / scale**2 / 2 - 0.5 + scale.log(),
                _kl_and_log_rho(mean, scale)[1],
            ),
        ),
        Mistake(
            "log ρ equal to the KL",
            "By Jensen's inequality it is larger: ρ averages the ratio, the KL its logarithm.",
            lambda mean, scale: (_kl_and_log_rho(mean, scale)[0],) * 2,
        ),
        Mistake(
            "the two results exchanged",
            "First the KL, then log ρ.",
            lambda mean, scale: _kl_and_log_rho(mean, scale)[::-1],
        ),
        Mistake(
            "the constant of the square left out",
            "A density of scale s squared has s² in its constant, once more than one density has.",
            ("scale.log() - (2", "(2"),
        ),
        Mistake(
            "the constant of the integral left out",
            "After the square is completed, the integral over z has a width: 1/s² − ½ sets it.",
            (" - (2 - scale**2).log() / 2", ""),
        ),
        Mistake(
            "the mean left out of log ρ",
            "Completing the square leaves a term with m² behind.",
            ("mean**2 / (2", "0 * mean**2 / (2"),
        ),
        Mistake(
            "m² with ½ in log ρ",
            "At the top of the exponent, m² has the factor 1/(2 − s²).",
            ("mean**2 / (2 -", "mean**2 / 2 / (2 -"),
        ),
    ),
)

# --- draws from elsewhere -------------------------------------------------------------------------


def _model(size: int, latent: int, scale: float = 0.6) -> LinearGaussian:
    """Return a small linear model in float64, drawn from the generator as it stands."""
    weight = torch.randn(size, latent, dtype=torch.float64)
    return LinearGaussian(weight, torch.randn(size, dtype=torch.float64), scale=scale)


def _log_weight(model: LinearGaussian, x: Tensor, q: Distribution, z: Tensor) -> Tensor:
    """Return log p(x_b, z_kb) − log q(z_kb), (K, B)."""
    return model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)


def _from_q(model: LinearGaussian, x: Tensor, q: Distribution, z: Tensor) -> Tensor:
    log_joint = model.likelihood(z).log_prob(x) + model.prior().log_prob(z)
    return (log_joint - q.log_prob(z)).logsumexp(0) - math.log(len(z))


def _from_q_cases() -> Iterable[Any]:
    for pixels, units, points, draws, scale in ((5, 2, 3, 7, 1.7), (4, 3, 6, 9, 2.4)):
        model = _model(pixels, units, scale)
        x = model.marginal().sample((points,))
        mean = torch.randn(points, units).double()
        q = Independent(Normal(mean, 0.5 + torch.rand(points, units).double()), 1)
        z = q.sample((draws,))
        yield model, x, q, z
    far = torch.cat([x[:1], 2000 + x[1:]])
    yield extreme("an x so far away that every p(x, z) is 0 in floating point", model, far, q, z)
    yield extreme("a single draw", model, x, q, z[:1])


def _from_q_term_by_term(model, x, q, z):
    error = (x - z @ model.weight.mT - model.bias).square().sum(-1) / model.scale**2
    size = x.shape[1] * math.log(2 * math.pi * model.scale**2)
    prior = z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi)
    log_w = -0.5 * (error + size + prior) - q.log_prob(z)
    top = log_w.max(0).values
    return top + (log_w - top).exp().mean(0).log()


def _from_q_as_weighted_likelihood(model, x, q, z):
    weight = model.prior().log_prob(z) - q.log_prob(z)
    return torch.logsumexp(weight - math.log(z.shape[0]) + model.likelihood(z).log_prob(x), dim=0)


def _from_q_with_a_loop(model, x, q, z):
    rows = [_log_weight(model, x, q, draw[None])[0] for draw in z]
    total = rows[0]
    for row in rows[1:]:
        total = torch.logaddexp(total, row)
    return total - math.log(len(rows))


estimate_from_q = Exercise(
    solution=_from_q,
    cases=_from_q_cases,
    right=(
        _from_q_term_by_term,
        _from_q_as_weighted_likelihood,
        _from_q_with_a_loop,
    ),
    mistakes=(
        Mistake(
            "the mean of p(x | z), as if z came from the prior",
            "The z were drawn from q: which weight undoes that?",
            lambda model, x, q, z: model.likelihood(z).log_prob(x).logsumexp(0) - math.log(len(z)),
        ),
        Mistake(
            "the prior left out of the weight",
            "E_q[f(z)/q(z)] is the integral of f: which f has the integral p(x)?",
            ("+ model.prior().log_prob(z)", ""),
        ),
        Mistake(
            "q left out of the weight",
            "Where q is dense there are many draws: what must each of them be divided by?",
            lambda model, x, q, z: (
                (model.likelihood(z).log_prob(x) + model.prior().log_prob(z)).logsumexp(0)
                - math.log(len(z))
            ),
        ),
        Mistake(
            "a weight turned upside down",
            "The weight is p(z)/q(z), so a draw that q makes too often counts less.",
            lambda model, x, q, z: (
                (
                    model.likelihood(z).log_prob(x) - model.prior().log_prob(z) + q.log_prob(z)
                ).logsumexp(0)
                - math.log(len(z))
            ),
        ),
        Mistake(
            "the mean of the logarithms",
            "That is an estimate of the score of section 2.7, which lies below log p(x) on "
            "average. Here the mean comes first.",
            lambda model, x, q, z: _log_weight(model, x, q, z).mean(0),
        ),
        Mistake(
            "a sum in place of the mean",
            "logsumexp adds the K terms. Which number is missing, and what is its logarithm?",
            (" - math.log(len(z))", ""),
        ),
        Mistake(
            "divided by the sum of the weights",
            "Weights that sum to one average p(x | z) over another density. Divide by K.",
            lambda model, x, q, z: (
                _from_q(model, x, q, z)
                - (model.prior().log_prob(z) - q.log_prob(z)).logsumexp(0)
                + math.log(len(z))
            ),
        ),
        Mistake(
            "the mean over data points",
            "The result should hold one number for each x. Which axis of (K, B) holds the draws?",
            lambda model, x, q, z: _log_weight(model, x, q, z).logsumexp(1) - math.log(len(x)),
        ),
        Mistake(
            "the best draw alone",
            "The other draws count too: p(x) is estimated by the mean over all K.",
            lambda model, x, q, z: _log_weight(model, x, q, z).max(0).values,
        ),
        Mistake(
            "an exponential before the logarithm",
            "exp(−800) is zero in floating point and its logarithm −∞. torch.logsumexp avoids it.",
            lambda model, x, q, z: _log_weight(model, x, q, z).exp().mean(0).log(),
        ),
        Mistake(
            "the wrong sign",
            "Log-densities come out of log_prob; nothing here turns the sign of log p(x).",
            lambda model, x, q, z: -_from_q(model, x, q, z),
        ),
    ),
)

# --- Bayes on a grid -----------------------------------------------------------------------------


def _posterior_on_grid(log_joint: Tensor, step: float) -> Tensor:
    return (log_joint - log_joint.logsumexp(0)).exp() / step


def _grid_cases() -> Iterable[Any]:
    for step, points in ((0.05, 3), (0.08, 2)):
        grid = torch.arange(-6, 6, step, dtype=torch.float64)
        width = torch.tensor([0.3, 0.8, 1.7], dtype=torch.float64)[:points]
        peaks = -0.5 * ((grid[:, None] - torch.randn(points).double()) / width) ** 2
        log_joint = peaks - torch.rand(points)
        yield log_joint, step
    unlikely = log_joint - torch.tensor([0.0, 2000.0])
    yield extreme("an x so unlikely that every p(x, z) is 0, beside a likely x", unlikely, step)
    yield extreme("log p(x, z) near +10,000, as a sharp density has", log_joint + 1e4, step)
    narrow = 1e4 * log_joint[:, :1]
    yield extreme("a single x with a posterior so narrow that log p(x, z) spans 700", narrow, step)
    cut = log_joint[: len(log_joint) // 2]
    yield extreme("a posterior that goes on beyond the last point of the grid", cut, step)


def _grid_step_by_step(log_joint, step):
    joint = (log_joint - log_joint.max(0).values).exp()
    evidence = joint.sum(0) * step
    return joint / evidence


def _grid_by_softmax(log_joint, step):
    return torch.softmax(log_joint, dim=0) / step


def _grid_column_by_column(log_joint, step):
    columns = []
    for column in log_joint.mT:
        density = torch.exp(column - column.max())
        columns.append(density / (density.sum() * step))
    return torch.stack(columns, dim=1)


posterior_on_grid = Exercise(
    solution=_posterior_on_grid,
    cases=_grid_cases,
    right=(
        _grid_step_by_step,
        _grid_by_softmax,
        _grid_column_by_column,
    ),
    mistakes=(
        Mistake(
            "the joint, not yet divided by p(x)",
            "Does your posterior integrate to one along z?",
            lambda log_joint, step: log_joint.exp(),
        ),
        Mistake(
            "normalised over the wrong axis",
            "For each x (a column) the values along z (the rows) must integrate to one.",
            lambda log_joint, step: log_joint.softmax(1) / step,
        ),
        Mistake(
            "normalised over the whole table",
            "Each x (a column) has a posterior of its own, which integrates to one.",
            lambda log_joint, step: log_joint.flatten().softmax(0).view_as(log_joint) / step,
        ),
        Mistake(
            "probabilities of grid cells, not a density",
            "The values sum to one; a density should integrate to one. What is a cell's width?",
            lambda log_joint, step: log_joint.softmax(0),
        ),
        Mistake(
            "scaled so that the peak is one",
            "Divide by the integral along z, not by the largest value.",
            lambda log_joint, step: (log_joint - log_joint.max(0).values).exp(),
        ),
        Mistake(
            "multiplied by the step where division is due",
            "Σ density · step = 1: solve it for the density.",
            lambda log_joint, step: log_joint.softmax(0) * step,
        ),
        Mistake(
            "an exponential before the normalisation",
            "For an unlikely x every exp(log p(x, z)) is zero and you divide zero by zero.",
            lambda log_joint, step: log_joint.exp() / (log_joint.exp().sum(0) * step),
        ),
    ),
)

# --- a table whose two guides lie far apart -------------------------------------------------------


def _far_apart(target: float) -> tuple[Tensor, Tensor]:
    share = 0.5 / math.log(2 * target)
    return _two_codes(share, share**2 / (2 * target))


def _two_codes(share: float, rare: float) -> tuple[Tensor, Tensor]:
    """Return a table whose second code has this posterior and this prior."""
    prior = torch.tensor([1 - rare, rare], dtype=torch.float64)
    likelihood = torch.tensor([1 - share, share], dtype=torch.float64) / prior
    return prior, likelihood / likelihood.max()


def _far_cases() -> Iterable[Any]:
    yield 100.0
    yield 1e6


def _guides(function: Function, target: float) -> list[bool]:
    """What is compared is whether a table is as asked for, not the table: there are many."""
    given = function(target)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError("it should return two vectors: prior, likelihood")
    prior, likelihood = (torch.as_tensor(part, dtype=torch.float64) for part in given)
    if prior.dim() != 1 or prior.shape != likelihood.shape:
        raise ValueError("prior and likelihood should be vectors of one length")
    if not (prior >= 0).all() or abs(prior.sum() - 1) > 1e-6:
        raise ValueError("the prior should be probabilities that sum to one")
    if not ((likelihood >= 0) & (likelihood <= 1)).all() or not (prior * likelihood).sum() > 0:
        raise ValueError(
            "the likelihood should be a probability of this x for each code; it need not sum to one"
        )
    posterior = prior * likelihood / (prior * likelihood).sum()
    ratio = torch.where(posterior > 0, posterior / prior, 1.0)
    rho, guide = (posterior * ratio).sum(), (posterior * ratio.log()).sum().exp()
    if rho <= target and guide >= 2:  # which of the two to mend first, only the numbers tell
        raise Unreadable(
            f"Your table has ρ = {rho:.4g}, not above the target {target:g}, and exp KL = "
            f"{guide:.4g}, not below 2. How small can a code's posterior be, and ρ still large?"
        )
    return [bool(rho > target), bool(guide < 2)]


def _far_with_many_codes(target):
    share = 0.01**2 / (3 * target)
    prior = torch.full((5,), (1 - share) / 4, dtype=torch.float64)
    prior[2] = share
    ratio = torch.full((5,), 0.99 / (1 - share), dtype=torch.float64)
    ratio[2] = 0.01 / share
    return prior, ratio * share


def _far_as_lists(target):
    rare = 1e-4 / (2 * target)
    return [rare, 1 - rare], [1.0, 99 * rare]


far_apart = Exercise(
    solution=_far_apart,
    cases=_far_cases,
    look=_guides,
    right=(
        _far_with_many_codes,
        _far_as_lists,
    ),
    results=(
        "Whether ρ is larger than the target (1: yes)",
        "Whether exp KL is below 2 (1: yes)",
    ),
    mistakes=(
        Mistake(
            "a table in which exp KL is large with ρ",
            "One code holds nearly all of the posterior here. How small may its posterior be, if "
            "ρ is its square divided by the prior?",
            lambda target: (
                torch.tensor([1 - 0.5 / target, 0.5 / target], dtype=torch.float64),
                torch.tensor([0.0, 1.0], dtype=torch.float64),
            ),
        ),
        Mistake(
            "a table that reaches 100 and not every target",
            "How must the prior of the rare code shrink as the target grows?",
            lambda target: _far_apart(100.0),
        ),
        Mistake(
            "a table whose exp KL passes 2 when the target is large",
            "The KL is about the rare code's posterior times log(1/prior). If the prior falls with "
            "the target, what must the posterior do?",
            lambda target: _two_codes(0.08, 0.0032 / target),
        ),
        Mistake(
            "a table in which x tells little by either guide",
            "exp KL is small, and so is ρ. Which single term of Σ posterior²/prior can be made "
            "large while it counts little in the KL?",
            lambda target: (
                torch.tensor([0.5, 0.5], dtype=torch.float64),
                torch.tensor([0.4, 0.6], dtype=torch.float64),
            ),
        ),
    ),
)
