"""The best decoder of a fixed encoder, and the pictures that it averages, against the package."""

import itertools
import math

import pytest
import torch
from living import computed
from torch.distributions import Independent, Normal

from companion import data, live
from companion.diagnostics import effective_sample_size
from companion.exact import optimal_decoder


@pytest.mark.browser
def test_pictures_and_weights_are_those_of_the_package(browser):
    digits, labels = (part[:500] for part in data.digits())
    sprites, factors = data.sprites(500)
    torch.manual_seed(0)
    sets = {
        "digits": (digits, torch.randn(500, 2), labels),
        "sprites": (sprites, factors[:, 1:3] * math.sqrt(12), factors[:, 0].long()),
    }
    figure = live.figure(
        "blur",
        alt="",
        digits={
            "pictures": (16 * digits).byte(),
            "codes": sets["digits"][1],
            "labels": labels.byte(),
        },
        sprites={"codes": sets["sprites"][1], "factors": factors},
    )
    places = [[-0.1, 1.35], [0.0, 0.0], [2.4, -2.4]]
    states = [
        {"data": name, "z": z, "width": width}
        for name, z, width in itertools.product(sets, places, [0.01, 0.12, 0.5, 3.0])
    ]
    for state, values in zip(states, computed(browser, figure, states), strict=True):
        x, codes, kinds = sets[state["data"]]
        width = torch.full((500, 2), state["width"], dtype=torch.float64)
        q = Independent(Normal(codes.double(), width), 1)
        z = torch.tensor([state["z"]], dtype=torch.float64)
        best, log_q = optimal_decoder(q, x.double(), z), q.log_prob(z)
        assert values["best"] == pytest.approx(best[0].tolist(), abs=1e-5)
        assert values["weights"] == pytest.approx(log_q.softmax(0).tolist(), abs=1e-9)
        averaged = effective_sample_size(log_q[:, None]).item()
        assert values["averaged"] == pytest.approx(averaged, rel=1e-9)
        shares = torch.zeros(len(values["shares"])).double().index_add(0, kinds, log_q.softmax(0))
        assert values["shares"] == pytest.approx(shares.tolist(), abs=1e-9)
        assert values["majority"] == shares.argmax()
        heaviest = log_q[values["heaviest"]]
        assert heaviest.tolist() == pytest.approx(log_q.topk(9).values.tolist())
