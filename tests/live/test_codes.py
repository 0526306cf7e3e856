"""One code in two planes: the figure's decoders and nearest digits, against the package."""

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


@pytest.mark.browser
@pytest.mark.claim("live.forward")
@pytest.mark.parametrize("plane", ["ae", "fitted"])
def test_pictures_and_nearest_digits_are_the_packages(browser, plane):
    given = live.code_planes()
    figure = live.figure("codes", alt="", **given)
    found = computed(browser, figure, [{"z": z, "plane": plane} for z in PLACES])
    (train, _), _ = data.split(*data.digits(), held_out=0.3)
    train, z = train.double(), torch.tensor(PLACES, dtype=torch.float64)
    places = {
        "ae": z,
        "fitted": given["mean"].double() + z @ given["stretch"].double().T,
    }
    for k, (decode, exact, at) in enumerate(
        zip(decoders(half=True), decoders(half=False), [places[plane], z], strict=True)
    ):
        pictures = torch.tensor([v["planes"][k]["decoded"] for v in found], dtype=z.dtype)
        # Half precision of the weights: where there are digits, what is seen hardly moves.
        assert abs(pictures - exact(at))[z.norm(dim=1) < 4].max() < 2e-3
        torch.testing.assert_close(pictures, decode(at), rtol=0, atol=1e-5)
        near = torch.tensor([v["planes"][k]["distance"] for v in found], dtype=z.dtype)
        torch.testing.assert_close(near, nearest_distance(decode(at), train), rtol=0, atol=1e-5)
        index = torch.tensor([values["planes"][k]["index"] for values in found])
        assert torch.equal(index, torch.cdist(decode(at), train).argmin(1))


@pytest.mark.browser
@pytest.mark.parametrize("plane", ["ae", "fitted"])
def test_random_codes_are_counted_by_their_nearest_digit(browser, plane):
    given = live.code_planes()
    figure = live.figure("codes", alt="", **given)
    lost = given["nothing"]["fitted"].nonzero().flatten().tolist()
    shown = [0, 60, 200, *lost[:3]]
    states = [{"z": given["random"][i].tolist(), "plane": plane} for i in shown]
    found = computed(browser, figure, [*states, {"drawn": 400, "plane": plane}])
    for k, name in enumerate([plane, "vae"]):
        kinds = given["kinds"][name].long()
        assert found[-1]["planes"][k]["counts"] == torch.bincount(kinds, minlength=10).tolist()
        if name == "vae":  # as the question of the guess says
            assert min(found[-1]["planes"][k]["counts"]) >= 20
        for i, values in zip(shown, found, strict=False):
            assert given["labels"][values["planes"][k]["index"]] == kinds[i]
            far = values["planes"][k]["distance"] > given["far"]
            assert far == bool(given["nothing"][name][i])
    # As the caption says: the stretched codes have holes, the others have none.
    assert {name: bool(n.any()) for name, n in given["nothing"].items()} == {
        "ae": False,
        "fitted": True,
        "vae": False,
    }
