"""What a failing function shows to the person, or the program, that called it.

The SDK turns an exception into one text and, unless told otherwise, logs a traceback before it. Here a
failure becomes ``anyarch.<Class>: <sentence>``, class and sentence being those of `anyarch.errors`, with
no traceback; whoever runs ``dagger call`` finds class and exit code again by that mark.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import dagger
from dagger.mod._exceptions import FunctionError

from anyarch.errors import AnyarchError

P = ParamSpec("P")
R = TypeVar("R")


def plainly(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Let a function fail with the one text that says why."""

    @functools.wraps(function)
    async def failing_plainly(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except AnyarchError as error:
            raise _speaking(error) from None

    return failing_plainly


def _speaking(error: AnyarchError) -> FunctionError:
    kind = type(error).__name__
    # The SDK writes "<module>.<class>: <message>" of what it catches.
    mark = type(kind, (FunctionError,), {"__module__": "anyarch"})
    return mark(str(error), extra={"exit_code": error.exit_code})
