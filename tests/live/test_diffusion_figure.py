"""Time both ways: the guesses, paths and endings of the figure, against the package."""

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from living import computed, shown

from companion import live
from companion.diffusion import time_features

FOLDER = Path(__file__).parents[2] / "benchmarks/experiments"
LEVELS = [1, 2, 5, 11, 20, 30, 38, 45, 50]


def figure():
    return live.figure("diffusion", alt="", **live.diffusion())


def script():
    spec = importlib.util.spec_from_file_location("diffusion", FOLDER / "diffusion.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def models():
    return {"wheel": live.wheel_diffusion().double(), "digits": live.digit_diffusion().double()}


def double(rows):
    return torch.tensor(rows, dtype=torch.float64)


def endings(model, z, t, noise):
    """Endings from z_t; noise is (forks, T · D), a step's part at (t − 1) · D."""
    z = z.expand(len(noise), -1)
    noise = noise.view(len(noise), -1, z.shape[1])
    for level in range(t, 1, -1):
        p = model.reverse(z, level)
        z = p.mean + p.stddev * noise[:, level - 1]
    return model.denoise(z, 1)


@pytest.mark.browser
@pytest.mark.claim("live.forward")
@pytest.mark.parametrize("show", ["wheel", "digits"])
def test_guesses_and_endings_are_the_packages(browser, show):
    model, name = models()[show], {"wheel": "point", "digits": "digit"}[show]
    states = [
        {"show": show, "t": t, "seed": i, name: 3 * i + own}
        for i, t in enumerate(LEVELS)
        for own in (0, 4)
    ]
    for state, values in zip(states, computed(browser, figure(), states), strict=True):
        z = double(values["z"])
        expected = model.denoise(z[None], state["t"])[0]
        torch.testing.assert_close(double(values["guess"]), expected, rtol=0, atol=1e-5)
        noise = double(values["noise"])
        assert len(noise) == {"wheel": 30, "digits": 12}[show]
        expected = endings(model, z, state["t"], noise)
        torch.testing.assert_close(double(values["ends"]), expected, rtol=0, atol=1e-5)


@pytest.mark.browser
@pytest.mark.claim("live.forward")
def test_endings_are_counted_by_the_arm_in_which_they_lie(browser):
    found = computed(browser, figure(), [{"t": t, "point": 7 * t} for t in (2, 20, 35, 50)])
    experiment = script()
    for t, values in zip((2, 20, 35, 50), found, strict=True):
        arms = experiment.arms(double(values["ends"]))
        counts = torch.bincount(arms, minlength=5).tolist()
        assert values["counts"] == counts
        assert values["profile"][(t - 2) // 3] == counts
        assert all(sum(bar) == 30 for bar in values["profile"])


@pytest.mark.browser
@pytest.mark.claim("live.forward")
def test_paths_are_draws_of_the_model(browser):
    found = computed(browser, figure(), [{"t": t} for t in range(51)])
    path = double([values["points"] for values in found]).view(51, 400, 2)
    model = models()["wheel"]
    torch.testing.assert_close(path[0], model.denoise(path[1], 1), rtol=0, atol=1e-5)
    # What the steps add to the mean is standard normal noise.
    noise = []
    for t in range(50, 1, -1):
        p = model.reverse(path[t], t)
        noise.append((path[t - 1] - p.mean) / p.stddev)
    for part in (path[50], torch.stack(noise)):
        assert abs(part.mean()) < 4 / part.numel() ** 0.5
        assert abs(part.var() - 1) < 4 * (2 / part.numel()) ** 0.5
    # Those of a digit as well.
    states = [{"show": "digits", "digit": own} for own in range(6)]
    model = models()["digits"]
    for values in computed(browser, figure(), states):
        path = double(values["whole"])
        torch.testing.assert_close(path[0], model.denoise(path[1:2], 1)[0], rtol=0, atol=1e-5)
        steps = [(path[t - 1], model.reverse(path[t : t + 1], t)) for t in range(2, 51)]
        noise = torch.stack([(z - p.mean[0]) / p.stddev[0] for z, p in steps])
        guesses = torch.stack([model.denoise(path[t], t) for t in (50, 40, 30, 20, 10)])
        found = double(values["guesses"])
        torch.testing.assert_close(found, torch.cat([guesses, path[:1]]), rtol=0, atol=1e-5)
        assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
        assert abs(noise.var() - 1) < 5 * (2 / noise.numel()) ** 0.5


@pytest.mark.browser
def test_early_forks_scatter_and_late_ones_stay(browser):
    states = [{"t": t, "point": point} for t in (45, 5) for point in range(0, 400, 20)]
    early, late = torch.tensor(
        [max(values["counts"]) for values in computed(browser, figure(), states)]
    ).view(2, 20)
    assert early.max() < 22
    assert late.double().mean() > 29


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_time_is_dragged_and_a_point_is_chosen(browser, width):
    tab = shown(browser, figure(), viewport={"width": width, "height": 900})
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        slider = tab.get_by_role("slider", name="data ← t → noise")
        slider.focus()
        slider.press("ArrowLeft")
        tab.wait_for_function("window.last?.state.t === 39")
        before = tab.evaluate("last.values.z")
        for key in ("PageDown", "ArrowRight", "ArrowLeft"):
            slider.press(key)
        slider.fill("39")
        tab.wait_for_function("last.state.t === 39")
        assert tab.evaluate("last.values.z") == before

        board = tab.locator("path.live-board")
        box = board.bounding_box()
        places = double(tab.evaluate("Array.from(last.values.points)")).view(400, 2)
        for share in (0.3, 0.65):
            tab.mouse.click(box["x"] + share * box["width"], box["y"] + 0.4 * box["height"])
            at = double([6.2 * share - 3.1, 3.1 - 6.2 * 0.4])
            wanted = (places - at).norm(dim=1).argmin().item()
            tab.wait_for_function("point => last.state.point === point", arg=wanted)
        board.focus()
        for _ in range(4):
            tab.keyboard.press("ArrowRight")
        tab.keyboard.press(" ")
        tab.wait_for_function("point => last.state.point !== point", arg=wanted)
        chosen = tab.evaluate("last.state.point")
        tab.get_by_role("button", name="Another path").click()
        tab.wait_for_function("point => last.state.point === point + 1", arg=chosen)

        tab.get_by_role("radio", name="a digit").check()
        tab.wait_for_function("last.state.show === 'digits'")
        tab.get_by_role("button", name="Fork with other noise").click()
        tab.wait_for_function("last.state.seed === 1 && last.values.ends.length === 12")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    finally:
        tab.close()


@pytest.mark.browser
def test_play_goes_from_noise_to_data(browser):
    tab = shown(browser, figure())
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        tab.get_by_role("slider", name="data ← t → noise").fill("0")
        tab.wait_for_function("window.last?.state.t === 0")
        tab.get_by_role("button", name="Play").click()
        tab.wait_for_function("last.state.t > 30")
        tab.wait_for_function("last.state.t === 0")
    finally:
        tab.close()


@pytest.mark.browser
def test_the_answer_is_hidden_until_the_reader_has_guessed(browser):
    tab = shown(browser, figure())
    try:
        tab.evaluate("addEventListener('live-frame', e => { window.last = e.detail; })")
        says = tab.locator(".live-says")
        assert "endings" in says.inner_text()
        tab.get_by_role("slider", name="data ← t → noise").fill("20")
        tab.wait_for_function("window.last?.state.t === 20")
        assert "guess first" in says.inner_text()
        panel = tab.locator(".live-panel").nth(1)
        assert "endings hidden" in panel.inner_html()
        bars = panel.locator("rect").count()
        tab.get_by_role("button", name="Compare").click()
        tab.wait_for_function(
            "document.querySelector('.live-says').textContent.includes('endings')"
        )
        assert panel.locator("rect").count() > bars
        truth = int(tab.locator(".live-verdict").inner_text().split("it was ")[1].split(".")[0])
        slider = tab.get_by_role("slider", name="data ← t → noise")
        for t in range(1, truth + 2):
            slider.fill(str(t))
            tab.wait_for_function("t => last.state.t === t", arg=t)
            assert (max(tab.evaluate("last.values.counts")) >= 29) == (t <= truth)
    finally:
        tab.close()


# ---- the models behind it, without a browser


def test_a_networks_time_is_told_by_the_same_cosines():
    # What the figure computes of log SNR, beside what the package does.
    handed = live.diffusion()
    schedule = live.wheel_diffusion().schedule
    assert torch.equal(handed["log_snr"], schedule.log_snr)
    assert time_features(handed["log_snr"]).shape == (50, 8)
    for name, own in (("of_z", "of_z"), ("of_x", "of_x")):
        expected = getattr(live.wheel_diffusion(), own)
        torch.testing.assert_close(handed[name].float(), expected)


def test_weights_are_stored_as_they_travel():
    for model in (live.wheel_diffusion(), live.digit_diffusion()):
        for weight in model.denoiser.parameters():
            assert torch.equal(weight, weight.half().float())
            assert not weight.requires_grad


def test_the_stored_numbers_are_of_this_script_and_of_these_weights():
    experiment = script()
    stored = json.loads(experiment.RESULTS.read_text())
    assert stored["script_sha256"] == experiment.fingerprint()
    file = Path(live.__file__).parent / "weights/diffusion.safetensors"
    assert stored["weights_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_size <= 200_000
    assert [run["seed"] for run in stored["runs"]] == experiment.SEEDS


def energy(run):
    return torch.tensor(run["energy_distance"])


def test_samples_are_nearer_to_held_out_data_than_those_of_a_fitted_gaussian():
    stored = json.loads(script().RESULTS.read_text())
    gaussian, real = (stored["references"][n] for n in ("fitted Gaussian", "held-out data"))
    for run in stored["runs"]:
        # Of the way from the Gaussian to real data, more than nine tenths.
        assert energy(run).max() < 0.1 * energy(gaussian).min()
        assert energy(run).min() > energy(real).max()
        for judge in ("to_train", "from_held_out"):
            assert real[judge] < run[judge] < real[judge] + 0.2
            assert run[judge] < gaussian[judge] - 1


@pytest.mark.parametrize("name", ["wheel_forks", "digit_forks"])
def test_what_an_ending_is_gets_decided_in_the_middle_of_the_way(name):
    stored = json.loads(script().RESULTS.read_text())
    at = stored["levels"].index
    for run in stored["runs"]:
        common, decided = (run[name][part] for part in ("most_frequent", "decided"))
        assert common[at(40)] < 0.35
        assert common[at(10)] > 0.94
        assert decided[at(35)] == 0
        assert decided[at(30)] < 0.1 < decided[at(20)]
        assert decided[at(10)] > 0.8


def test_the_loaded_models_give_the_stored_numbers():
    experiment = script()
    stored = json.loads(experiment.RESULTS.read_text())["runs"][0]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = experiment.measured((live.wheel_diffusion(), live.digit_diffusion()), 0)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(energy(found), energy(stored), rtol=0, atol=2e-3)
    for judge in ("to_train", "from_held_out"):
        assert found[judge] == pytest.approx(stored[judge], abs=0.05)
    for name, near in (("wheel_forks", 0.03), ("digit_forks", 0.05)):
        for part, numbers in stored[name].items():
            assert found[name][part] == pytest.approx(numbers, abs=near), (name, part)


def test_one_seed_gives_the_stored_numbers_again():
    # Another CPU rounds differently: the seeds' own spread is the measure.
    experiment = script()
    runs = json.loads(experiment.RESULTS.read_text())["runs"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = experiment.measured(experiment.trained(1), 1)
    finally:
        torch.set_num_threads(threads)
    assert energy(found).mean() < 2 * max(energy(run).mean() for run in runs)
    for judge in ("to_train", "from_held_out"):
        values = [run[judge] for run in runs]
        assert min(values) - 0.1 < found[judge] < max(values) + 0.1
    for name in ("wheel_forks", "digit_forks"):
        assert found[name]["most_frequent"] == pytest.approx(
            runs[1][name]["most_frequent"], abs=0.06
        )
