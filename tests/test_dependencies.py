"""pyproject.toml, requirements.lock and environment.yml say the same; what is built is whole."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_tools"))

from door import refusal  # noqa: E402

LOCK = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# What is compared with in benchmarks alone: readers need not have it.
NOT_LOCKED = "bench"


def locked() -> dict[str, str]:
    pins = [line for line in LOCK if not line.startswith("#")]
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin), (
            f"not an exact version: {pin!r}"
        )
    versions = dict(pin.split("==") for pin in pins)
    assert len(versions) == len(pins), "a package is pinned twice"
    return versions


def test_lock_names_versions_alone() -> None:
    for line in LOCK:
        for forbidden in ("+", "nvidia-", "://", "@", "--", " -"):
            assert forbidden not in line, f"requirements.lock: {line!r}; make it with `make lock`"


def test_lock_satisfies_pyproject() -> None:
    versions = {canonicalize_name(name): version for name, version in locked().items()}
    extras = {**PROJECT["optional-dependencies"]}
    for text in extras.pop(NOT_LOCKED):
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", text), f"{text}: pin it here, no lock does"
        assert canonicalize_name(Requirement(text).name) not in versions
    for text in [*PROJECT["dependencies"], *(text for group in extras.values() for text in group)]:
        requirement = Requirement(text)
        version = versions.get(canonicalize_name(requirement.name))
        assert version, f"requirements.lock lacks {requirement.name}; run `make lock`"
        assert requirement.specifier.contains(version), f"{text} against {version}: `make lock`"
    assert versions["torch"] == "2.13.0"


def test_environment_installs_the_lock_and_the_package() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}
    (python,) = [entry.split("=")[1] for entry in conda if entry.startswith("python=")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)


def test_no_python_to_come_is_shut_out() -> None:
    # An upper bound stops installs one day, on Colab first.
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_name_on_the_index_is_not_the_strangers() -> None:
    assert PROJECT["name"] == "the-lower-bound"


def test_lock_is_made_of_all_extras_but_one() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").partition("\nlock:")[2]
    made_of = set(re.findall(r"--extra (\w+)", recipe))
    assert made_of == set(PROJECT["optional-dependencies"]) - {NOT_LOCKED}


def test_this_environment_is_the_locked_one() -> None:
    from importlib.metadata import version

    for name in ("numpy", "sphinx", "myst-nb", "jupyter-book", "nbval"):
        assert version(name) == locked()[name], f"{name}: run `make venv`"
    assert sys.version_info >= (3, 11)


def test_extensions_do_not_name_a_machine() -> None:
    files = [".npmrc", "package.json", "package-lock.json"]
    for path in [*(ROOT / "book" / "_tools" / file for file in files), ROOT / "requirements.lock"]:
        assert "://" not in path.read_text("utf-8"), f"{path.name} names a host"


# --- the door -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "system", "machine", "remedy"),
    [
        ((3, 11, 0), "Linux", "x86_64", None),
        ((3, 14, 2), "Linux", "aarch64", None),
        ((4, 0, 0), "Darwin", "arm64", None),
        ((3, 10, 9), "Linux", "x86_64", r"not 3\.10: make PYTHON="),
        ((2, 7, 18), "Linux", "x86_64", r"not 2\.7: make PYTHON="),
        ((3, 12, 1), "Darwin", "x86_64", "Intel Macs since 2.3: .*Colab.*make PYTHON="),
        ((3, 12, 1), "Windows", "AMD64", "WSL"),
    ],
)
def test_the_door(version: tuple[int, ...], system: str, machine: str, remedy: str | None) -> None:
    said = refusal(version, system, machine)
    assert "\n" not in said
    assert re.search(remedy, said) if remedy else said == ""


def test_the_door_can_be_read_by_an_old_python() -> None:
    ast.parse((ROOT / "book" / "_tools" / "door.py").read_text("utf-8"), feature_version=(3, 0))


def test_make_asks_at_the_door(tmp_path: Path) -> None:
    # A stand-in for a Python that is too old: it runs the door, and anything else is a mistake.
    old = tmp_path / "python"
    script = """import sys; sys.path.insert(0, "book/_tools"); import door
sys.exit(door.refusal((3, 9), "Linux", "x86_64"))"""
    old.write_text(
        "#!/bin/sh\n"
        f'[ "$*" = book/_tools/door.py ] || {{ touch {tmp_path}/went_on; exit 0; }}\n'
        f"exec {sys.executable} -c '{script}'\n",
        "utf-8",
    )
    old.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    shutil.copytree(ROOT / "book" / "_tools", tmp_path / "book" / "_tools")
    command = ["make", "-C", str(tmp_path), "venv", f"PYTHON={old}"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "Python 3.11 or newer is needed, not 3.9: make PYTHON=" in made.stderr
    assert not (tmp_path / "went_on").exists()
    assert not (tmp_path / ".venv").exists()


# --- what is built --------------------------------------------------------------------------------


def test_the_wheel_holds_the_whole_package(tmp_path: Path) -> None:
    # Catches a folder of the package that is not installed where nobody edits it: on Colab.
    ours = [path.relative_to(ROOT) for path in ROOT.glob("companion/**/*.py")]
    for folder in {path.parent for path in ours}:
        assert (ROOT / folder / "__init__.py").is_file(), f"{folder} is no package"
    source = tmp_path / "source"
    shutil.copytree(
        ROOT / "companion", source / "companion", ignore=shutil.ignore_patterns("__pycache__")
    )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    # Scripts and style of figures travel beside the modules, however deep; notes do not.
    scripts = [Path("companion/live/a.js"), Path("companion/live/deep/er/b.js")]
    scripts += [path.relative_to(ROOT) for path in ROOT.glob("companion/live/**/*.[jc]s*")]
    others = [Path("tests/test_x.py"), Path("book/_ext/y.py"), Path("companion/live/notes.txt")]
    for path in [*scripts, *others]:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("", "utf-8")
    build = "from setuptools.build_meta import build_wheel; build_wheel('wheel')"
    (source / "wheel").mkdir()
    made = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    (wheel,) = (source / "wheel").glob("*.whl")
    assert wheel.name.startswith("the_lower_bound-")
    built = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    in_package = {path for path in built if path.parts[0] == "companion"}
    assert in_package >= {*ours, *scripts}
    assert not {path for path in built - in_package if ".dist-info" not in path.parts[0]}
    assert not built & set(others)


def test_the_readmes_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    # The other one, an exercise, has a test of its own in test_exercises.py.
    example, _ = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    # A trained model: an untrained one gives about -46.
    assert -30 < float(re.search(r"-?\d+\.\d+", capsys.readouterr().out)[0]) < -20
