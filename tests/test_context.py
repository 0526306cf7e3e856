"""What an evaluation leaves as it was, whatever happens in it."""

import random
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from companion import mlp
from companion._context import evaluating, fork_rng, preserved


def model():
    torch.manual_seed(0)
    net = nn.Sequential(mlp(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), mlp(4, 2))
    net[1].eval()
    net[3][0].eval()
    return net


def modes(net):
    return [module.training for module in net.modules()]


@pytest.mark.parametrize("training", [True, False])
def test_every_module_gets_its_own_mode_back(training):
    # Catches: net.train() at the end, which undoes what the reader froze.
    net = model()
    net.training = training
    before = modes(net)
    assert len(set(before)) == 2
    with evaluating(net):
        assert not any(modes(net))
        assert not torch.is_grad_enabled()
        assert not net(torch.ones(5, 3)).requires_grad
    assert modes(net) == before
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, FloatingPointError])
def test_an_error_puts_everything_back(error):
    net = model()
    before = modes(net)
    with pytest.raises(error), evaluating(net):
        raise error
    assert modes(net) == before
    assert torch.is_grad_enabled()


def test_evaluations_nest_and_keep_a_readers_own_no_grad():
    net = model()
    before = modes(net)
    with torch.no_grad():
        with evaluating(net), evaluating(net):
            pass
        assert not torch.is_grad_enabled()
    with evaluating(net):
        with evaluating(net):
            pass
        assert not any(modes(net))
        assert not torch.is_grad_enabled()
    assert modes(net) == before


def test_statistics_stay_and_dropout_is_off():
    net = model().train()
    x = torch.randn(9, 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with evaluating(net):
        assert torch.equal(net(x), net(x))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not torch.equal(net(x), net(x))


def test_a_module_that_stands_in_two_places_comes_back():
    shared = nn.Dropout(0.5)
    net = nn.Sequential(shared, nn.Linear(2, 2), shared)
    shared.eval()
    with evaluating(net):
        pass
    assert modes(net) == [True, False, True]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_draws_in_a_fork_move_no_generator(error):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with pytest.raises(error) if error else nullcontext(), fork_rng(torch.device("cpu")):
        first = torch.rand(2)
        torch.manual_seed(99)
        torch.rand(7)
        if error:
            raise error
    assert torch.equal(torch.rand(2), expected)
    # The fork goes on from the generator's state: a seed before it decides what is drawn in it.
    assert torch.equal(first, expected)


def test_a_fork_of_a_device_forks_that_device_too(monkeypatch):
    # There is no device here: what is asked of torch is all that can be looked at.
    asked = []

    def fork(*args, **options):
        asked.append((args, options))
        return nullcontext()

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    fork_rng(torch.device("cpu"))
    fork_rng(torch.device("cuda:1"))
    fork_rng(torch.device("mps"))
    assert asked == [
        (([],), {}),
        (([torch.device("cuda:1")],), {"device_type": "cuda"}),
        (([torch.device("mps")],), {"device_type": "mps"}),
    ]


def process_state():
    return [
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
    ]


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_what_a_reader_changes_of_the_process_is_put_back(error, gradients):
    with torch.set_grad_enabled(gradients):
        before = process_state()
        with pytest.raises(error) if error else nullcontext(), preserved():
            torch.manual_seed(5)
            np.random.seed(5)  # noqa: NPY002
            random.seed(5)
            torch.set_grad_enabled(not gradients)
            torch.set_default_dtype(torch.float64)
            assert not any(now == then for now, then in zip(process_state(), before, strict=True))
            if error:
                raise error
        assert process_state() == before


@pytest.mark.parametrize(("started", "devices"), [(True, [0, 1]), (False, []), (None, [0, 1])])
def test_an_accelerator_in_use_is_forked_and_an_idle_one_is_not_started(
    started, devices, monkeypatch
):
    # There is no device here: what is asked of torch is all that can be looked at. `mps` has no
    # `is_initialized`.
    asked = []
    module = SimpleNamespace(device_count=lambda: 2)
    if started is not None:
        module.is_initialized = lambda: started

    def fork(devices, device_type):
        asked.append((list(devices), device_type))
        return nullcontext()

    device = torch.device("xpu")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: device)
    monkeypatch.setattr(torch, "get_device_module", lambda of: {device: module}[of])
    monkeypatch.setattr(torch.random, "fork_rng", fork)
    with preserved():
        pass
    assert asked == [(devices, "xpu")]
