"""What a module may import, and what importing the package does not do."""

import ast
import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "companion"

# Each module may import those of lower rows alone. A new file must be given a place here. The
# package itself, `companion`, gathers the rows before it, and only those after it may ask it.
RANKS = [
    {"_checks"},
    {"_context", "_explore", "_page", "_plots"},
    {"distributions"},
    {"conditionals", "data"},
    {"autoregressive", "models"},
    {"objectives"},
    {"exact", "diffusion", "diagnostics", "ensemble", "train", "weights"},
    {""},
    {"comparison", "plots"},
    {"explore", "live"},
    {"exercises"},
]
# The engine of the exercises stands below the chapters.
ENGINE = [
    {"verdicts", "comparing", "isolating", "variants"},
    {"predicting", "inspecting", "running"},
    {"changes", "inputs", "structure"},
    {"diagnosis"},
    {"checking"},
]
# And within a package: its own `__init__` gathers them all, and none of them asks it.
INSIDE = {
    "exact": [{"blocks", "discrete", "linear"}, {"chain", "optimal", "quadrature"}],
    "diffusion": [{"schedule"}, {"denoisers"}, {"model"}, {"bounds"}],
    "live": [{"_bundle", "_diffusion", "_digits", "_scenes", "_tree"}, {"_figure"}],
    "diagnostics": [{"disentanglement", "information", "samples"}],
    "exercises": [
        *ENGINE,
        {path.stem for path in (PACKAGE / "exercises").glob("*.py")} - {"__init__"}.union(*ENGINE),
    ],
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def rank_of(module, ranks):
    found = [rank for rank, modules in enumerate(ranks) if module in modules]
    assert len(found) == 1, f"{module} has no place in the order of imports"
    return found[0]


def name_of(path):
    """The parts of a module's name after ``companion``; none for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def exists(*parts):
    place = PACKAGE.joinpath(*parts)
    return place.is_dir() or place.with_suffix(".py").is_file()


def companion_imports(path):
    """Modules of the package that a file imports anywhere, in a function too, as parts of names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative imports hide what is imported"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            head, *parts = name.split(".")
            if head == "companion":
                # The last part may be something in a module, and then the module is meant.
                yield tuple(parts if not parts or exists(*parts) else parts[:-1])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = name_of(path)
    for other in companion_imports(path):
        top, said = (other or ("",))[0], f"{'.'.join(own)} must not import companion.{other}"
        if top != own[0]:
            assert rank_of(top, RANKS) < rank_of(own[0], RANKS), said
        elif len(own) == 2:
            assert len(other) == 2, said
            assert rank_of(other[1], INSIDE[top]) < rank_of(own[1], INSIDE[top]), said


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_has_a_place(path):
    own = name_of(path)
    rank_of(own[0], RANKS)
    if len(own) == 2:
        rank_of(own[1], INSIDE[own[0]])


def test_the_reader_of_imports_reads_every_form(tmp_path):
    # Catches: a form of import that goes unseen, so that no order is kept at all.
    path = tmp_path / "some.py"
    path.write_text(
        "import companion\nimport companion.data\nfrom companion import models, elbo\n"
        "def f():\n    from companion.exact.linear import LinearGaussian\n"
        "    from companion.exact import chain, LinearGaussianChain\n    import torch.nn\n"
    )
    forms = [(), ("data",), ("models",), (), ("exact", "linear"), ("exact", "chain"), ("exact",)]
    assert list(companion_imports(path)) == forms
    path.write_text("from . import models\n")
    with pytest.raises(AssertionError, match="relative"):
        list(companion_imports(path))


def test_data_distributions_and_checks_stand_alone():
    assert not set(companion_imports(PACKAGE / "distributions.py"))
    assert set(companion_imports(PACKAGE / "data.py")) <= {("_checks",)}
    assert not set(companion_imports(PACKAGE / "_checks.py"))
    assert not set(companion_imports(PACKAGE / "_context.py"))


def test_the_package_itself_imports_the_core_alone():
    core = {"autoregressive", "conditionals", "distributions", "ensemble", "models", "objectives"}
    assert set(companion_imports(PACKAGE / "__init__.py")) == {
        (name,) for name in core | {"train", "weights"}
    }


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


def modules_of(*packages):
    return [
        ".".join(("companion", *name_of(path))) for path in FILES if name_of(path)[0] in packages
    ]


NUMBERS = sorted(set().union(*RANKS) - {"", "_plots", "comparison", "plots", "exercises"})
STAGES = {
    "core": ["companion"],
    "numbers": modules_of(*NUMBERS),
    "figures": ["companion._plots", "companion.plots", "companion.comparison"],
    "exercises": modules_of("exercises"),
    "guard": ["pyro"],
}


@pytest.fixture(scope="module")
def stages():
    """For each stage of imports in one fresh interpreter: settings changed, libraries loaded."""
    script = f"""{STATE}
from importlib import import_module
import tqdm.auto, jaxtyping, safetensors.torch
found = {{}}
for stage, modules in {STAGES!r}.items():
    if stage == "numbers":
        import sklearn.datasets
    before = state()
    for module in modules:
        import_module(module)
    if stage == "guard":
        torch.set_num_threads(1 + torch.get_num_threads())
        torch.rand(1)
    after = state()
    libraries = "matplotlib", "ipywidgets", "IPython", "sklearn", "pyro"
    loaded = [m for m in libraries if m in sys.modules]
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
    assert stages["core"] == [[], []]
    assert stages["numbers"] == [[], ["sklearn"]]


def test_importing_figures_and_exercises_changes_no_setting(stages):
    assert stages["figures"] == [[], ["matplotlib", "sklearn"]]
    assert stages["exercises"][0] == []
    assert "ipywidgets" not in stages["exercises"][1]


def test_the_guard_sees_a_change(stages):
    changed, loaded = stages["guard"]
    assert {"threads", "rng"} <= set(changed)
    assert "pyro" in loaded


def test_every_stage_has_its_modules():
    assert {len(modules) > 0 for modules in STAGES.values()} == {True}
    named = {*STAGES["core"], *STAGES["numbers"], *STAGES["figures"], *STAGES["exercises"]}
    assert len(named) == len(FILES) + 1


# Names.

MODULES = ["companion", *(".".join(("companion", *name_of(path))) for path in FILES)]
PACKAGES = ["companion", *(f"companion.{name}" for name in INSIDE)]


def own_names(module):
    """Public functions and classes that a module defines itself."""
    for name, value in vars(module).items():
        known = inspect.isfunction(value) or inspect.isclass(value)
        if known and not name.startswith("_") and value.__module__ == module.__name__:
            yield name, value


@pytest.mark.parametrize("name", MODULES)
def test_public_names_say_what_they_are(name):
    module = import_module(name)
    assert module.__doc__, name
    for own, value in own_names(module):
        assert value.__doc__, f"{name}.{own} has no docstring"
        for method, function in vars(value).items() if inspect.isclass(value) else ():
            function = getattr(function, "fget", function)
            inherited = any(hasattr(base, method) for base in value.__mro__[1:])
            if inspect.isfunction(function) and not method.startswith("_") and not inherited:
                assert function.__doc__, f"{name}.{own}.{method} has no docstring"


@pytest.mark.parametrize("name", sorted(set(MODULES) - set(PACKAGES)))
def test_a_module_that_lists_its_names_lists_them_all(name):
    # Most need no list. Where there is one it must not fall behind.
    module = import_module(name)
    listed = getattr(module, "__all__", None)
    if listed is not None:
        assert {own for own, _ in own_names(module)} <= set(listed)
        assert all(hasattr(module, own) for own in listed)
    assert listed is None or "." not in name.removeprefix("companion.")


@pytest.mark.parametrize("name", PACKAGES)
def test_packages_list_all_they_gather(name):
    # Catches: a name that is imported and not listed, or the other way round.
    module = import_module(name)
    listed = module.__all__

    def place(own):
        """Constants and acronyms, then classes, then functions, each in alphabetical order."""
        return (0 if own.isupper() else 1 if own[0].isupper() else 2, own)

    assert listed == sorted(listed, key=place)
    assert len(set(listed)) == len(listed)
    for own in listed:
        assert getattr(module, own) is not None
    if name != "companion.exercises":  # which gathers chapters by number
        gathered = {
            alias.asname or alias.name
            for node in ast.parse(Path(module.__file__).read_text("utf-8")).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert set(listed) == gathered | ({"BOOK"} if name == "companion" else set())


def test_the_first_vocabulary_is_short():
    assert 20 <= len(import_module("companion").__all__) <= 32


@pytest.mark.parametrize("name", PACKAGES[1:-1])
def test_what_a_package_gathers_is_its_own(name):
    module = import_module(name)
    homes = {vars(module)[own].__module__ for own in module.__all__ if not own.isupper()}
    assert all(home.startswith(f"{name}.") for home in homes)
    inside = {m for m in MODULES if m.startswith(f"{name}.")}
    assert {m for m in inside if not m.removeprefix(name).startswith("._")} <= homes <= inside


@pytest.mark.parametrize("name", ["companion", *PACKAGES[1:-1]])
def test_a_star_imports_what_is_listed(name):
    space = {}
    exec(f"from {name} import *", space)
    assert set(space) - {"__builtins__"} == set(import_module(name).__all__)
