"""How long the engine may answer a call from its cache; the SDK's own answer is seven days."""

from collections.abc import Callable
from typing import Any, TypeVar

from dagger import function

F = TypeVar("F", bound=Callable[..., Any])


def uncached(method: F) -> F:
    """Offer a function that changes something outside the engine: it runs at every call.

    Remembered, a second equal call would push nothing and look as if it had.
    """
    return _offered(method, "never")


def cached_in_session(method: F) -> F:
    """Offer a function that only describes what is to be done: it runs once in each ``dagger call``.

    Remembered longer, a base image's tag would not be looked up again for days, and what the function
    returned could name objects of a session that has ended. The build's own steps stay cached.
    """
    return _offered(method, "session")


def _offered(method: F, cache: str) -> F:
    offered: F = function(cache=cache)(method)  # type: ignore[call-overload]  # the SDK's overloads lack it
    return offered
