"""Mistakes in training, ensembles and weights in files."""

import copy
from contextlib import contextmanager
from itertools import islice, pairwise

import torch
from safetensors.torch import load_file, save_file

from companion import weights
from mutation.registry import mutant, skipped


@mutant("train.train_epoch", "fit: minimises what is to be maximised", "train")
def _(right, model, batches, objective, optimizer, *weights):
    return -right(model, batches, lambda *given: -objective(*given), optimizer, *weights)


@mutant("train.train_epoch", "fit: mean of batch means with a short last batch", "train")
def _(right, model, batches, objective, optimizer, *weights):
    means = []

    def noted(*given):
        values = objective(*given)
        means.append(values.detach().mean().item())
        return values

    right(model, batches, noted, optimizer, *weights)
    return sum(means) / len(means)


@mutant("train.train_epoch", "fit: gradients pile up", "train")
def _(right, model, batches, objective, optimizer, *weights):
    optimizer.zero_grad = lambda: None
    return right(model, batches, objective, optimizer, *weights)


@mutant("train.train_epoch", "fit: only the first batch of an epoch", "train")
def _(right, model, batches, objective, optimizer, *weights):
    return right(model, islice(batches, 1), objective, optimizer, *weights)


@mutant("train.train_epoch", "fit: the last batch of an epoch skipped", "train")
def _(right, model, batches, objective, optimizer, *weights):
    batches = list(batches)
    return right(model, batches[:-1] or batches, objective, optimizer, *weights)


@mutant("train.train_epoch", "fit: the sum over a batch in place of its mean", "train")
def _(right, model, batches, objective, optimizer, *weights):
    sizes = []

    def summed(model, x, *given):
        sizes.append(len(x))
        return len(x) * objective(model, x, *given)

    return right(model, batches, summed, optimizer, *weights) / (sum(sizes) / len(sizes))


@mutant("train._Batches._rows", "fit: rows in the same order in every epoch", "train")
def _(right, self):
    yield from self.data.split(self.size) if torch.is_tensor(self.data) else right(self)


@mutant("train._Batches._rows", "fit: rows drawn with replacement", "train")
def _(right, self):
    if torch.is_tensor(self.data):
        order = torch.randint(len(self.data), (len(self.data),))
        yield from (self.data[rows] for rows in order.split(self.size))
    else:
        yield from right(self)


@mutant("train._Batches._rows", "fit: the labels of a DataLoader taken for the data", "train")
def _(right, self):
    if torch.is_tensor(self.data):
        yield from right(self)
    else:
        yield from (b[-1] if isinstance(b, list | tuple) else b for b in self.data)


@mutant("train.fit", "fit: the schedule one epoch early", "train")
def _(right, *given, schedule=None, **options):
    return right(*given, schedule=schedule and (lambda epoch: schedule(epoch + 1)), **options)


@mutant("train.fit", "fit: the schedule stays at its start", "train")
def _(right, *given, schedule=None, **options):
    return right(*given, schedule=schedule and (lambda epoch: schedule(0)), **options)


@mutant("_context.fork_rng", "fit: a monitor takes random numbers from the training", "train")
@contextmanager
def _(right, device):
    yield


@mutant("train._back_where_it_diverges", "divergence: the weights are not put back", "train")
@contextmanager
def _(right, model, batches, epoch, lr):
    try:
        with right(model, batches, epoch, lr):
            try:
                yield
            finally:
                kept = copy.deepcopy(model.state_dict())
    except FloatingPointError:
        model.load_state_dict(kept)
        raise


@mutant("train._back_where_it_diverges", "divergence: the epoch counted from one", "train")
def _(right, model, batches, epoch, lr):
    return right(model, batches, epoch + 1, lr)


mutant("train._finite", "divergence: weights that are not finite pass", "train")(
    lambda right, model: True
)
mutant("train._diverged", "divergence: any error is taken for one", "train bad_input")(
    lambda right, model, error: True
)


@mutant("train.History.objective", "history: sums of the epochs so far", "train")
def _(right, self):
    values = right(self)
    return [sum(values[: n + 1]) for n in range(len(values))]


@mutant("train.History.seconds", "history: seconds of each epoch, not since the start", "train")
def _(right, self):
    return [after - before for before, after in pairwise([0.0, *right(self)])]


def monitor(name):
    """A mistake in a number that the monitor of rate and distortion returns."""

    def enter(change):
        def wrong(right, x, num_samples):
            monitor = right(x, num_samples)
            return lambda model: {**(found := monitor(model)), **change(found, model, x)}

        mutant("train.rate_and_distortion", f"monitor: {name}", "train")(wrong)

    return enter


monitor("+log p reported as the distortion")(
    lambda found, model, x: {"distortion": -found["distortion"]}
)
monitor("rates averaged over levels")(
    lambda found, model, x: {"rate": found["rate"] / len(model.encoders)}
)


@mutant("train.linear_warm_up", "warm-up: one epoch early", "train")
def _(right, epochs, *, start, end):
    line = right(epochs, start=start, end=end)
    return lambda epoch: line(epoch + 1)


@mutant("train.linear_warm_up", "warm-up: does not stop at its end", "train")
def _(right, epochs, *, start, end):
    return lambda epoch: start + (end - start) * epoch / epochs


@mutant(
    "ensemble.Ensemble.objective",
    "ensemble: mean over members, so that each learns more slowly",
    "ensemble",
)
def _(right, self, objective, values):
    total = right(self, objective, values)
    return lambda ensemble, x: total(ensemble, x) / len(values)


@mutant("ensemble.vmap", "ensemble: noise of its own for each member", "ensemble")
def _(right, func, in_dims, out_dims, randomness, *, chunk_size):
    return right(func, in_dims, out_dims, "different", chunk_size=chunk_size)


@mutant("ensemble.Ensemble._state", "ensemble: constants of the first member for all", "ensemble")
def _(right, self):
    state = right(self)
    shared = {name: state[name][:1].expand_as(state[name]) for name in self.constant_names}
    return {**state, **shared}


@mutant("ensemble.Ensemble.members", "ensemble: members as they were before training", "ensemble")
def _(right, self):
    return list(self._models)


@mutant("ensemble.Ensemble.evaluate", "ensemble: the first value for all members", "ensemble")
def _(right, self, objective, x, values):
    return right(self, objective, x, [values[0]] * len(values))


mutant("diffusion.model._same_schedule", "weights: of a model with another schedule", "diffusion")(
    skipped
)


@mutant("weights.save_weights", "weights: written in place, so that a half stays", "weights")
def _(right, model, path):
    named = weights._named(model).items()
    save_file({name: tensor.contiguous().clone() for name, tensor in named}, path)


@mutant("weights._named", "weights: saved without the constants", "weights")
def _(right, model):
    learned = {name for name, _ in model.named_parameters()}
    return {name: tensor for name, tensor in right(model).items() if name in learned}


@mutant("weights._plain", "weights: named as torch.compile names them", "weights")
def _(right, name):
    return name


@mutant("weights.load_weights", "weights: half loaded where one does not fit", "weights")
def _(right, model, path):
    found, own = load_file(path), model.state_dict()
    fitting = {n: t for n, t in found.items() if n in own and own[n].shape == t.shape}
    model.load_state_dict(fitting, strict=False)
    right(model, path)
