"""What a paper consists of: ``paper.toml`` beside its text."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from migsim.errors import InputError, did_you_mean
from migsim.registry import names
from migsim.validate.facts import VALIDATIONS

__all__ = ["Migration", "PaperPlan", "Sweep", "read_plan"]

FILE = "paper.toml"


class Sweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an experiment is run for the paper.

    Attributes:
        seeds: repetitions with other seeds; 1 in a quick build.
    """

    seeds: int


class Migration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A migration that is drawn over time, by the fields of `Task`.

    Attributes:
        width: ``page`` or ``column``.
        title: what stands above it.
    """

    algorithm: str
    workload: str
    link: str
    title: str
    memory: str | None = None
    algorithm_args: dict[str, str | int | float | bool] = {}
    workload_args: dict[str, str | int | float | bool] = {}
    width: Literal["page", "column"] = "page"


class PaperPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a paper is made of.

    Attributes:
        text: the Typst file, in the same folder; so is all else that it reads.
        experiments: the experiments whose results it tells of, by name.
        validations: the comparisons whose figures it tells, of `VALIDATIONS`.
        listings: the algorithms whose source it prints.
        timelines: migrations that are drawn over time, by the names of their figures.
    """

    text: str
    experiments: dict[str, Sweep]
    validations: list[str] = []
    listings: list[str] = []
    timelines: dict[str, Migration] = {}


def read_plan(folder: Path) -> PaperPlan:
    """Return the plan of the paper in ``folder``. Raises `InputError`."""
    path = folder / FILE
    try:
        plan = msgspec.convert(tomllib.loads(path.read_text()), PaperPlan)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; expected the folder of a paper, such as "
            "paper/ of a checkout of migsim"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"{path}: {error}") from None
    if not (folder / plan.text).is_file():
        raise InputError(f"{path}: text is '{plan.text}', but there is no such file beside it")
    for key, named, known in (
        ("experiments", plan.experiments, names("experiment")),
        ("validations", plan.validations, list(VALIDATIONS)),
        ("listings", plan.listings, names("algorithm")),
    ):
        for name in named:
            if name not in known:
                raise InputError(f"{path}: {key}: unknown '{name}', {did_you_mean(name, known)}")
    for name, sweep in plan.experiments.items():
        if sweep.seeds < 1:
            raise InputError(
                f"{path}: experiments.{name}.seeds is {sweep.seeds}, expected 1 at least"
            )
    return plan
