"""Exercises of chapter 5: the terms of the Gaussian VAE's objective, each with its constants."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.functional import gaussian_nll_loss

from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction

LOG_TWO_PI = math.log(2 * math.pi)

Decoder = Callable[[Tensor], Tensor]
Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]


def _normal(*shape: int) -> Tensor:
    """Return standard Gaussian numbers in float64, from the generator as it stands."""
    return torch.randn(*shape, dtype=torch.float64)


# --- predictions ---------------------------------------------------------------------------------

right_curve = Prediction(
    answer="B",
    because="Its loss ends lowest among the sums over pixels, and its KL at nine nats, not 0.",
    mistakes={
        "A": "its loss is below 1: a mean over pixels. Its KL is 0: the code says nothing.",
        "C": "its loss stops at 59, and its KL is 0: the decoder draws one mean digit.",
    },
)

curve_of_sample = Prediction(
    answer="C",
    because="Its error is a sum over pixels, and only the KL reaches the encoder.",
    mistakes={
        "A": "look at the size of its loss: 0.07 is the mean squared error of one pixel.",
        "B": "with sample() only the KL's gradient reaches the encoder. Does the KL then rise?",
    },
)

implied_scale = Prediction(
    answer=math.sqrt(32),
    because="1/64 = 1/2σ² gives σ² = 32: noise far wider than the pixels' range.",
    mistakes={
        32.0: "this is the variance σ². What is the standard deviation?",
        8.0: "set 1/64 equal to 1/(2σ²), not to 1/σ².",
        64.0: "set 1/64 equal to 1/(2σ²), and solve for σ.",
        1.0: "σ = 1 belongs to half the sum of squares. Here the squares are averaged over pixels.",
        0.2: "this is the σ of section 5.6, in vae_loss. F.mse_loss does not know it.",
        math.sqrt(1 / 128): "this has 64 in place of 1/64: compare (5.4). An average divides by D.",
        math.sqrt(0.5): "this belongs to the plain sum of squares. Here they are averaged.",
    },
    tolerance=0.05,
)

learned_variance = Prediction(
    answer=0.15,
    because="S/(D − d) = 1.2/8: the left-out variance, shared by the directions left out.",
    mistakes={
        0.12: "S/D counts the directions of the units too, where the error is σ² and not less.",
        0.72: "the eigenvalues of both units are in this sum; they are explained.",
        0.9: "the sum of all eigenvalues over D − d: two of them are explained.",
        0.3: "this is S/(D − 3d), the answer for β = 3.",
        0.1: "the sign of d: the KL falls as σ² grows, so the best σ² is above S/D.",
        0.3873: "this is σ, the standard deviation.",
    },
    tolerance=5e-4,
)

weighted_variance = Prediction(
    answer=0.3,
    because="S/(D − βd) = 1.2/4. Then βσ² = 0.9 < λ₂ = 2, so both units are in use.",
    mistakes={
        0.15: "this is the best σ² for β = 1. A dearer code lets more error through.",
        0.05: "σ²/β would hold if β were a mere change of variance. Differentiate again.",
        0.45: "β times the σ² of β = 1: maximise over σ² anew.",
        0.9: "this is βσ².",
        0.12: "S/D leaves out what the units' directions and the KL do to σ².",
        0.075: "the sign of βd: the KL falls as σ² grows.",
    },
    tolerance=5e-4,
)

switching_weight = Prediction(
    answer=20 / 5.2,
    because="β · 1.2 / (10 − 2β) = 2 gives β = 20/5.2. The linear model's σ² is then 0.52.",
    mistakes={
        5.0: "there D − βd is zero. The second unit is lost before: at βσ² = λ₂.",
        2 / 0.15: "σ² is not 0.15 any more: it grows with β.",
        2 / 0.3: "σ² is not 0.3 any more: it grows with β.",
        4.7: "this sets σ² equal to λ₂. A unit switches off where βσ² reaches it.",
        40 / 9.2: "this is where the first unit would go. The second has λ₂ = 2.",
    },
    tolerance=0.05,
)

# --- the ELBO of a data set in batches -----------------------------------------------------------


def _closed_form_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar).sum(-1)


def _kl_by_torch(mu, logvar):
    q = Normal(mu, logvar.exp().sqrt())
    return kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(dim=1)


def _kl_as_the_formula_stands(mu, logvar):
    return -0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=1)


def _mean_elbo(
    batches: Sequence[Tensor],
    noise: Sequence[Tensor],
    encode: Encoder,
    decode: Decoder,
    sigma: float,
) -> Tensor:
    variance = sigma**2
    total, count = torch.zeros(()), 0
    for x, eps in zip(batches, noise, strict=True):
        mu, logvar = encode(x)
        z = mu + torch.exp(0.5 * logvar) * eps
        squares = (x - decode(z)).square().sum(-1)
        constant = 0.5 * x.shape[-1] * (LOG_TWO_PI + math.log(variance))
        rows = -squares / (2 * variance) - constant - _closed_form_kl(mu, logvar)
        total, count = total + rows.sum(), count + len(rows)
    return total / count


def _mean_elbo_cases() -> Iterable[Any]:
    tiny = (5, 2, (4, 2), 1e-3)
    for pixels, units, sizes, sigma in ((7, 3, (5, 5, 2), 0.3), (6, 4, (3, 3, 3, 1), 1.4), tiny):
        to_mu, to_logvar = _normal(pixels, units), 0.3 * _normal(pixels, units)
        back = _normal(units, pixels)

        def encode(x: Tensor, to: tuple[Tensor, Tensor] = (to_mu, to_logvar)) -> Any:
            return x @ to[0], x @ to[1]

        def decode(z: Tensor, back: Tensor = back) -> Tensor:
            return torch.tanh(z @ back)

        # The last batch is short and unlike the others, as in any data that is not divisible.
        batches = [_normal(size, pixels) for size in sizes]
        batches[-1] += 3
        what = "σ = 0.001" if sigma < 0.1 else ""
        noise = [_normal(size, units) for size in sizes]
        yield extreme(what, batches, noise, encode, decode, sigma)


def _elbo_with_running_sum(batches, noise, encode, decode, sigma):
    total, count = 0.0, 0
    for x, eps in zip(batches, noise, strict=True):
        mu, logvar = encode(x)
        mean = decode(mu + logvar.exp().sqrt() * eps)
        variance = torch.full_like(x, sigma**2)
        nll = gaussian_nll_loss(mean, x, variance, full=True, reduction="none").sum(1)
        total = total - nll.sum() - _kl_by_torch(mu, logvar).sum()
        count += len(x)
    return total / count


def _elbo_of_all_at_once(batches, noise, encode, decode, sigma):
    x, eps = torch.cat(batches), torch.cat(noise)
    mu, logvar = encode(x)
    z = mu + logvar.exp().sqrt() * eps
    reconstruction = Independent(Normal(decode(z), sigma), 1).log_prob(x)
    return float((reconstruction - _kl_as_the_formula_stands(mu, logvar)).mean())


mean_elbo = Exercise(
    solution=_mean_elbo,
    cases=_mean_elbo_cases,
    right=(
        _elbo_with_running_sum,
        _elbo_of_all_at_once,
    ),
    mistakes=(
        Mistake(
            "minus the ELBO",
            "This is the loss. The ELBO is a lower bound on log p(x), and is to be maximised.",
            lambda *inputs: -_mean_elbo(*inputs),
        ),
        Mistake(
            "the mean of batch means",
            "The last batch is short: each of its points then counts more than the others.",
            ("rows.sum(), count + len(rows)", "rows.mean(), count + 1"),
        ),
        Mistake(
            "all batches counted as long as the first",
            "The last batch is short. How many data points are there in all?",
            ("total / count", "total / (len(batches) * len(batches[0]))"),
        ),
        Mistake(
            "only the first batch",
            "Where does your loop end, and where does it return?",
            ("    return total", "        return total"),
        ),
        Mistake(
            "only the last batch",
            "Does your loop add to the total, or write over it?",
            ("total + rows.sum(), count + len(rows)", "rows.sum(), len(rows)"),
        ),
        Mistake(
            "the last, short batch left out",
            "Its points belong to the data set like all others.",
            ("zip(batches, noise,", "zip(batches[:-1], noise[:-1],"),
        ),
        Mistake(
            "a sum over the data points",
            "The mean ELBO of a data point is asked for.",
            ("total / count", "total"),
        ),
        Mistake(
            "the posterior's mean in place of a sample",
            "The bound is an expectation over q. A decoded mean scores better and is no bound.",
            ("mu + torch.exp(0.5 * logvar) * eps", "mu"),
        ),
        Mistake(
            "exp(logvar) taken for the standard deviation",
            "It is the variance. The standard deviation is exp(logvar/2).",
            ("torch.exp(0.5 * logvar)", "torch.exp(logvar)"),
        ),
        Mistake(
            "squares averaged over pixels",
            "log p(x | z) is a sum over pixels. An average gives the KL an undeclared weight D.",
            ("square().sum(-1)", "square().mean(-1)"),
        ),
        Mistake(
            "log p(x | z) averaged over pixels",
            "log p(x | z) is a sum over pixels. An average gives the KL an undeclared weight D.",
            (
                "-squares / (2 * variance) - constant",
                "(-squares / (2 * variance) - constant) / x.shape[-1]",
            ),
        ),
        Mistake(
            "2π dropped",
            "Which constant makes a Gaussian density integrate to one?",
            ("LOG_TWO_PI + ", ""),
        ),
        Mistake(
            "a constant for each latent unit in place of each pixel",
            "Each of the D pixels brings a normaliser of its own.",
            ("0.5 * x.shape[-1]", "0.5 * z.shape[-1]"),
        ),
        Mistake(
            "the constant C dropped",
            "Without −D/2 log 2πσ² the number is a loss with its sign turned, not an ELBO.",
            (" - constant", ""),
        ),
        Mistake(
            "σ taken for the variance",
            "sigma is a standard deviation. What stands under the squares?",
            ("sigma**2", "sigma"),
        ),
    ),
)

# --- log p(x) in chunks --------------------------------------------------------------------------

Draw = Callable[[int], Tensor]


def _chunks(draw: Draw, num_samples: int, chunk_size: int) -> Iterator[Tensor]:
    for start in range(0, num_samples, chunk_size):
        yield draw(min(chunk_size, num_samples - start))


def _weights(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    return torch.cat(list(_chunks(draw, num_samples, chunk_size)))


def _log_mean_exp(log_weight: Tensor) -> Tensor:
    return log_weight.logsumexp(0) - math.log(len(log_weight))


def _log_marginal_in_chunks(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    return _log_mean_exp(_weights(draw, num_samples, chunk_size))


def _of_weights(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return an answer that draws all weights rightly and then does `function`."""
    return lambda *inputs: function(_weights(*inputs))


def _whole_chunks(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    sums = [draw(chunk_size).logsumexp(0) for _ in range(num_samples // chunk_size)]
    return torch.stack(sums).logsumexp(0) - math.log(num_samples)


def _sums(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    """Return the logarithm of each chunk's sum of weights."""
    chunks = _chunks(draw, num_samples, chunk_size)
    return torch.stack([weights.logsumexp(0) for weights in chunks])


def _bounds(draw: Draw, num_samples: int, chunk_size: int) -> Tensor:
    """Return the bound that each chunk gives."""
    return torch.stack([_log_mean_exp(w) for w in _chunks(draw, num_samples, chunk_size)])


def _chunks_cases() -> Iterable[Any]:
    yield _rows_of(2 * _normal(11, 6), 4), 11, 4
    yield _rows_of(2 * _normal(7, 5), 3), 7, 3
    low = "log-weights near −1500, where exp() gives 0"
    yield extreme(low, _rows_of(2 * _normal(8, 5) - 1500, 3), 8, 3)
    apart = "log-weights that lie thousands of nats apart"
    yield extreme(apart, _rows_of(5000 * _normal(7, 4), 3), 7, 3)
    yield extreme("a single draw", _rows_of(_normal(1, 5), 1), 1, 1)


def _rows_of(table: Tensor, chunk_size: int) -> Draw:
    """Return a `draw` that hands out the rows of a table, and none beyond."""
    start = 0

    def draw(count: int) -> Tensor:
        nonlocal start
        if not 0 <= count <= chunk_size:
            raise ValueError(
                f"draw({count}), where at most chunk_size = {chunk_size} are asked for"
            )
        if start + count > len(table):
            raise ValueError(f"more than num_samples = {len(table)} rows drawn")
        start += count
        return table[start - count : start].clone()

    return draw


def _chunks_with_running_logsumexp(draw, num_samples, chunk_size):
    log_sum, left = torch.tensor(-math.inf, dtype=torch.float64), num_samples
    while left > 0:
        log_weight = draw(min(left, chunk_size))
        left -= len(log_weight)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weight, 0))
    return log_sum - math.log(num_samples)


def _chunks_with_the_largest_weight(draw, num_samples, chunk_size):
    sizes = [chunk_size] * (num_samples // chunk_size) + [num_samples % chunk_size]
    log_weight = torch.cat([draw(size) for size in sizes if size])
    top = log_weight.max(0).values
    return top + (log_weight - top).exp().mean(0).log()


log_marginal_in_chunks = Exercise(
    solution=_log_marginal_in_chunks,
    cases=_chunks_cases,
    right=(
        _chunks_with_running_logsumexp,
        _chunks_with_the_largest_weight,
    ),
    mistakes=(
        Mistake(
            "whole chunks only, divided by the K that was asked for",
            "11 draws in chunks of 4 are 4 + 4 + 3. Is the last, short chunk drawn?",
            _whole_chunks,
        ),
        Mistake(
            "whole chunks only",
            "11 draws in chunks of 4 are 4 + 4 + 3. Is the last, short chunk drawn?",
            lambda draw, num, size: _log_marginal_in_chunks(draw, num - num % size, size),
        ),
        Mistake(
            "the mean of the chunks' bounds",
            "Each chunk is a looser bound. Add the weights of all chunks, then take one logarithm.",
            lambda *inputs: _bounds(*inputs).mean(0),
        ),
        Mistake(
            "chunks of unequal size counted alike",
            "The last chunk is short: add its weights up with the others, and divide by K once.",
            lambda *inputs: _log_mean_exp(_bounds(*inputs)),
        ),
        Mistake(
            "the logarithms of the chunks' sums added up",
            "A sum of logarithms is the logarithm of a product. Add the weights themselves.",
            lambda draw, num, size: _sums(draw, num, size).sum(0) - math.log(num),
        ),
        Mistake(
            "only the last chunk in the sum",
            "Does your loop keep what the earlier chunks gave, or write over it?",
            lambda draw, num, size: _sums(draw, num, size)[-1] - math.log(num),
        ),
        Mistake(
            "only the first chunk",
            "What happens to the chunks that are drawn after it?",
            lambda *inputs: _bounds(*inputs)[0],
        ),
        Mistake(
            "the largest weight alone",
            "The others count too: add all weights, by logsumexp.",
            _of_weights(lambda lw: lw.max(0).values),
        ),
        Mistake(
            "the largest weight alone, divided by K",
            "The others count too: add all weights, by logsumexp.",
            _of_weights(lambda lw: lw.max(0).values - math.log(len(lw))),
        ),
        Mistake(
            "a running sum of logarithms that starts at 0",
            "log w = 0 is a weight of one. What is the logarithm of an empty sum?",
            lambda draw, num, size: (
                _sums(draw, num, size).logsumexp(0).logaddexp(torch.zeros(())) - math.log(num)
            ),
        ),
        Mistake(
            "the surrogate Σ w̃ log w reported as the bound",
            "Its gradient is the bound's, its value is up to log K too high.",
            _of_weights(lambda lw: (lw.softmax(0) * lw).sum(0)),
        ),
        Mistake(
            "importance weights from the positive loss",
            "With −log w in the exponent the worst samples count most. Which sign has the weight?",
            _of_weights(lambda lw: -_log_mean_exp(-lw)),
        ),
        Mistake(
            "minus log p(x)",
            "This is a loss. log_marginal estimates log p(x) itself.",
            _of_weights(lambda lw: -_log_mean_exp(lw)),
        ),
        Mistake(
            "no log K",
            "p(x) is estimated by the mean of the weights, not by their sum.",
            _of_weights(lambda lw: lw.logsumexp(0)),
        ),
        Mistake(
            "the ELBO",
            "The mean of log w is the ELBO. Here the mean comes before the logarithm.",
            _of_weights(lambda lw: lw.mean(0)),
        ),
        Mistake(
            "an exponential before the logarithm",
            "exp(−900) is zero in floating point and its logarithm −∞. torch.logsumexp avoids it.",
            _of_weights(lambda lw: lw.exp().mean(0).log()),
        ),
        Mistake(
            "logsumexp over the data points",
            "log_weight is (K, B): which axis holds the samples?",
            _of_weights(lambda lw: lw.logsumexp(1) - math.log(lw.shape[1])),
        ),
    ),
)

# --- a baseline from the other draws -------------------------------------------------------------


def _leave_one_out(values: Tensor, score: Tensor) -> Tensor:
    others = (values.sum(0) - values) / (len(values) - 1)
    return ((values - others)[..., None] * score).mean(0)


def _leave_one_out_cases() -> Iterable[Any]:
    for draws, points, units in ((5, 3, 2), (7, 2, 4)):
        yield 3 * _normal(draws, points) - 6, _normal(draws, points, units)
    yield extreme("two draws", _normal(2, 3), _normal(2, 3, 4))
    yield extreme("a single data point", _normal(4, 1), _normal(4, 1, 3))


def _centred(values, score):
    apart = values - values.mean(0)
    return torch.einsum("kb,kbd->bd", apart, score) / (len(values) - 1)


def _draw_by_draw(values, score):
    total = torch.zeros_like(score[0])
    for k in range(len(values)):
        others = torch.cat([values[:k], values[k + 1 :]])
        total = total + (values[k] - others.mean(0)).unsqueeze(-1) * score[k]
    return total / len(values)


leave_one_out = Exercise(
    solution=_leave_one_out,
    cases=_leave_one_out_cases,
    right=(
        _centred,
        _draw_by_draw,
    ),
    mistakes=(
        Mistake(
            "no baseline",
            "What is subtracted from each f(z_k) before it meets its score?",
            lambda values, score: (values[..., None] * score).mean(0),
        ),
        Mistake(
            "the mean of all draws, the draw's own among them",
            "A draw's own f makes the baseline depend on it: too small by a factor (K − 1)/K.",
            lambda values, score: ((values - values.mean(0))[..., None] * score).mean(0),
        ),
        Mistake(
            "the mean over draws and data points together",
            "Each data point has its own f and needs its own baseline, without the draw itself.",
            lambda values, score: ((values - values.mean())[..., None] * score).mean(0),
        ),
        Mistake(
            "the others' sum divided by K",
            "How many other draws are there?",
            ("(len(values) - 1)", "len(values)"),
        ),
        Mistake(
            "the baseline added",
            "Subtract it: values near zero are quiet.",
            ("values - others)[", "values + others)["),
        ),
        Mistake(
            "a mean over data points in place of draws",
            "Each data point has its own f and its own baseline: average over the draws.",
            lambda values, score: ((values - values.mean(1, keepdim=True))[..., None] * score).mean(
                0
            ),
        ),
        Mistake(
            "a sum over the draws",
            "The estimate is the mean over the draws.",
            (".mean(0)", ".sum(0)"),
        ),
        Mistake(
            "an average over the data points as well",
            "The result should hold a gradient for each data point, (B, d).",
            lambda values, score: _leave_one_out(values, score).mean(0),
        ),
        Mistake(
            "the scores averaged before they meet f",
            "Each f(z_k) belongs to the score of its own draw: multiply first, average then.",
            lambda values, score: values.mean(0)[..., None] * score.mean(0),
        ),
    ),
)

# --- a learned scale under a weight --------------------------------------------------------------


def _rows(rows: Any) -> Tensor:
    """Return the reader's rows as a table: β, σ, error per pixel, KL in nats."""
    return torch.stack([torch.stack([torch.as_tensor(v).double() for v in row]) for row in rows])


learned_scale = Inspection(
    conditions=(
        Condition(
            "These are no rows (beta, sigma, error per pixel, KL)",
            "Give a list with at least three of them, four numbers each.",
            lambda rows: len(rows) > 2 and all(len(row) == 4 for row in rows),
        ),
        Condition(
            "The weights do not start at 1 and rise",
            "Sort the rows by beta, and begin with the ordinary VAE.",
            lambda rows: bool(_rows(rows)[0, 0] == 1 and (_rows(rows)[:, 0].diff() > 0).all()),
        ),
        Condition(
            "Some number is not positive and finite",
            "Lower the learning rate, or look at the losses of that run.",
            lambda rows: bool((_rows(rows).isfinite() & (_rows(rows) >= 0)).all()),
        ),
        Condition(
            "A σ is more than a tenth away from the error per pixel",
            "At its optimum σ² is the mean squared error, with any β: train longer, or let σ move "
            "faster.",
            lambda rows: bool(((_rows(rows)[:, 1] / _rows(rows)[:, 2] - 1).abs() < 0.1).all()),
        ),
        Condition(
            "σ does not rise with β",
            "A dearer code lets more error through. Are the runs long enough?",
            lambda rows: bool((_rows(rows)[:, 1].diff() > -0.005).all()),
        ),
        Condition(
            "The code is still there at the largest β",
            "Go on until the KL is below half a nat.",
            lambda rows: bool(_rows(rows)[-1, 3] < 0.5),
        ),
        Condition(
            "No code was there to be lost",
            "With β = 1 the KL is several nats.",
            lambda rows: bool(_rows(rows)[0, 3] > 3),
        ),
    ),
    finding=lambda rows: (
        f"βσ² grew from {_effective(rows)[0]:.3f} to {_effective(rows)[-1]:.3f}: with a learned σ, "
        f"β is no mere change of variance. The code lasted to β = {_last_with_code(rows):g}; a "
        f"linear VAE of the digits loses its last unit at β = 9.6."
    ),
)


def _effective(rows: Any) -> Tensor:
    return _rows(rows)[:, 0] * _rows(rows)[:, 1].square()


def _last_with_code(rows: Any) -> float:
    table = _rows(rows)
    return float(table[table[:, 3] > 0.5, 0].max())
