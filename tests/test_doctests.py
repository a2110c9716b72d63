"""The examples in the docstrings of the installed package, the compiled module's among them."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import fastconv

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NAMES = [
    module.name
    for module in pkgutil.walk_packages(fastconv.__path__, "fastconv.")
    if not module.name.endswith("__main__")
]


@pytest.mark.usefixtures("empty_pool")
@pytest.mark.parametrize("name", ["fastconv", *NAMES])
def test_docstring_examples(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("doctest"))  # where an example may write files
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


def test_every_function_of_the_functional_face_has_an_example() -> None:
    functions = {
        name: value
        for name in fastconv.functional.__all__
        if inspect.isroutine(value := getattr(fastconv.functional, name))
    }
    assert functions
    assert [name for name, value in functions.items() if ">>>" not in (value.__doc__ or "")] == []
