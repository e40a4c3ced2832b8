"""Plug-ins are found by name, by file and by module; what cannot be found is told in a sentence."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest

from migsim import InputError, Link, migrate
from migsim.network.link import PRESETS
from migsim.registry import find, names, trace_path

SOURCE = '''\
"""Mine."""
from __future__ import annotations
from typing import TYPE_CHECKING, Literal
from migsim.units import Fraction, Seconds
if TYPE_CHECKING:
    from migsim import Migration

def mine(
    migration: Migration,
    *,
    first: Seconds = 1,
    share: Fraction | None = None,
    how: Literal["a", "b"] = "a",
    often: int = 3,
    plain=2.5,
    name="x",
    yes: bool = False,
) -> None:
    """Does what stop-and-copy does.

    And no more.
    """
    migration.pause()
    migration.send(migration.everything)
    migration.resume()

CONSTANT = 5
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return path


def test_built_in_names() -> None:
    assert {
        "adaptive_compression",
        "clairvoyant",
        "compressed",
        "dedup",
        "delta",
        "hybrid",
        "multifd",
        "postcopy",
        "precopy",
        "stop_and_copy",
        "storage_dbt",
        "storage_mirror",
        "storage_postcopy",
        "storage_snapshot",
        "vmotion",
        "cloud_hypervisor",
        "xbzrle",
        "xen",
        "xen_postcopy",
    } <= (set(names("algorithm")))
    assert {
        "curve",
        "hotcold",
        "idle",
        "mix",
        "phases",
        "sequential",
        "trace",
        "uniform",
        "zipf",
    } <= set(names("workload"))
    assert names("link") == list(PRESETS)
    assert "gigabit" in names("experiment")
    for kind in ("algorithm", "workload", "link"):
        for name in names(kind):
            plugin = find(kind, name)
            assert (plugin.kind, plugin.name) == (kind, name)
            assert plugin.summary


def test_every_preset_makes_a_link() -> None:
    for name in set(names("link")) - {"custom"}:
        link = Link(**{p.name: p.default for p in find("link", name).parameters})
        assert link.rate > 0


@pytest.mark.parametrize("form", ["mine.py:mine", "./mine.py:mine", "{}:mine"])
def test_a_file(mine: Path, form: str) -> None:
    name = form.format(mine)
    outcome = migrate(name, "idle", memory="4MiB", algorithm_args={"share": "20%", "yes": "true"})
    assert (outcome.result.status, outcome.result.pages_sent) == ("completed", 1024)
    plugin = find("algorithm", name)
    assert plugin.summary == "Does what stop-and-copy does."
    kinds = [(p.name, p.type, p.dimension, p.optional, p.choices) for p in plugin.parameters]
    assert kinds == [
        ("first", float, "time", False, ()),
        ("share", float, "fraction", True, ()),
        ("how", str, "number", False, ("a", "b")),
        ("often", int, "number", False, ()),
        ("plain", float, "number", False, ()),
        ("name", str, "number", False, ()),
        ("yes", bool, "number", False, ()),
    ]


def test_a_module(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = mine.parent / "a_users_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "deep.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(mine.parent))
    assert find("algorithm", "a_users_package.deep:mine").digest == (
        find("algorithm", "mine.py:mine").digest
    )


def test_a_workload_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from migsim import Steady\n"
        "def sawtooth(vm, seed, *, rate: float = 100.0):\n"
        "    '''Writes page 0.'''\n"
        "    return Steady(pages=1, rate=rate, read_fraction=0, draw=lambda j, out: out.fill(0))\n"
    )
    result = migrate("precopy", f"{path}:sawtooth", memory="64MiB").result
    assert result.status == "completed"
    assert result.accesses > 50


def test_a_file_is_loaded_once_and_again_when_it_changed(mine: Path) -> None:
    first = find("algorithm", "mine.py:mine").call
    assert find("algorithm", "mine.py:mine").call is first
    mine.write_text(SOURCE + "\n# changed\n")
    assert find("algorithm", "mine.py:mine").call is not first


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mine.py:min", "has no function 'min', did you mean 'mine'?"),
        ("mine.py:CONSTANT", "has no function 'CONSTANT'"),
        ("mine.py:", "has no function ''"),
        ("mine.py", "expected mine.py:FUNCTION"),
        ("nobody.py:f", "nobody.py: there is no such file"),
        ("broken.py:f", "cannot be loaded: SyntaxError"),
        ("raises.py:f", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("exits.py:f", "cannot be loaded: SystemExit: 3"),
        ("imports.py:f", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("few.py:f", "expected 1 positional parameters"),
        ("no_such_module:f", "cannot be loaded: ModuleNotFoundError"),
        ("algorithms.precopy:precop", "did you mean 'precopy'?"),
        (".relative:f", "cannot be loaded"),
        (":f", "cannot be loaded"),
        ("sys:exit", "has no source file"),
        ("sys:nothing", "has no function 'nothing'"),
        ("precpy", "unknown algorithm 'precpy', did you mean 'precopy'?"),
        ("", "unknown algorithm ''"),
    ],
)
def test_what_cannot_be_used(mine: Path, name: str, problem: str) -> None:
    texts = {
        "broken": "def f(:\n",
        "raises": "1 / 0\n",
        "exits": "import sys\nsys.exit(3)\n",
        "imports": "import nowhere_at_all\n",
        "few": "def f(*, x: int = 3) -> None: ...\n",
    }
    for stem, text in texts.items():
        mine.with_name(f"{stem}.py").write_text(text)
    with pytest.raises(InputError) as caught:
        find("algorithm", name)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_failed_can_be_mended(mine: Path) -> None:
    mine.write_text("1 / 0")
    with pytest.raises(InputError):
        find("algorithm", "mine.py:mine")
    mine.write_text(SOURCE)
    assert find("algorithm", "mine.py:mine").name == "mine.py:mine"


def test_callables() -> None:
    def mine(migration: object, *, x: int = 3) -> None:
        """Returns nothing."""

    plugin = find("algorithm", mine)
    assert plugin.name.endswith("mine")
    assert plugin.summary == "Returns nothing."
    with pytest.raises(InputError, match="expected a function or its name"):
        find("algorithm", functools.partial(mine, x=4))


def test_loading_leaves_the_path_alone(mine: Path) -> None:
    before = list(sys.path)
    find("algorithm", f"{mine}:mine")
    assert sys.path == before


def test_traces_by_name_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "t.mtrace"
    path.touch()
    assert trace_path(str(path)) == path
    assert trace_path("redis").name == "redis.mtrace"
    for name, problem in [("redsi", "did you mean 'redis'"), ("./redis", "there is no such file")]:
        with pytest.raises(InputError, match=problem):
            trace_path(name)
