"""What a module may import, and what importing the package does not do."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "companion"

# Each module may import those of lower rows alone. A new file must be given a place here.
RANKS = [
    {"validation"},
    {"conditionals", "autoregressive", "data", "schedule"},
    {"models", "estimators"},
    {"objectives", "chain", "denoisers"},
    {"exact", "diffusion", "diagnostics"},
    {"train", "grid"},
    {"ensemble"},
    {"plots", "explore"},
    {"exercises"},
]
RANK = {module: rank for rank, modules in enumerate(RANKS) for module in modules}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def companion_imports(path):
    """Modules of the package that a file imports anywhere, in a function too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative imports hide what is imported"
            whole = node.module == "companion"
            names = [f"companion.{a.name}" for a in node.names] if whole else [node.module]
        else:
            continue
        yield from (n.split(".")[1] for n in names if n.startswith("companion."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = module_of(path)
    assert own in RANK, f"{path.name} has no place in the order of imports"
    for other in companion_imports(path):
        if own == other == "exercises":
            continue
        assert RANK[other] < RANK[own], f"{own} must not import {other}"


def test_data_and_validation_stand_alone():
    assert set(companion_imports(PACKAGE / "data.py")) <= {"validation"}
    assert not set(companion_imports(PACKAGE / "validation.py"))


def test_the_package_itself_imports_nothing():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]


STATE = """
import json, sys, random, warnings
import numpy, torch
from torch.distributions import Distribution
def state():
    return {
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.get_default_device()),
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "grad": torch.is_grad_enabled(),
        "rng": torch.get_rng_state().tolist(),
        "numpy": numpy.random.get_state()[1].tolist(),
        "random": str(random.getstate()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "validation": Distribution._validate_args,
        "printing": str(torch._tensor_str.PRINT_OPTS),
        "filters": [str(f) for f in warnings.filters],
    }
"""


MODULES = sorted(path.stem for path in FILES if path.parent == PACKAGE)
STAGES = {
    "package": ["companion", *(f"companion.{m}" for m in MODULES if m != "plots")],
    "figures": ["companion.plots"],
    "exercises": [
        f"companion.exercises.{path.stem}"
        for path in sorted((PACKAGE / "exercises").glob("*.py"))
        if path.stem != "__init__"
    ],
    "guard": ["pyro"],
}


@pytest.fixture(scope="module")
def stages():
    """For each stage of imports in one fresh interpreter: settings changed, libraries loaded."""
    script = f"""{STATE}
from importlib import import_module
import sklearn.datasets, tqdm.auto, jaxtyping, safetensors.torch
found = {{}}
for stage, modules in {STAGES!r}.items():
    before = state()
    for module in modules:
        import_module(module)
    if stage == "guard":
        torch.set_num_threads(1 + torch.get_num_threads())
        torch.rand(1)
    after = state()
    loaded = [m for m in ("matplotlib", "ipywidgets", "IPython", "pyro") if m in sys.modules]
    found[stage] = [[k for k in before if before[k] != after[k]], loaded]
print(json.dumps(found))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr
    return json.loads(run.stdout)


def test_importing_changes_nothing(stages):
    # Catches: a seed or a thread count set on import, argument validation switched off, and a
    # figure library in the way of those who only compute.
    assert stages["package"] == [[], []]


def test_importing_figures_and_exercises_changes_no_setting(stages):
    assert stages["figures"] == [[], ["matplotlib"]]
    assert stages["exercises"][0] == []
    assert "ipywidgets" not in stages["exercises"][1]


def test_the_guard_sees_a_change(stages):
    changed, loaded = stages["guard"]
    assert {"threads", "rng"} <= set(changed)
    assert "pyro" in loaded


def test_modules_say_what_they_export():
    from importlib import import_module

    for path in FILES:
        if path.name.startswith("_") or path.parent != PACKAGE:
            continue
        module = import_module(f"companion.{path.stem}")
        assert module.__doc__
        names = module.__all__
        for name in names:
            value = getattr(module, name)
            if callable(value):
                assert value.__module__ == module.__name__, f"{name} is defined elsewhere"
                assert value.__doc__, f"{path.stem}.{name} has no docstring"
