"""The module as an interface: what it offers, that all of it is explained, that effects always happen."""

from __future__ import annotations

import ast
import inspect
import typing
from pathlib import Path

import pytest
from dagger.mod import Doc, default_module
from pipeline import Anyarch
from pipeline.image import Image
from pipeline.release import Release

SOURCES = sorted(Path(inspect.getfile(Anyarch)).parent.glob("*.py"))
BODY_LINES_MAX = 20
# Functions that change nothing: one session may share their results, a later one must not.
DESCRIBING = {"build", "container", "layout"}


def offered() -> list[tuple[type, str]]:
    return [
        (kind, name)
        for kind in (Anyarch, Image, Release)
        for name, member in vars(kind).items()
        if hasattr(member, "__dagger_function__")
    ]


OFFERED = [pytest.param(kind, name, id=f"{kind.__name__}.{name}") for kind, name in offered()]


def test_the_functions_are_these() -> None:
    names = {f"{kind.__name__}.{name}" for kind, name in offered()}
    assert names == {
        *("Anyarch.build", "Anyarch.merge", "Anyarch.release", "Anyarch.verify"),
        "Anyarch.trial",
        *("Image.container", "Image.layout", "Image.publish"),
    }
    assert default_module().get_object("Image").fields.keys() == {"platform", "execution"}
    assert default_module().get_object("Release").fields.keys() == {"digest", "tags", "report", "warnings"}


@pytest.mark.parametrize(("kind", "name"), OFFERED)
def test_every_function_and_argument_is_explained(kind: type, name: str) -> None:
    function = getattr(kind, name)
    assert function.__doc__
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return")
    unexplained = [
        argument
        for argument, hint in hints.items()
        if not any(isinstance(extra, Doc) for extra in typing.get_args(hint))
    ]
    assert not unexplained


@pytest.mark.parametrize(("kind", "name"), OFFERED)
def test_no_call_is_answered_from_an_earlier_session(kind: type, name: str) -> None:
    policy = getattr(kind, name).__dagger_function__.cache
    assert policy == ("session" if name in DESCRIBING else "never")


@pytest.mark.parametrize("source", [pytest.param(path, id=path.name) for path in SOURCES])
def test_no_function_decides_much(source: Path) -> None:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0
            assert lines <= BODY_LINES_MAX, f"{node.name} has {lines} lines"
