"""Functions that change something outside the engine."""

from collections.abc import Callable
from typing import Any, TypeVar

from dagger import function

F = TypeVar("F", bound=Callable[..., Any])


def uncached(method: F) -> F:
    """Offer a function that is run at every call.

    Without it the engine would answer a second equal call from its cache for seven days: nothing would
    be pushed, and the call would look as if it had been.
    """
    offered: F = function(cache="never")(method)  # type: ignore[call-overload]  # the SDK's overloads lack it
    return offered
