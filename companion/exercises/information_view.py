"""Exercises of chapter 4: the KL divergence of joints, its two parts, and what a message costs."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from companion.conditionals import LinearGaussianConditional
from companion.exact import gaussian_joint
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction

Tables = tuple[Tensor, Tensor, Tensor, Tensor]


def _tables() -> Iterator[Tables]:
    """Yield p_data (X,), q (X, Z), prior (Z,) and likelihood (Z, X), with X and Z distinct."""
    for x, z in ((5, 3), (2, 4)):
        sizes = ((x,), (x, z), (z,), (z, x))
        p_data, q, prior, likelihood = (
            torch.rand(size, dtype=torch.float64) + 0.1 for size in sizes
        )
        yield (
            p_data / p_data.sum(),
            q / q.sum(-1, keepdim=True),
            prior / prior.sum(),
            likelihood / likelihood.sum(-1, keepdim=True),
        )


def _joints(p_data: Tensor, q: Tensor, prior: Tensor, likelihood: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inference joint and the generative joint, both (X, Z)."""
    return p_data[:, None] * q, (prior[:, None] * likelihood).mT


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """Return Σ p log(p / q) along the last axis."""
    return (p * (p / q).log()).sum(-1)


# Section 4.5: the face at which encoder and posterior agree.

silent_face = Prediction(
    answer=4.0,
    because="Its cells are 0.05 and 0.20 on the left, 0.03 and 0.12 on the right: 1 to 4 in both.",
    mistakes={
        1.0: "its cells are 5 to 1 on the left, but 9 to 1 on the right.",
        2.0: "as many throws on both sides, so no modelling error; but 3 to 2 against 1 to 1.",
        3.0: "as many throws on both sides, so no modelling error; but 1 to 3 against 3 to 7.",
    },
    advice="The dice have the faces 1, 2, 3 and 4.",
)


# Exercise 1: a change of units.

change_of_units = Prediction(
    answer=-3 * math.log(100),
    because="The joint KL stays and the differential entropy grows by log 100 for each coordinate.",
    mistakes={
        3 * math.log(100): "the sign. The numbers spread out, so their density falls.",
        -math.log(100): "that is one coordinate's share; x has three.",
        math.log(100): "one coordinate's share, and the sign: the density falls.",
        0.0: "the joint KL does not change, but the ELBO also holds the entropy of the data.",
        -100.0: "a density changes by a factor; what does its logarithm do?",
        -3 * math.log10(100): "that is the logarithm to base ten; the ELBO is in nats.",
    },
    tolerance=0.02,
    unit="nats",
)


# Exercise 2: two Gaussians, by hand.

last_term = Prediction(
    answer=10.0,
    because="tr(V⁻¹ S) is 1 + 8, and the distance of the means adds 1.",
    mistakes={
        9.0: "that is tr(V⁻¹ S): z spreads around m, but the distance is taken from μ.",
        1.0: "that is the distance of the means alone; z spreads around m with covariance S.",
        11.0: "that has V in place of its inverse, which is (1, −1; −1, 2).",
        3.5: "that has S⁻¹ and V exchanged: it belongs to the KL in the other direction.",
        2.0: "that is the middle term, E[(z − m)ᵀ S⁻¹ (z − m)] = tr(S⁻¹ S).",
    },
    tolerance=1e-6,
)

two_gaussians = Prediction(
    answer=(10 - 2 - math.log(4)) / 2,
    because="Half of 10 − 2 − log 4: det V is 1 and det S is 4.",
    mistakes={
        (3.5 - 2 + math.log(4)) / 2: "that is the divergence in the other direction.",
        (10 - 2 + math.log(4)) / 2: "the logarithm has the wrong sign: det V stands above.",
        (10 - math.log(4)) / 2: "the middle term, which averages to d = 2, is left out.",
        (9 - 2 - math.log(4)) / 2: "the distance of the means is left out.",
        (10 - 2 - math.log(2)) / 2: "is the determinant of S 2? It is the product of 1 and 4.",
        (10 - 2) / 2: "the logarithm of the determinants is left out.",
    },
    tolerance=0.006,
    unit="nats",
)


def _general_kl(mean: Tensor, cov: Tensor, other_mean: Tensor, other_cov: Tensor) -> Tensor:
    shift, inverse = mean - other_mean, other_cov.inverse()
    log_ratio = other_cov.logdet() - cov.logdet()
    return 0.5 * (log_ratio - len(mean) + (inverse @ cov).trace() + shift @ inverse @ shift)


def _gaussians() -> Iterator[Tables]:
    """Yield two means (d,) and two covariances (d, d), the second after its mean."""
    for d in (3, 2):
        means = torch.randn(2, d, dtype=torch.float64)
        roots = torch.randn(2, d, d, dtype=torch.float64)
        covs = roots @ roots.mT + 0.5 * torch.eye(d, dtype=torch.float64)
        yield means[0], covs[0], means[1], covs[1]


def _general_kl_by_torch(mean, cov, other_mean, other_cov):
    return kl_divergence(MultivariateNormal(mean, cov), MultivariateNormal(other_mean, other_cov))


def _general_kl_by_solving(mean, cov, other_mean, other_cov):
    shift = mean - other_mean
    spread = torch.linalg.solve(other_cov, cov + torch.outer(shift, shift)).trace()
    return 0.5 * (spread - len(mean) + torch.log(other_cov.det() / cov.det()))


def _general_kl_by_factors(mean, cov, other_mean, other_cov):
    root, other = torch.linalg.cholesky(cov), torch.linalg.cholesky(other_cov)
    white = torch.linalg.solve_triangular(other, root, upper=False)
    shift = torch.linalg.solve_triangular(other, (mean - other_mean)[:, None], upper=False)
    logs = other.diagonal().log().sum() - root.diagonal().log().sum()
    return logs + 0.5 * (white.square().sum() + shift.square().sum() - len(mean))


general_kl = Exercise(
    solution=_general_kl,
    cases=_gaussians,
    right=(
        _general_kl_by_torch,
        _general_kl_by_solving,
        _general_kl_by_factors,
    ),
    mistakes=(
        Mistake(
            "the KL in the other direction",
            "The average is over the first Gaussian; the inverse is that of the second covariance.",
            lambda m, s, n, v: _general_kl(n, v, m, s),
        ),
        Mistake(
            "the dimension left out",
            "E[(z − m)ᵀ S⁻¹ (z − m)] = d. Try two equal Gaussians: the KL must be zero.",
            lambda m, s, n, v: _general_kl(m, s, n, v) + len(m) / 2,
        ),
        Mistake(
            "one in place of the dimension",
            "E[(z − m)ᵀ S⁻¹ (z − m)] is the trace of a d by d identity.",
            lambda m, s, n, v: _general_kl(m, s, n, v) + (len(m) - 1) / 2,
        ),
        Mistake(
            "the distance of the means left out",
            "z spreads around m, but the last term measures from μ.",
            lambda m, s, n, v: _general_kl(m, s, m, v),
        ),
        Mistake(
            "the logarithm with the wrong sign",
            "log det V − log det S: the determinant of the second covariance stands above.",
            lambda m, s, n, v: _general_kl(m, s, n, v) + s.logdet() - v.logdet(),
        ),
        Mistake(
            "the logarithm of the determinants left out",
            "The two densities have different normalisers.",
            lambda m, s, n, v: _general_kl(m, s, n, v) + 0.5 * (s.logdet() - v.logdet()),
        ),
        Mistake(
            "the covariances taken for diagonal",
            "Trace and distance need the whole inverse, not 1 divided by the diagonal.",
            lambda m, s, n, v: _general_kl(m, s.diagonal().diag(), n, v.diagonal().diag()),
        ),
        Mistake(
            "the factor ½ missing",
            "Your result is twice the truth everywhere.",
            lambda m, s, n, v: 2 * _general_kl(m, s, n, v),
        ),
        Mistake(
            "V in place of its inverse in the distance of the means",
            "A distance counts for more where the second Gaussian is narrow.",
            ("shift @ inverse @ shift", "shift @ other_cov @ shift"),
        ),
    ),
)


# Exercise 3: one bit lost, in two ways.

_FACES = (0.40, 0.25, 0.20, 0.15, 0.00)


def _is_vae(vae: Any) -> bool:
    """Tell whether these are prior (Z,), likelihood (Z, X) and encoder (X, Z) of five faces."""
    if not (isinstance(vae, tuple | list) and len(vae) == 3):
        return False
    prior, likelihood, q = (torch.as_tensor(table, dtype=torch.float64) for table in vae)
    return likelihood.shape == (len(prior), 5) and q.shape == (5, len(prior))


def _is_probable(vae: Any) -> bool:
    """Tell whether every row of every table is a distribution."""
    tables = [torch.as_tensor(table, dtype=torch.float64) for table in vae]
    sums = [(table.sum(-1) - 1).abs().max() < 1e-6 for table in tables]
    return all(sums) and all(bool((table >= 0).all()) for table in tables)


def _errors_of(vae: Any) -> tuple[float, float]:
    """Return modelling error and inference error in nats; 0 log 0 = 0."""
    prior, likelihood, q = (torch.as_tensor(table, dtype=torch.float64) for table in vae)
    p_data = torch.tensor(_FACES, dtype=torch.float64)
    p_x = prior @ likelihood
    modelling = (torch.xlogy(p_data, p_data) - torch.xlogy(p_data, p_x)).sum()
    inference = 0.0
    for x in range(4):  # the last face never comes
        posterior = prior * likelihood[:, x] / p_x[x]
        gap = (torch.xlogy(q[x], q[x]) - torch.xlogy(q[x], posterior)).sum()
        inference += float(p_data[x] * gap)
    return float(modelling), inference


def _near(value: float, target: float) -> bool:
    return abs(value - target) < 1e-5


one_bit = Inspection(
    conditions=(
        Condition(
            "This check takes two VAEs",
            "Write check.one_bit(wrong_model, wrong_encoder).",
            lambda *vaes: len(vaes) == 2,
        ),
        Condition(
            "A VAE has other tables than prior (Z,), likelihood (Z, 5) and encoder (5, Z)",
            "likelihood has one row for each z, the encoder one for each face, the fifth too.",
            lambda *vaes: all(map(_is_vae, vaes)),
        ),
        Condition(
            "A row of some table is no distribution",
            "Entries are not negative, and each row sums to one.",
            lambda *vaes: all(map(_is_probable, vaes)),
        ),
        Condition(
            "The first VAE has an inference error",
            "Its encoder must be the exact posterior. If the die tells nothing, that is the prior.",
            lambda first, second: _near(_errors_of(first)[1], 0.0),
        ),
        Condition(
            "The first VAE's modelling error is not log 2",
            "log(p_data / p) must be log 2 on average: where can half of the model's throws go?",
            lambda first, second: _near(_errors_of(first)[0], math.log(2)),
        ),
        Condition(
            "The second VAE has a modelling error",
            "Its p(x), the prior's average of the rows of the likelihood, must be p_data.",
            lambda first, second: _near(_errors_of(second)[0], 0.0),
        ),
        Condition(
            "The second VAE's inference error is not log 2",
            "The gaps must average to log 2: of two equally probable z, what may an encoder do?",
            lambda first, second: _near(_errors_of(second)[1], math.log(2)),
        ),
    ),
    finding=lambda first, second: (
        "Both lose log 2 ≈ 0.69 nats, one bit. A perfect encoder gains the second VAE all of it, "
        "and the first nothing."
    ),
)


# Exercise 4: the best model for an encoder that stays as it is.


def _best_model(p_data: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    joint = p_data[:, None] * q
    prior = joint.sum(0)
    return prior, (joint / prior).mT


def _encoders() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield p_data (X,) and q (X, Z)."""
    for p_data, q, _, _ in _tables():
        yield p_data, q


def _best_model_by_bayes(p_data, q):
    prior = torch.einsum("x,xz->z", p_data, q)
    return prior, torch.einsum("x,xz,z->zx", p_data, q, 1 / prior)


def _best_model_by_logs(p_data, q):
    log_joint = p_data.log()[:, None] + q.log()
    log_prior = log_joint.logsumexp(0)
    return log_prior.exp(), (log_joint - log_prior).exp().T


def _best_model_by_loops(p_data, q):
    prior = torch.stack([p_data @ column for column in q.mT])
    rows = [p_data * column / (p_data @ column) for column in q.mT]
    return prior, torch.stack(rows)


best_model = Exercise(
    solution=_best_model,
    cases=_encoders,
    right=(
        _best_model_by_bayes,
        _best_model_by_logs,
        _best_model_by_loops,
    ),
    mistakes=(
        Mistake(
            "faces without their weights in p(x | z)",
            "The second term of (4.10) vanishes at p(x | z) = q(x | z), which holds p_data.",
            lambda p, q: (p @ q, (q / q.sum(0)).mT),
        ),
        Mistake(
            "the encoder itself as the decoder",
            "q(z | x) sums to one over z; a decoder's row sums to one over x.",
            lambda p, q: (p @ q, q.mT),
        ),
        Mistake(
            "the joint itself as the decoder",
            "Divide each row by its sum: p(x | z) is a distribution of x for each z.",
            lambda p, q: (p @ q, (p[:, None] * q).mT),
        ),
        Mistake(
            "the data as the decoder's rows",
            "That ignores z: it makes the modelling error zero, but not the inference error.",
            lambda p, q: (p @ q, p.expand(len(q.mT), -1).clone()),
        ),
        Mistake(
            "a prior that weighs all x alike",
            "The first term of (4.10) vanishes at p(z) = q(z), the average of q under the data.",
            lambda p, q: (q.mean(0), _best_model(p, q)[1]),
        ),
        Mistake(
            "a uniform prior",
            "The first term of (4.10) vanishes at p(z) = q(z).",
            lambda p, q: (torch.full_like(q[0], 1 / len(q[0])), _best_model(p, q)[1]),
        ),
    ),
    results=("The prior", "The likelihood"),
)


# Exercise 5: the inference error of a Gaussian encoder, to be drawn against the truth.


def _gaussian_error(
    slope: Tensor,
    scale: Tensor,
    posterior_slope: Tensor,
    posterior_scale: Tensor,
    data_variance: Tensor,
) -> Tensor:
    spread = (scale / posterior_scale) ** 2
    shift = data_variance * (slope - posterior_slope) ** 2 / posterior_scale**2
    return 0.5 * (spread - 1 - spread.log() + shift)


def _gaussian_cases() -> Iterable[Any]:
    for size in (7, 5):
        constants = torch.rand(4, dtype=torch.float64) + 0.3
        yield torch.linspace(-0.5, 1.5, size, dtype=torch.float64), *constants.unbind()
    small = torch.tensor([0.002, 0.7, 0.003, 1e-5], dtype=torch.float64)
    yield extreme("scales as small as 0.002", constants[:1], *small.unbind())


def _gaussian_error_term_by_term(slope, scale, posterior_slope, posterior_scale, data_variance):
    ratio = scale**2 / posterior_scale**2
    distance = data_variance * (slope - posterior_slope) ** 2
    log_ratio = 2 * torch.log(scale / posterior_scale)
    return 0.5 * ratio - 0.5 - 0.5 * log_ratio + 0.5 * distance / posterior_scale**2


def _gaussian_error_by_quadrature(slope, scale, posterior_slope, posterior_scale, data_variance):
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None] * data_variance.sqrt()
    weight = Normal(0.0, data_variance.sqrt()).log_prob(x).exp()
    gap = kl_divergence(Normal(slope * x, scale), Normal(posterior_slope * x, posterior_scale))
    return torch.trapezoid(weight * gap, x, dim=0)


def _gaussian_error_by_joints(slope, scale, posterior_slope, posterior_scale, data_variance):
    zero = torch.zeros(1, dtype=torch.float64)
    data = MultivariateNormal(zero, data_variance.reshape(1, 1))

    def joint(gain, spread):
        law = LinearGaussianConditional(gain.reshape(1, 1), zero, spread.reshape(1, 1) ** 2)
        return gaussian_joint(data, law)

    exact = joint(posterior_slope, posterior_scale)
    return torch.stack([kl_divergence(joint(a, scale), exact) for a in slope])


gaussian_inference_error = Exercise(
    solution=_gaussian_error,
    cases=_gaussian_cases,
    right=(
        _gaussian_error_term_by_term,
        _gaussian_error_by_quadrature,
        _gaussian_error_by_joints,
    ),
    mistakes=(
        Mistake(
            "one x in place of the average over x",
            "The distance of the means grows with x: average its square over the data.",
            lambda a, s, g, v, c: _gaussian_error(a, s, g, v, torch.ones_like(c)),
        ),
        Mistake(
            "the data's standard deviation for its variance",
            "The average of x² over the data is data_variance itself.",
            lambda a, s, g, v, c: _gaussian_error(a, s, g, v, c.sqrt()),
        ),
        Mistake(
            "the difference of the slopes without its square",
            "The KL holds the squared distance of the means, averaged over x.",
            ("** 2 / posterior_scale", "/ posterior_scale"),
        ),
        Mistake(
            "scales used as variances",
            "scale and posterior_scale are standard deviations; the KL holds their squares.",
            lambda a, s, g, v, c: _gaussian_error(a, s.sqrt(), g, v.sqrt(), c),
        ),
        Mistake(
            "the KL in the other direction",
            "The squared distance of the means is divided by the variance of the second Gaussian.",
            lambda a, s, g, v, c: _gaussian_error(a, v, g, s, c),
        ),
        Mistake(
            "the factor ½ missing",
            "Your result is twice the truth everywhere.",
            lambda a, s, g, v, c: 2 * _gaussian_error(a, s, g, v, c),
        ),
        Mistake(
            "the distance of the means alone",
            "At the right slope the error is zero only if the two scales agree as well.",
            lambda a, s, g, v, c: _gaussian_error(a, v, g, v, c),
        ),
        Mistake(
            "the logarithm with the wrong sign",
            "Each KL is zero where the two Gaussians agree and positive elsewhere; is yours?",
            lambda a, s, g, v, c: _gaussian_error(a, s, g, v, c) + 2 * (s / v).log(),
        ),
    ),
)


# Exercise 6: a bits-back coder on a stack.


def _push(stack: int, symbol: int, counts: list[int]) -> int:
    """Write a symbol; the stack grows by log(total / count) nats."""
    high, low = divmod(stack, counts[symbol])
    return high * sum(counts) + sum(counts[:symbol]) + low


def _pop(stack: int, counts: list[int]) -> tuple[int, int]:
    """Read a symbol: the inverse of `_push`."""
    high, low = divmod(stack, sum(counts))
    symbol = 0
    while low >= sum(counts[: symbol + 1]):
        symbol += 1
    return high * counts[symbol] + low - sum(counts[:symbol]), symbol


def _send(
    stack: int,
    waiting: int,
    x: int,
    prior: list[int],
    likelihood: list[list[int]],
    q: list[list[int]],
) -> tuple[int, int]:
    waiting, z = _pop(waiting, q[x])
    stack = _push(stack, x, likelihood[z])
    return _push(stack, z, prior), waiting


def _stacks() -> Iterable[Any]:
    prior, likelihood = [2, 3, 1], [[5, 1, 3, 1], [1, 2, 1, 4], [2, 2, 1, 7]]
    q = [[4, 3, 2], [1, 1, 5], [3, 2, 6], [2, 7, 1]]
    for stack, waiting in torch.randint(300, 3000, (12, 2)).tolist():
        yield stack, waiting, stack % 4, prior, likelihood, q


def _send_likely(stack, waiting, x, prior, likelihood, q):
    z = q[x].index(max(q[x]))
    return _push(_push(stack, x, likelihood[z]), z, prior), waiting


def _send_z_first(stack, waiting, x, prior, likelihood, q):
    waiting, z = _pop(waiting, q[x])
    return _push(_push(stack, z, prior), x, likelihood[z]), waiting


def _send_by_the_prior(stack, waiting, x, prior, likelihood, q):
    waiting, z = _pop(waiting, prior)
    return _push(_push(stack, x, likelihood[z]), z, prior), waiting


def _send_without_z(stack, waiting, x, prior, likelihood, q):
    waiting, z = _pop(waiting, q[x])
    return _push(stack, x, likelihood[z]), waiting


def _send_and_keep(stack, waiting, x, prior, likelihood, q):
    _, z = _pop(waiting, q[x])
    return _push(_push(stack, x, likelihood[z]), z, prior), waiting


def _send_z_with_q(stack, waiting, x, prior, likelihood, q):
    waiting, z = _pop(waiting, q[x])
    return _push(_push(stack, x, likelihood[z]), z, q[x]), waiting


def _send_from_the_stack(stack, waiting, x, prior, likelihood, q):
    stack, z = _pop(stack, q[x])
    return _push(_push(stack, x, likelihood[z]), z, prior), waiting


def _send_by_arithmetic(stack, waiting, x, prior, likelihood, q):
    """Without `_pop` and `_push`."""
    high, low = divmod(waiting, sum(q[x]))
    starts = [sum(q[x][:z]) for z in range(len(q[x]))]
    z = max(z for z, start in enumerate(starts) if start <= low)
    waiting = high * q[x][z] + low - starts[z]
    for symbol, counts in ((x, likelihood[z]), (z, prior)):
        high, low = divmod(stack, counts[symbol])
        stack = high * sum(counts) + sum(counts[:symbol]) + low
    return stack, waiting


def _send_as_the_receiver_reads(stack, waiting, x, prior, likelihood, q):
    """Try all z for the one with which the receiver ends where the sender began."""
    for z in range(len(prior)):
        sent, left = _push(_push(stack, x, likelihood[z]), z, prior), _pop(waiting, q[x])[0]
        if _push(left, z, q[x]) == waiting:
            return sent, left
    raise AssertionError


send = Exercise(
    solution=_send,
    cases=_stacks,
    right=(
        _send_by_arithmetic,
        _send_as_the_receiver_reads,
    ),
    mistakes=(
        Mistake(
            "no bits back: z is picked without the waiting bits",
            "Let pop pick z from the row q[x]; that takes bits off the waiting number.",
            _send_likely,
        ),
        Mistake(
            "the bits are read, but not taken off",
            "pop returns the shorter number too; return that one.",
            _send_and_keep,
        ),
        Mistake(
            "z lies below x",
            "What is pushed last is read first, and the receiver needs z to read x.",
            _send_z_first,
        ),
        Mistake(
            "z is read with the prior's counts",
            "The receiver gives back bits with q[x]; those are the bits that you may take.",
            _send_by_the_prior,
        ),
        Mistake(
            "z is not sent",
            "The receiver reads z first, with the prior's counts.",
            _send_without_z,
        ),
        Mistake(
            "z is sent with the encoder's counts",
            "The receiver does not know x yet, and so not q[x]; z is read with the prior's counts.",
            _send_z_with_q,
        ),
        Mistake(
            "the bits that pick z come from the stack",
            "Real coders use one number for both, but here the waiting bits pick z.",
            _send_from_the_stack,
        ),
    ),
)

_P_DATA = torch.tensor([0.40, 0.25, 0.20, 0.15], dtype=torch.float64)  # the chapter's dice
_DICE = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
_GUESS = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7], [0.2, 0.8]], dtype=torch.float64)
_ENTROPY = -float(_P_DATA @ _P_DATA.log())
_SHORTEST = -float(_P_DATA @ _DICE.mean(0).log())
_PRESENT = float((_P_DATA[:, None] * _GUESS * (2 * _GUESS / _DICE.mT).log()).sum())

shortest_message = Prediction(
    answer=_SHORTEST,
    because=(
        "The exact posterior leaves no inference error: the length is −E[log p(x)], entropy plus "
        "modelling error."
    ),
    mistakes={
        _ENTROPY: "that is the entropy of the data. To reach it the model must change, not q.",
        _PRESENT: "that is the length with the present q, which is not the posterior.",
        _SHORTEST - _ENTROPY: "that is the modelling error; the message also carries the data.",
    },
    tolerance=0.0006,
    unit="nats",
)


# Exercise 7: what three measurements say about two VAEs. Lower bounds on the mean of log p(x), of
# one decoder each, in the order of section 4.8.

_A = (-98.4, -97.1, -95.3, -95.0)
_B = (-97.2, -97.0, -96.8, -96.6)

least_error = Prediction(
    answer=_A[3] - _A[0],
    because=(
        "log p(x) is at least the last row, on average; so the first row is at least 3.4 nats "
        "below it."
    ),
    mistakes={
        _A[1] - _A[0]: "that is what training the encoder gains alone; the rows below gain more.",
        _A[2] - _A[0]: "the bound from K samples lies below log p(x) too: its gain counts.",
        _A[2] - _A[1]: "that is the gain of a q for each x alone.",
        _A[3] - _A[2]: "that is what the K samples gain alone.",
        _A[3] - _A[1]: "what training the encoder gains is part of the inference error too.",
        _A[0] - _A[3]: "the sign: a KL divergence is not negative.",
    },
    tolerance=0.001,
    unit="nats",
)

lead = Prediction(
    answer=_A[3] - _B[3],
    because="−95.0 against −96.6: the best bounds that are known of the two decoders.",
    mistakes={
        _A[0] - _B[0]: "that compares the ELBOs, which hold the inference errors too.",
        _B[0] - _A[0]: "that is B's lead by the ELBO; you may spend on inference what you like.",
        _A[2] - _B[2]: "the last row is a bound on log p(x) as well, and a better one.",
        _A[1] - _B[1]: "after the first step only; there are two more rows.",
        _B[3] - _A[3]: "the sign: the higher bound is the better one.",
        (_A[3] - _A[0]) - (_B[3] - _B[0]): "that is how much more A gains, not where it ends.",
    },
    tolerance=0.001,
    unit="nats",
)
