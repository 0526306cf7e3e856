"""Mistakes in the models: what is drawn, what it is scored with, and how data are made."""

from contextlib import contextmanager
from dataclasses import replace

import torch
from torch.distributions import kl_divergence

from companion.conditionals import per_row
from mutation.registry import mutant


def draws(name, tests, given=lambda z, x, num_samples: z[-1] if z else x):
    """A mistake in drawing from an encoder's q, in place of ``q.rsample(shape)``."""

    def enter(draw):
        def infer(right, self, x, sizes):
            for num_samples in sizes:
                z, q = [], []
                for encoder in self.encoders:
                    q.append(encoder(given(z, x, num_samples)))
                    z.append(draw(q[-1], () if len(z) else (num_samples,), self.training))
                yield z, q

        mutant("models.LatentVariableModel.infer", name, tests)(infer)

    return enter


draws("draws: sample() in place of rsample()", "models objectives")(
    lambda q, shape, training: q.sample(shape)
)


@draws("draws: the posterior mean instead of a sample in eval mode", "models objectives")
def _(q, shape, training):
    return q.rsample(shape) if training else q.mean.expand(*shape, *q.mean.shape)


@draws("draws: one noise for all levels", "hvae models")
def _(q, shape, training):
    torch.manual_seed(0)
    return q.rsample(shape)


@draws("draws: one noise for all data points", "models")
def _(q, shape, training):
    noise = torch.randn_like(q.rsample(shape)[..., :1, :])
    return q.mean + q.stddev * noise


@draws("draws: one noise for all samples", "models")
def _(q, shape, training):
    return q.rsample((1,) * len(shape)).expand(*shape, *q.mean.shape)


@draws("draws: from a clamped scale, scored with the unclamped one", "models objectives oracles")
def _(q, shape, training):
    noise = torch.randn(shape + q.mean.shape, dtype=q.mean.dtype)
    return q.mean + q.stddev.clamp(min=0.5) * noise


draws(
    "inference: every level looks at x and not at the level below",
    "hvae chain",
    lambda z, x, num_samples: x.expand(num_samples, *x.shape) if z else x,
)(lambda q, shape, training: q.rsample(shape))


@mutant(
    "models.LatentVariableModel.traces", "chunks: each draws the numbers of the first", "objectives"
)
def _(right, self, x, sizes):
    state = torch.get_rng_state()
    for size in sizes:
        torch.set_rng_state(state)
        yield from right(self, x, [size])


@mutant("models.Trace.log_weight", "log weight: sign of the KL", "models objectives")
def _(right, self):
    return self.reconstruction + self.rates.sum(0)


@mutant("models.Trace.log_weight", "log weight: mean over levels", "hvae chain")
def _(right, self):
    return self.reconstruction - self.rates.mean(0)


@mutant("models.Trace.log_weight", "log weight: the first level's rate alone", "hvae chain")
def _(right, self):
    return self.reconstruction - self.rates[0]


@mutant(
    "models.Trace.rates",
    "rates: the closed-form KL at sampled neighbours in place of the log ratio",
    "chain models",
)
def _(right, self):
    levels = zip(self.z, self.q, self.p[1:], strict=True)
    return torch.stack([kl_divergence(q, p) + 0 * q.log_prob(z) for z, q, p in levels])


@mutant("models.Trace.rates", "rates: averaged over latent units", "models objectives")
def _(right, self):
    sizes = torch.tensor([z.shape[-1] for z in self.z])
    return right(self) / sizes[:, None, None]


@mutant("models.Trace.rates", "rates: from the top down", "hvae chain levels")
def _(right, self):
    return right(self).flip(0)


@mutant("models.Trace.rates", "rates: log p − log q", "models objectives")
def _(right, self):
    return -right(self)


@mutant(
    "models.Trace.reconstruction",
    "reconstruction: averaged over pixels, an undeclared weight of the KL",
    "models objectives",
)
def _(right, self):
    return right(self) / self.x.shape[-1]


@mutant(
    "models.Trace.reconstruction",
    "reconstruction: squared error alone, its log-normaliser dropped",
    "models objectives",
)
def _(right, self):
    return -0.5 * ((self.x - self.p[0].mean) / self.p[0].stddev).square().sum(-1)


def generation(name, tests, order=reversed):
    """A mistake in going down the levels, in place of ``decoder(z).sample()``."""

    def enter(draw):
        @torch.no_grad()
        def descend(right, self, z, level):
            path = [z]
            decoders = list(self.decoders[: level or len(self.decoders)])
            for decoder in order(decoders):
                path.append(draw(decoder(path[-1]), decoder is decoders[0]))
            return tuple(reversed(path))

        mutant("models.LatentVariableModel.descend", f"generation: {name}", tests)(descend)

    return enter


generation("levels drawn from the bottom up", "diffusion hvae", iter)(lambda p, last: p.sample())
generation("one level skipped", "diffusion", lambda decoders: [*decoders[:0:-2], decoders[0]])(
    lambda p, last: p.sample()
)
generation("the levels' means in place of draws", "hvae chain")(
    lambda p, last: p.sample() if last else p.mean
)
generation("the decoder's mean in place of a draw", "models")(
    lambda p, last: p.mean if last else p.sample()
)


@mutant(
    "models.LatentVariableModel.descend", "generation: what came first stands first", "hvae chain"
)
def _(right, self, z, level):
    return right(self, z, level)[::-1]


@mutant("models.LatentVariableModel.descend", "generation: from the top whatever the level", "hvae")
def _(right, self, z, level):
    if level in (None, len(self.decoders)):
        return right(self, z, level)
    top = self.prior().sample(z.shape[:-1])
    return right(self, top, None)[: level + 1]


@mutant("models.LatentVariableModel.sample", "generation: one draw of the prior for all", "models")
def _(right, self, num_samples):
    z = self.prior().sample((1,))
    return self.descend(z.expand(num_samples, *z.shape[1:]), None)[0]


def top_down(name, tests="top_down"):
    """A mistake in going down beside the decoders.

    What an encoder is given is a function of features(x), x, and the levels above, nearest first.
    """

    def enter(given):
        def infer(right, self, x, sizes):
            seen = per_row(self.features, x)
            for num_samples in sizes:
                z, q = [], []
                for encoder in reversed(self.encoders):
                    q.insert(0, encoder(*given(seen, x, z)))
                    z.insert(0, q[0].rsample(() if z else (num_samples,)))
                yield z, q

        mutant("models.TopDownHVAE.infer", f"top-down: {name}", tests)(infer)

    return enter


def fitted(z, like):
    """Return z, its columns repeated or cut off, at the width of another: nothing crashes."""
    width = like.shape[-1]
    return torch.cat([z] * (width // z.shape[-1] + 1), -1)[..., :width]


top_down("features of x ignored")(lambda seen, x, z: (fitted(x, seen), *z[:1]))
top_down("every encoder is given the top level")(
    lambda seen, x, z: (seen, *(fitted(z[-1], above) for above in z[:1]))
)
top_down("an encoder sees the level above alone")(lambda seen, x, z: (0 * seen, *z[:1]))
top_down("an encoder sees x alone")(lambda seen, x, z: (seen, *(0 * above for above in z[:1])))


@mutant("models.TopDownHVAE.infer", "top-down: draws without a gradient", "top_down")
def _(right, self, x, sizes):
    for z, q in right(self, x, sizes):
        yield [z_i.detach() for z_i in z], q


@mutant("models.TopDownHVAE.infer", "top-down: levels listed as drawn, the top first", "top_down")
def _(right, self, x, sizes):
    for z, q in right(self, x, sizes):
        yield z[::-1], q[::-1]


@mutant("models.LatentVariableModel.traces", "top-down: the flag is not in the trace", "top_down")
def _(right, self, x, sizes):
    for trace in right(self, x, sizes):
        yield replace(trace, top_down=False)


mutant("models.TopDownHVAE.top_down", "top-down: the model says bottom-up", "top_down")(
    lambda right: False
)


@mutant("models.Trace.rates", "top-down: a level's prior is the prior of another", "top_down")
def _(right, self):
    if not self.top_down:
        return right(self)
    others = (self.p[0], *self.p[2:], self.p[1])
    return right(replace(self, p=others))


@mutant(
    "models.LatentVariableModel.traces",
    "top-down: a level's prior is given the mean of the level above, not its draw",
    "top_down",
)
def _(right, self, x, sizes):
    for trace in right(self, x, sizes):
        if not trace.top_down:
            yield trace
            continue
        levels = zip(self.decoders, trace.q, trace.z, strict=True)
        below = [decoder(q.mean.expand(z.shape)) for decoder, q, z in levels]
        yield replace(trace, p=(trace.p[0], *below[1:], trace.p[-1]))


@mutant("_context.evaluating", "evaluation: every module is left in eval mode", "context")
@contextmanager
def _(right, model):
    model.eval()
    with torch.no_grad():
        yield


@mutant(
    "_context.evaluating", "evaluation: modules return to the mode of the whole model", "context"
)
@contextmanager
def _(right, model):
    training = model.training
    with right(model):
        yield
    model.train(training)


@mutant("_context.evaluating", "evaluation: dropout stays on", "networks")
@contextmanager
def _(right, model):
    with torch.no_grad():
        yield


@mutant("models.Autoencoder.decode", "autoencoder: a draw in place of the mean", "models")
def _(right, self, z):
    return self.decoder(z).sample()
