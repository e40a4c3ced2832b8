"""The examples in the docstrings."""

from __future__ import annotations

import doctest
import importlib

import pytest
from helpers import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "migsim").rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


def test_some_were_found() -> None:
    assert {"migsim", "migsim.units", "migsim.pages", "migsim.parameters"} <= set(MODULES)
