"""Exercises of chapter 1: what the prior fixes, copies, and random codes of the reader's own."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from companion import diagnostics
from companion.exercises.checking import Exercise, Mistake, extreme
from companion.exercises.inspecting import Condition, Inspection
from companion.exercises.predicting import Prediction
from companion.models import VAE, Autoencoder

# --- Guesses in the text ------------------------------------------------------------------------

moved = Prediction(
    answer="pictures",
    because=(
        "The decoder undoes the move before it decodes, so each digit comes out as before. A "
        "random code was never moved: undone, it is another code, with another picture."
    ),
    mistakes={
        "error": "a digit's code is moved, and moved back before the decoder: what does it get?",
        "both": "the pictures, yes; but a digit's code is moved and then moved back.",
        "neither": "a digit's code is moved and moved back; a random code is only moved back.",
    },
)

small_sigma = Prediction(
    answer="shrink",
    because=(
        "Where two clouds overlap, one picture must do for both digits. With a small σ that error "
        "is dear, and the nats of narrow clouds are the lesser price."
    ),
    mistakes={
        "grow": "wide clouds save nats of the KL, but they overlap: what does the decoder answer "
        "where two digits share a code?",
        "stay": "σ weighs the first term of (1.4) against the second: which of them wins now?",
    },
)

better_copies = Prediction(
    answer="autoencoder",
    because=(
        "It is trained for nothing else: its codes carry no noise and pay no price, so they can "
        "say more about each picture."
    ),
    mistakes={
        "VAE": "the first term of (1.4) asks for reconstruction, but whose codes carry noise, and "
        "pay for their distance from the origin?",
        "neither": "the networks are alike, the codes are not: whose carry noise, and pay a price?",
    },
)

all_sixteen = Prediction(
    answer="no",
    because=(
        "A number that is used costs nats in the KL. Where it does not soon save more in the "
        "reconstruction, training leaves it at the prior."
    ),
    mistakes={
        "yes": "each number that is used costs nats in the KL: does the sixteenth save as many in "
        "the reconstruction?",
    },
)

# --- Predictions --------------------------------------------------------------------------------

twins = Prediction(
    answer=48.0,
    because="Three numbers have 3! = 6 orders, and each order has 2³ = 8 choices of signs.",
    mistakes={
        6.0: "those are the orders; each number's sign may be flipped as well.",
        8.0: "those are the choices of signs; the numbers may change places as well.",
        14.0: "an order and a choice of signs go together: multiply, do not add.",
        24.0: "that is 3 · 8 or 3! · 4: take all orders times all choices of signs.",
        47.0: "the first one counts too.",
        9.0: "the flips are made number by number: how many choices of three signs are there?",
        64.0: "two to the power of 6 would be six signs; how many are there?",
    },
)

stretch_cost = Prediction(
    answer=49.5 - math.log(10),
    because="½(c² − 1)(m² + s²) − log c with c = 10 and m² + s² = 1.",
    mistakes={
        49.5: "a wider cloud is also less narrow: the −log s changes too.",
        49.5 + math.log(10): "log(c s) = log c + log s, and it stands with a minus.",
        50 - math.log(10): "that is without the KL before the stretch: c² − 1, and not c².",
        99 - math.log(10): "the ½ before c² − 1 is missing.",
        49.5 - math.log(100): "the cloud has the standard deviation c s, not c² s.",
        4.5 - math.log(10): "both the mean and the standard deviation are squared: c² and not c.",
    },
    tolerance=0.05,
    unit="nats",
)

best_stretch = Prediction(
    answer=2.0,
    because="The slope c S − 1/c is zero at c = 1/√S, here with S = ¼.",
    mistakes={
        4.0: "that is c²; and c?",
        0.5: "the clouds are too near to 0 and too narrow: should they be stretched or shrunk?",
        1.0: "that changes nothing; is the slope of ½(c² − 1) S − log c zero at 1?",
        0.25: "that is the mean of m² + s² itself: where is ½(c² − 1) S − log c smallest?",
    },
    tolerance=0.01,
)

second_moment = Prediction(
    answer=1.0,
    because="It becomes c² S, and the best c is 1/√S: whatever S was before, c² S = 1.",
    mistakes={
        0.25: "that is the mean before: the stretch makes m into c m, and s into c s.",
        0.5: "both are squared: m² + s² grows by c², not by c.",
        4.0: "that is c² alone: times which mean?",
    },
)

drawn_copies = Prediction(
    answer="few",
    because=(
        "A drawn code decodes to another picture than the mean code. The test flags about one in "
        "a hundred, as of held-out digits, so a sample that it lets pass may still be a copy."
    ),
    mistakes={
        "most": "the test knows one picture of each training digit, that of the mean code: how "
        "far from it does a drawn code decode?",
        "half": "the threshold is the lowest 1 % of fresh digits' distances: do half of the drawn "
        "codes decode so near to the mean code's picture?",
    },
)


# --- Nats for nothing: each number of the code stretched by its best factor ----------------------


def _free_nats(mean: Tensor, scale: Tensor) -> Tensor:
    second = (mean.square() + scale.square()).mean(0)
    return 0.5 * (second - 1 - second.log()).sum()


def _free_cases() -> Iterable[Any]:
    for points, units in ((5, 3), (7, 2)):
        mean = 1.4 * torch.randn(points, units, dtype=torch.float64) + 0.3
        yield mean, 0.2 + torch.rand(points, units, dtype=torch.float64)
    yield extreme("an encoder that always answers the prior", 0 * mean, torch.ones_like(mean))
    yield extreme("clouds far too small", 1e-3 * mean, 1e-3 * torch.ones_like(mean))


def _free_by_stretching(mean, scale):
    def kl(m, s):
        return (0.5 * (m**2 + s**2 - 1) - s.log()).sum(1).mean()

    c = 1 / (mean**2 + scale**2).mean(0).sqrt()
    return kl(mean, scale) - kl(c * mean, c * scale)


def _free_number_by_number(mean, scale):
    total = 0.0
    for m, s in zip(mean.T, scale.T, strict=True):
        second = (m**2 + s**2).mean()
        total = total + (second - 1 - second.log()) / 2
    return total


def _each_picture_its_own(mean, scale):
    second = mean.square() + scale.square()
    return 0.5 * (second - 1 - second.log()).sum(1).mean()


def _one_factor_for_all(mean, scale):
    second = (mean.square() + scale.square()).mean()
    return 0.5 * mean.shape[1] * (second - 1 - second.log())


def _moved_as_well(mean, scale):
    spread = mean.var(0, correction=0) + scale.square().mean(0)
    return 0.5 * (mean.mean(0).square() + spread - 1 - spread.log()).sum()


free_nats = Exercise(
    solution=_free_nats,
    cases=_free_cases,
    right=(_free_by_stretching, _free_number_by_number),
    mistakes=(
        Mistake(
            "each picture is stretched by a factor of its own",
            "The decoder does not know which picture it is: average m² + s² over pictures first.",
            _each_picture_its_own,
        ),
        Mistake(
            "all numbers of the code share one factor",
            "Each number of the code may have its own: average over the pictures alone.",
            _one_factor_for_all,
        ),
        Mistake(
            "the codes are moved as well as stretched",
            "Moving saves nats too, but here only a stretch is asked for: m², not a variance.",
            _moved_as_well,
        ),
        Mistake(
            "the widths of the clouds are left out",
            "The KL has m² + s², not m² alone.",
            ("mean.square() + scale.square()", "mean.square()"),
        ),
        Mistake(
            "the means of the clouds are left out",
            "The KL has m² + s², not s² alone.",
            ("mean.square() + scale.square()", "scale.square()"),
        ),
        Mistake(
            "the standard deviation is not squared",
            "The KL has m² + s².",
            ("scale.square()", "scale"),
        ),
        Mistake(
            "the numbers of the code are averaged",
            "Their KLs add up: independent numbers cost the sum.",
            ("log()).sum()", "log()).mean()"),
        ),
        Mistake(
            "one result for each number of the code",
            "The KLs of the numbers add up to one cost a picture.",
            ("log()).sum()", "log())"),
        ),
        Mistake(
            "the ½ is missing",
            "The KL is ½(m² + s² − 1) − log s.",
            ("0.5 * (", "1.0 * ("),
        ),
        Mistake(
            "the logarithm is that of c²",
            "log c = −½ log S: how does it stand beside ½(S − 1)?",
            ("- second.log()", "- 2 * second.log()"),
        ),
        Mistake(
            "the logarithm is left out",
            "A stretch changes the −log s of each cloud too, by −log c.",
            ("- 1 - second.log()", "- 1"),
        ),
        Mistake(
            "the sign is turned",
            "The best stretch never costs anything: what comes out is not negative.",
            ("0.5 * (", "-0.5 * ("),
        ),
        Mistake(
            "the KL before the stretch, not what is saved",
            "After the best stretch some KL is left: take it off.",
            lambda mean, scale: (
                (0.5 * (mean.square() + scale.square() - 1) - scale.log()).sum(1).mean()
            ),
        ),
    ),
)


# --- Which samples are copies of training points ------------------------------------------------


def _find_copies(samples: Tensor, train: Tensor, held_out: Tensor) -> Tensor:
    threshold = diagnostics.nearest_distance(held_out, train).quantile(0.01)
    return diagnostics.nearest_distance(samples, train) < threshold


def _copies_cases() -> Iterable[Any]:
    for size, points, new in ((3, 70, 110), (2, 61, 130)):
        train, held_out = (torch.randn(n, size, dtype=torch.float64) for n in (points, new))
        # Copies of training points and of held-out points, ever less exact, so that any two
        # thresholds flag different ones.
        originals = torch.cat([train, train, held_out])
        noise = torch.linspace(0, 0.7, len(originals), dtype=torch.float64).square()
        samples = originals + noise[:, None] * torch.randn_like(originals)
        samples = samples[torch.randperm(len(samples))]
        # None between the two held-out points that a quantile may lie between, in one way or
        # another of counting.
        above, below = diagnostics.nearest_distance(held_out, train).sort().values[[1, 2]]
        distance = diagnostics.nearest_distance(samples, train)
        samples = samples[(distance < above) | (distance > below)]
        # A copy of the training point of its own row, too: who compares row by row finds that one.
        yield torch.cat([train[:1], samples]), train, held_out


def _copies_with_differences(samples, train, held_out):
    def nearest(a):
        return (a[:, None] - train[None, :]).square().sum(2).sqrt().amin(1)

    return nearest(samples) < nearest(held_out).quantile(0.01)


def _copies_by_sorting(samples, train, held_out):
    def nearest(a):
        return torch.cdist(a, train).sort(dim=1).values[:, 0]

    return nearest(samples) < torch.quantile(nearest(held_out), 0.01)


def _copies_one_by_one(samples, train, held_out):
    threshold = torch.cdist(held_out, train).amin(1).quantile(0.01)
    return [bool(distances.min() < threshold) for distances in torch.cdist(samples, train)]


find_copies = Exercise(
    solution=_find_copies,
    cases=_copies_cases,
    right=(
        _copies_with_differences,
        _copies_by_sorting,
        _copies_one_by_one,
    ),
    mistakes=(
        Mistake(
            "far points are flagged, not near ones",
            "A copy lies closer to a training point than new data do.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                > diagnostics.nearest_distance(held_out, train).quantile(0.01)
            ),
        ),
        Mistake(
            "the samples are compared with the held-out points",
            "A model can copy only what it has seen.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, held_out)
                < diagnostics.nearest_distance(held_out, train).quantile(0.01)
            ),
        ),
        Mistake(
            "nothing is flagged, as by the training points' distances to themselves",
            "No distance lies below such a threshold; which points have the model not seen?",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(train, train).quantile(0.01)
            ),
        ),
        Mistake(
            "one answer for each training point",
            "The question is put to each sample: whose nearest training point is looked for?",
            ("nearest_distance(samples, train)", "nearest_distance(train, samples)"),
        ),
        Mistake(
            "the numbers of the copies, not a Boolean for each sample",
            "The comparison alone is asked for: one true or false in each row.",
            lambda samples, train, held_out: (
                _find_copies(samples, train, held_out).nonzero().flatten()
            ),
        ),
        Mistake(
            "the threshold comes from the samples",
            "Then one sample in a hundred is flagged whatever the model does; the yardstick is "
            "data that the model has not seen.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(samples, train).quantile(0.01)
            ),
        ),
        Mistake(
            "the threshold is the mean distance",
            "About half of all new data would be called copies; which quantile is asked for?",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(held_out, train).mean()
            ),
        ),
        Mistake(
            "the threshold comes from the training points' distances to held-out points",
            "The two arguments are exchanged: how far are the held-out points from training data?",
            ("nearest_distance(held_out, train)", "nearest_distance(train, held_out)"),
        ),
        Mistake(
            "the threshold is the 10 % quantile",
            "1 % of the held-out points are to lie below it.",
            ("0.01", "0.1"),
        ),
        Mistake(
            "the threshold is the 5 % quantile",
            "1 % of the held-out points are to lie below it.",
            ("0.01", "0.05"),
        ),
        Mistake(
            "the threshold is the smallest distance of a held-out point",
            "1 % of the held-out points are to lie below it.",
            ("quantile(0.01)", "amin()"),
        ),
        Mistake(
            "the threshold is the largest distance of a held-out point",
            "1 % of the held-out points are to lie below it; quantile(1) is all of them.",
            ("quantile(0.01)", "amax()"),
        ),
        Mistake(
            "the threshold is the 99 % quantile",
            "Almost all new data lie below it; a copy is nearer than almost all new data.",
            lambda samples, train, held_out: (
                diagnostics.nearest_distance(samples, train)
                < diagnostics.nearest_distance(held_out, train).quantile(0.99)
            ),
        ),
    ),
)


def _share(flags: Tensor) -> float:
    return flags.float().mean().item()


smooth_copies = Inspection(
    conditions=(
        Condition(
            "The check takes two answers: of the training digits made smooth, and of the held-out",
            "Write check.smooth_copies(of_train, of_held_out).",
            lambda *things: len(things) == 2,
        ),
        Condition(
            "An answer is no Boolean tensor with one value for each sample",
            "The comparison alone is asked for: one true or false in each row.",
            lambda *both: all(
                isinstance(flags, Tensor) and flags.dtype == torch.bool and flags.dim() == 1
                for flags in both
            ),
        ),
        Condition(
            "At most half of the training digits made smooth are flagged",
            "They lie far from their originals: what has the same VAE made of the training digits?",
            lambda known, _: _share(known) > 0.5,
        ),
        Condition(
            "More than 5 % of the held-out digits made smooth are flagged",
            "They are no copies: how far do smooth pictures of fresh digits lie from those of the "
            "training digits?",
            lambda _, fresh: _share(fresh) <= 0.05,
        ),
    ),
    finding=lambda known, fresh: (
        f"Flagged: {_share(known):.0%} of the training digits made smooth, and "
        f"{_share(fresh):.0%} of the held-out digits."
    ),
)


# --- Random codes of the reader's own -----------------------------------------------------------


def _repeats(codes: Tensor, autoencoder: Autoencoder, train: Tensor, held_out: Tensor) -> float:
    """Return the share of codes that are nearer to a training code than 99 % of new codes are."""
    known = autoencoder.encode(train)
    threshold = diagnostics.nearest_distance(autoencoder.encode(held_out), known).quantile(0.01)
    return (diagnostics.nearest_distance(codes, known) < threshold).float().mean().item()


def _distances(pictures: Tensor, train: Tensor, held_out: Tensor) -> tuple[float, float]:
    """Return the mean distances sample → train and held-out → sample."""
    there = diagnostics.nearest_distance(pictures, train).mean()
    return there.item(), diagnostics.nearest_distance(held_out, pictures).mean().item()


def _beats_fitted(codes: Tensor, autoencoder: Autoencoder, train: Tensor, held_out: Tensor) -> bool:
    """Tell whether codes decode to better pictures than those of a Gaussian, by both distances."""
    known = autoencoder.encode(train)
    stretch = torch.linalg.cholesky(known.T.cov())
    normal = torch.randn(len(codes), known.shape[1], generator=torch.Generator().manual_seed(0))
    fitted = known.mean(0) + normal.to(known) @ stretch.T
    ours, theirs = (
        _distances(autoencoder.decode(z), train, held_out) for z in (codes.to(known), fitted)
    )
    return ours[0] < theirs[0] and ours[1] < theirs[1]


def _outcome(
    codes: Tensor, models: tuple[Autoencoder, VAE], train: Tensor, held_out: Tensor
) -> str:
    autoencoder, vae = models
    with torch.no_grad():
        decoded = autoencoder.decode(codes)
        normal = torch.Generator().manual_seed(0)
        z = torch.randn(len(codes), codes.shape[1], generator=normal)
        theirs = _distances(vae.decoder(z.to(codes)).mean, train, held_out)
        ours = _distances(decoded, train, held_out)
    better = ["neither distance", "one of the two distances", "both distances"]
    wins = sum(a < b for a, b in zip(ours, theirs, strict=True))
    said = (
        f"Sample → train {ours[0]:.2f} (VAE {theirs[0]:.2f}), held-out → sample {ours[1]:.2f} "
        f"(VAE {theirs[1]:.2f}): your codes beat the VAE by {better[wins]}."
    )
    fresh = diagnostics.nearest_distance(held_out, train).mean().item()
    if ours[0] < fresh:
        said += (
            f" But they lie nearer to the training digits than new digits do ({fresh:.2f}): "
            f"how much do they repeat?"
        )
    return said


generator = Inspection(
    conditions=(
        Condition(
            "The check takes codes, two models, and two tables",
            "Write check.generator(codes, pairs[0], train, held_out).",
            lambda *things: len(things) == 4,
        ),
        Condition(
            "What was drawn is no tensor of floating-point numbers",
            "The function returns codes, a tensor of shape (count, d).",
            lambda codes, *_: isinstance(codes, Tensor) and codes.is_floating_point(),
        ),
        Condition(
            "The codes have another shape than (count, d)",
            "One row for each code, with as many numbers as the autoencoder's codes have.",
            lambda codes, models, train, _: (
                codes.dim() == 2 and codes.shape[1] == models[0].encode(train[:1]).shape[1]
            ),
        ),
        Condition(
            "There are too few codes to judge a generator",
            "Draw as many as there are training digits.",
            lambda codes, *_: len(codes) >= 500,
        ),
        Condition(
            "Some numbers are not finite",
            "Is there a division by zero, or a Cholesky factor of a singular covariance?",
            lambda codes, *_: bool(codes.isfinite().all()),
        ),
        Condition(
            "Many codes are equal",
            "A generator that repeats itself makes few pictures: add noise of its own to each row.",
            lambda codes, *_: len(codes.unique(dim=0)) > 0.9 * len(codes),
        ),
        Condition(
            "More than one code in ten lies closer to a training code than new digits' codes do",
            "That repeats the training set: with more noise the pictures become new.",
            lambda codes, models, train, held_out: (
                _repeats(codes, models[0], train, held_out) <= 0.1
            ),
        ),
        Condition(
            "By one of the two distances the fitted Gaussian is as good",
            "Look at the plane of codes: which shape has their cloud, and what stays empty in it?",
            lambda codes, models, train, held_out: _beats_fitted(codes, models[0], train, held_out),
        ),
    ),
    finding=_outcome,
)
