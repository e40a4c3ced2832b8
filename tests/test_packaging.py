"""Wheel, sdist and editable install: everything comes along, and nothing generic lands outside."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import migsim
from migsim.registry import names

ROOT = Path(__file__).resolve().parent.parent
ASIDE = ("__pycache__", ".pyc")

WHERE = "import migsim, sys; print(migsim.__file__, file=sys.stderr); "
MIGRATE = "migrate --algorithm precopy --workload trace --link gigabit --memory 16MiB -w file=idle"


def build(source: Path, target: Path, kind: str) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


def contents(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def sources(folder: str) -> set[str]:
    """Return all files of a folder of the checkout, as paths from its root."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not any(part in str(path) for part in ASIDE)
    }


def use(installed: Path, cwd: Path, command: str) -> str:
    """Run a migsim command with only ``installed`` on the path; return what it prints."""
    code = f"{WHERE}sys.argv[1:] = {command.split()!r}; from migsim.cli import main; main()"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Interpreted: nothing is compiled for folders that are gone after the test.
    environment = kept | {"PYTHONPATH": str(installed), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == str(installed / "migsim" / "__init__.py")
    return done.stdout


def test_the_wheel_holds_migsim_and_nothing_beside_it(wheel: Path) -> None:
    top = {name.split("/")[0] for name in contents(wheel)}
    assert top == {"migsim", f"migsim-{migsim.__version__}.dist-info"}
    assert wheel.name == f"migsim-{migsim.__version__}-py3-none-any.whl"


def test_every_source_and_data_file_is_in_the_wheel(wheel: Path) -> None:
    held = {name for name in contents(wheel) if ".dist-info/" not in name}
    plugins = {
        f"migsim/{name}"
        for folder in ("algorithms", "workloads", "experiments")
        for name in sources(folder)
    }
    assert held == sources("migsim") | plugins
    for name in (
        "migsim/py.typed",
        "migsim/algorithms/py.typed",
        "migsim/workloads/traces/redis.mtrace",
        "migsim/workloads/traces/redis.md",
        "migsim/experiments/gigabit.py",
    ):
        assert name in held


def test_the_wheel_has_licence_and_command(wheel: Path) -> None:
    info = f"migsim-{migsim.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        assert opened.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert "migsim = migsim.cli:main" in opened.read(f"{info}/entry_points.txt").decode()
        metadata = opened.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Dist: numba" in metadata


def test_the_unpacked_wheel_works_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    installed, cwd = tmp_path / "installed", tmp_path / "elsewhere"
    cwd.mkdir()
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(installed)
    assert "completed" in use(installed, cwd, MIGRATE)
    listed = use(installed, cwd, "list")
    for kind in ("algorithm", "workload", "link", "experiment"):
        for name in names(kind):  # type: ignore[arg-type]
            assert any(line.startswith(f"{name} ") for line in listed.splitlines()), name
    assert use(installed, cwd, "--version").strip() == f"migsim, version {migsim.__version__}"
    assert list(cwd.iterdir()) == []


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as opened:
        if hasattr(tarfile, "data_filter"):  # not in Debian 12's Python
            opened.extraction_filter = tarfile.data_filter
        opened.extractall(tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    assert source.name == f"migsim-{migsim.__version__}"
    again = build(source, tmp_path / "again", "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert sorted(one.namelist()) == sorted(two.namelist())
        for name in one.namelist():
            assert one.read(name) == two.read(name), name
        two.extractall(tmp_path / "installed")
    cwd = tmp_path / "elsewhere"
    cwd.mkdir()
    assert "completed" in use(tmp_path / "installed", cwd, MIGRATE)


def test_the_sdist_can_be_tested_and_holds_no_rubbish(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "tests/test_packaging.py"} <= held
    assert sources("workloads") <= held
    rubbish = ("results/", ".git/", ".venv/", "build/", "dist/", ".hypothesis/", ".pytest_cache/")
    assert not [name for name in held if name.startswith(rubbish) or name.endswith(".pyc")]


def test_an_editable_install_runs_the_checkout(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    site = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "dependencies.pth").write_text("\n".join(sorted(places)) + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["NUMBA_DISABLE_JIT"] = "1"
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--no-build-isolation", "--disable-pip-version-check", "--force-reinstall",
         "--editable", str(ROOT)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    command = venv / "bin" / "migsim"
    ran = subprocess.run(
        [str(command), *MIGRATE.split()],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "completed" in ran.stdout
    where = subprocess.run(
        [str(python), "-c", "import migsim, algorithms; print(migsim.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.strip() == str(ROOT / "migsim" / "__init__.py")
