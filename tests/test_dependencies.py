"""pyproject.toml, requirements.lock and environment.yml say the same."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


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
    extras = [group for groups in PROJECT["optional-dependencies"].values() for group in groups]
    for text in [*PROJECT["dependencies"], *extras]:
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
    assert python in PROJECT["requires-python"] or f">={python}" in PROJECT["requires-python"]


def test_this_environment_is_the_locked_one() -> None:
    from importlib.metadata import version

    for name in ("numpy", "sphinx", "myst-nb", "jupyter-book", "nbval"):
        assert version(name) == locked()[name], f"{name}: run `make venv`"
    assert sys.version_info >= (3, 11)


def test_extensions_do_not_name_a_machine() -> None:
    files = [".npmrc", "package.json", "package-lock.json"]
    for path in [*(ROOT / "book" / "_tools" / file for file in files), ROOT / "requirements.lock"]:
        assert "://" not in path.read_text("utf-8"), f"{path.name} names a host"
