"""One code and its picture: the figure's decoders and nearest digits, against the package."""

import copy
import itertools

import pytest
import torch
from living import computed

from companion import data, live
from companion.diagnostics import nearest_distance

PLACES = [list(z) for z in itertools.product([-4.0, -1.3, 0.0, 0.45, 4.0], [-4.0, -0.6, 1.1, 2.7])]


def decoders(half):
    autoencoder, vae = live.digit_models()
    nets = [autoencoder.decoder.net, vae.decoder.net]
    if half:
        nets = [copy.deepcopy(net).half() for net in nets]
    autoencoder.decoder.net, vae.decoder.net = (net.double() for net in nets)
    return autoencoder.decode, lambda z: vae.decoder(z).mean


def places(given):
    """The codes that the decoders get: of the plane as trained, of the stretched one, the VAE's."""
    z = torch.tensor(PLACES, dtype=torch.float64)
    stretched = given["mean"].double() + z @ given["stretch"].double().T
    return {"ae": z, "fitted": stretched, "vae": z}


@pytest.mark.browser
@pytest.mark.claim("live.forward")
@pytest.mark.parametrize("model", ["ae", "fitted", "vae"])
def test_pictures_and_nearest_digits_are_the_packages(browser, model):
    given = live.code_planes()
    figure = live.figure("codes", alt="", **given)
    found = computed(browser, figure, [{"z": z, "model": model} for z in PLACES])
    (train, _), _ = data.split(*data.digits(), held_out=0.3)
    train, at = train.double(), places(given)[model]
    decode, exact = (decoders(half)[model == "vae"] for half in (True, False))
    pictures = torch.tensor([v["decoded"] for v in found], dtype=at.dtype)
    # Half precision of the weights: where there are digits, what is seen hardly moves.
    assert abs(pictures - exact(at))[torch.tensor(PLACES).norm(dim=1) < 4].max() < 2e-3
    torch.testing.assert_close(pictures, decode(at), rtol=0, atol=1e-5)
    near = torch.tensor([v["distance"] for v in found], dtype=at.dtype)
    torch.testing.assert_close(near, nearest_distance(decode(at), train), rtol=0, atol=1e-5)
    index = torch.tensor([v["index"] for v in found])
    assert torch.equal(index, torch.cdist(decode(at), train).argmin(1))


@pytest.mark.browser
@pytest.mark.parametrize("model", ["ae", "fitted", "vae"])
def test_random_codes_are_counted_by_their_nearest_digit(browser, model):
    given = live.code_planes()
    figure = live.figure("codes", alt="", **given)
    lost = given["nothing"]["fitted"].nonzero().flatten().tolist()
    shown = [0, 60, 200, *lost[:3]]
    states = [{"z": given["random"][i].tolist(), "model": model} for i in shown]
    *found, last = computed(browser, figure, [*states, {"drawn": 400, "model": model}])
    kinds, far = given["kinds"][model].long(), given["nothing"][model].bool()
    assert last["counts"] == torch.bincount(kinds, minlength=10).tolist()
    assert last["drawnFar"] == far.tolist()
    for i, values in zip(shown, found, strict=True):
        assert given["labels"][values["index"]] == kinds[i]
        assert (values["distance"] > given["far"]) == far[i]


# As the words around the figure say.
def test_only_the_vae_makes_all_kinds_and_only_the_stretched_codes_leave_holes():
    given = live.code_planes()
    least = {
        name: kinds.long().bincount(minlength=10).min() for name, kinds in given["kinds"].items()
    }
    assert least["vae"] >= 20  # 5 % of the 400
    assert least["ae"] < 4
    assert {name: bool(far.any()) for name, far in given["nothing"].items()} == {
        "ae": False,
        "fitted": True,
        "vae": False,
    }
    assert 0.025 < given["nothing"]["fitted"].float().mean() < 0.04  # "about 3 in 100"
