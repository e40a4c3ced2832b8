"""One side of a comparison from a git revision: checked out, run, and cleared away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migsim.compare.loading import Side, load_side
from migsim.errors import InputError

__all__ = ["Revision", "Running", "find_revision", "run_revisions"]


_COLOURING = {"FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "COLORTERM"}


@dataclass(frozen=True)
class Revision:
    """A commit of a repository.

    Attributes:
        name: what the user called it.
        commit: its full hash.
        repository: a folder of the repository.
    """

    name: str
    commit: str
    repository: Path

    @property
    def title(self) -> str:
        """The name with the short hash."""
        short = self.commit[:10]
        return short if self.commit.startswith(self.name) else f"{self.name} ({short})"


@dataclass(frozen=True)
class Running:
    """What is run at a revision.

    Attributes:
        experiment: a built-in name or a file.
        seeds: repetitions.
        quick: the small version.
        workers: processes, or as many as there are processors.
    """

    experiment: str = "ci"
    seeds: int = 3
    quick: bool = False
    workers: int | None = None


def find_revision(name: str, option: str, folder: Path | None = None) -> Revision:
    """Return the commit called ``name`` in the repository around ``folder``, by default here.

    ``option`` names it in errors. Raises `InputError` where there is neither such a commit nor a
    repository.
    """
    place = folder or Path.cwd()
    if name.endswith((".csv", ".csv.gz", ".jsonl", ".json", ".parquet")):
        raise InputError(f"{option} {name}: there is no such file")
    if _git(place, "rev-parse", "--git-dir").returncode:
        raise InputError(
            f"{option} {name}: there is no such file or folder, and no revision either, "
            f"since {place} is in no git repository"
        )
    found = _git(
        place, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    if found.returncode:
        raise InputError(
            f"{option} {name}: there is no such file or folder, and no such git revision"
        )
    return Revision(name, found.stdout.strip(), place)


def run_revisions(
    revisions: list[Revision], running: Running, tell: Callable[[str], None]
) -> list[Side]:
    """Return the results of an experiment at each revision of a repository.

    All are checked out into one temporary folder, one after the other, so that kernels that are the
    same in all of them are compiled once. A revision that lacks the experiment runs the last one's.
    The folder is gone at the end, however that comes. ``tell`` is called with what is being done.
    Raises `InputError` where an experiment cannot be run, or its run ended
    early.
    """
    with tempfile.TemporaryDirectory(prefix="migsim-compare-") as temporary:
        folder = Path(temporary)
        experiments = _experiments(revisions, running.experiment, folder)
        sides: list[Side] = []
        with _checkout(revisions[0], folder / "tree") as tree:
            for revision, experiment in zip(revisions, experiments, strict=True):
                tell(f"{running.experiment} at {revision.title}")
                done = _git(tree, "checkout", "--detach", "--force", revision.commit)
                _check(done, revision)
                results = folder / f"results{len(sides)}"
                sides.append(_run(revision, tree, experiment, running, results))
        return sides


@contextmanager
def _checkout(revision: Revision, tree: Path) -> Iterator[Path]:
    repository = revision.repository
    try:
        _check(
            _git(repository, "worktree", "add", "--detach", str(tree), revision.commit), revision
        )
        yield tree
    finally:
        removed = _git(repository, "worktree", "remove", "--force", "--force", str(tree))
        if removed.returncode:  # else not: it would forget others on disks that are not there now
            _git(repository, "worktree", "prune")


def _check(done: subprocess.CompletedProcess[str], revision: Revision) -> None:
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:]
        raise InputError(f"{revision.name}: cannot be checked out: {' '.join(reason)}")


def _experiments(revisions: list[Revision], name: str, folder: Path) -> list[str]:
    """Return what to call the experiment at each revision: its name if all have it, else a file.

    Raises `InputError` where there is none.
    """
    if name.endswith(".py") or "/" in name:
        if not Path(name).is_file():
            raise InputError(f"--experiment {name}: there is no such file")
        return [str(Path(name).resolve())] * len(revisions)
    place = f"experiments/{name}.py"
    sources = [
        _git(each.repository, "show", f"{each.commit}:./{place}", at_top=True) for each in revisions
    ]
    if sources[-1].returncode:
        raise InputError(f"--experiment {name}: {revisions[-1].title} has no {place}")
    copy = folder / f"{name}.py"
    copy.write_text(sources[-1].stdout)
    # For all of them, as tasks may name plug-ins by the experiment's own file.
    lacking = any(source.returncode for source in sources)
    return [str(copy) if lacking else name] * len(revisions)


def _run(revision: Revision, tree: Path, experiment: str, running: Running, results: Path) -> Side:
    command = [sys.executable, "-m", "migsim", "run", experiment, "--results", str(results)]
    command += ["--seeds", str(running.seeds), *(["--quick"] if running.quick else [])]
    command += [] if running.workers is None else ["--workers", str(running.workers)]
    # The compiled kernels of a folder that will be gone are of no use to anyone later.
    environment = {"NUMBA_CACHE_DIR": str(tree.parent / "kernels"), **os.environ}
    # What it prints is read below, so it must not be coloured, whatever the user's wishes.
    environment = {name: environment[name] for name in environment if name not in _COLOURING}
    environment |= {"NO_COLOR": "1", "TERM": "dumb"}
    found_by = [str(tree), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"PYTHONPATH": os.pathsep.join(found_by)}
    # The progress bar goes to our own standard error, unless that is no terminal.
    on_screen = sys.stderr.isatty()
    process = subprocess.Popen(
        command, cwd=tree, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=None if on_screen else subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate()
    except BaseException:
        _end(process)
        raise
    name = Path(experiment).stem
    if process.returncode not in (0, 1) or not (results / name / f"{name}.csv").exists():
        reason = (err or "").strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise InputError(f"{revision.name}: its run of '{name}' failed: {' '.join(reason)}")
    broken = tuple(
        line.removeprefix("broken ").strip() for line in out.splitlines() if _is_broken(line)
    )
    side = load_side(results / name)
    return Side(revision.title, side.results, broken)


def _end(process: subprocess.Popen[str]) -> None:
    """Let a run that heard Ctrl-C too clear away what is its own; else tell it, and then end it."""
    for number in (None, signal.SIGINT, signal.SIGTERM):
        if number is not None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
            return
    process.kill()
    process.wait()


def _is_broken(line: str) -> bool:
    return line.startswith("broken ")


def _git(folder: Path, *arguments: str, at_top: bool = False) -> subprocess.CompletedProcess[str]:
    try:
        if at_top:
            folder = Path(_git(folder, "rev-parse", "--show-toplevel").stdout.strip() or folder)
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise InputError("comparing revisions needs git, which is not installed") from None
