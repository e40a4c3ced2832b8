"""Who may import whom (design: only downward), read from the sources."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from helpers import ROOT

# One line a layer, lowest first. Modules of one layer do not import one another, except within a
# package (`network`, `_kernels`, `trace`, `cli`, `validate`, `predict`,
# `stats`, `compare`, `fleet`), which is one entry.
LAYERS = [
    ["_types", "_kernel_digest", "_kernel_files"],
    ["_jit", "errors", "clock", "meter", "result", "digests", "interrupts",
     "files"],
    ["_kernels", "units", "timeline", "codec_costs", "stats"],
    ["pages", "parameters", "hypervisor", "gang"],
    ["watch", "network", "machine", "limits", "workload", "codecs"],
    ["content", "encoders", "registry", "plotting", "peers", "clients", "disk"],
    ["accesses", "memory", "codec_sizes", "markdown"],
    ["guest", "build", "trace", "calibration", "aged"],
    ["coding", "storage", "compile_ahead"],
    ["byte_coding"],
    ["source", "destination", "task"],
    ["recall", "storage_destination", "work"],
    ["ledger"],
    ["looks"],
    ["disk_acts"],
    ["migration"],
    ["simulate", "store", "sweep", "time_left", "footprint"],
    ["jobs", "drawing"],
    ["workers", "cluster"],
    ["collect", "experiment", "results", "adaptive"],
    ["housekeeping", "results_query"],
    ["__init__"],
    ["predict", "compare", "fleet"],
    ["validate"],
    ["paper", "bench"],
    ["cli"],
    ["__main__"],
]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
PLUG_INS = ["algorithms", "workloads", "experiments"]


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return the absolute names of all that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "migsim":
                found.update(f"migsim.{alias.name}" for alias in node.names)
            else:
                found.add(str(node.module))
    return found


def part_of(module: str) -> str:
    """Return the entry of the table that a module of migsim belongs to."""
    name = module.split(".")[1]
    return name if name in LEVEL else "__init__"  # `from migsim import migrate`


@pytest.mark.parametrize("path", sources("migsim"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(path: Path) -> None:
    own = path.relative_to(ROOT / "migsim").parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own}: give it a place in the table of layers"
    for module in imports(path):
        if module.startswith("migsim.") and part_of(module) != own:
            assert LEVEL[part_of(module)] < LEVEL[own], f"{own} imports {module}"


def test_the_table_names_what_exists() -> None:
    existing = {
        path.relative_to(ROOT / "migsim").parts[0].removesuffix(".py") for path in sources("migsim")
    }
    assert existing == set(LEVEL)
    assert len(LEVEL) == sum(len(names) for names in LAYERS)


@pytest.mark.parametrize("path", sources("migsim"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_engine_knows_no_plug_in(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path)} & {*PLUG_INS, "tests"}


@pytest.mark.parametrize(
    "path",
    [path for folder in PLUG_INS for path in sources(folder) if "src" not in path.parts],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_plug_ins_import_migsim_and_third_parties_only(path: Path) -> None:
    for module in imports(path):
        assert module.split(".")[0] not in {*PLUG_INS, "tests"}, module
        assert not any(part.startswith("_") and part != "__future__" for part in module.split("."))


def test_only_one_module_imports_numba() -> None:
    users = {
        str(path.relative_to(ROOT))
        for folder in ["migsim", *PLUG_INS]
        for path in sources(folder)
        if any(module.split(".")[0] == "numba" for module in imports(path))
    }
    assert users == {"migsim/_jit.py"}


def test_kernels_use_arrays_only() -> None:
    """Kernels import nothing but NumPy, `math`, types, and one another."""
    for path in sources("migsim/_kernels"):
        for module in imports(path):
            allowed = {"migsim._jit", "migsim._types", "numpy", "math", "typing", "__future__"}
            assert module in allowed or module.startswith("migsim._kernels."), module


def test_no_module_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources("migsim")}
    assert {str(path): length for path, length in lengths.items() if length > 480} == {}


def test_everything_that_is_public_is_there() -> None:
    import migsim

    for name in migsim.__all__:
        assert getattr(migsim, name) is not None
    assert set(migsim.__all__) >= set(migsim._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = migsim.nonsense


def test_every_import_is_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text().lower()
    for folder in ["migsim", *PLUG_INS]:
        for path in sources(folder):
            if "src" in path.parts:
                continue
            for module in imports(path):
                top = module.split(".")[0]
                if top != "migsim" and top not in sys.stdlib_module_names:
                    assert f'"{top}>=' in text, f"{path} imports {top}"
