"""What a failing function shows to the person, or the program, that called it.

The SDK turns an exception into one text and, unless told otherwise, logs a traceback before it. Here a
failure becomes ``anyarch.<Class>: <sentence>``, class and sentence being those of ``anyarch.errors``, with
no traceback. ``anyarch.engine.failure`` finds class and exit code again by that mark.
"""

import functools
import re
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeVar

import dagger
from anyarch.errors import (
    AnyarchError,
    AuthenticationError,
    BuildFailedError,
    DeniedError,
    EngineDiskFullError,
    NotFoundError,
    RegistryProtocolError,
    RegistryUnavailableError,
)
from anyarch.registry.ecr_advice import advice, denied_action
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.refusal import Refusal
from anyarch.registry.retry import RetryableError
from anyarch.shown import in_lines

# The SDK's one exception that it passes on without logging; it is not among its public names.
from dagger.mod._exceptions import FunctionError

P = ParamSpec("P")
R = TypeVar("R")

LAST_LINES: Final = 15

_DISK_FULL: Final = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
# Its exit code could not be written down, or not be read again.
_LOST_EXIT_CODE: Final = -1
_LOST: Final = re.compile(r"failed to (?:clone built container state: exit code: |write exit code )")
_MOST_OFTEN: Final = "; most often its disk is full"
_LOST_HINT: Final = (
    "is there room in the engine's state? anyarch engine status says where that and its log are"
)
_UNREACHED: Final = re.compile(r"connection refused|no such host|no route to host|network is unreachable")
_TEMPORARY: Final = re.compile(
    r": (?:408|425|429|500|502|503|504|522) \w"
    r"|connection reset|broken pipe|\bEOF\b|i/o timeout|TLS handshake timeout|server misbehaving"
    r"|context deadline exceeded|server closed|client connection lost",
)
# In order: a 401 is worded "push access denied …: authorization failed".
_FINAL: Final = (
    (re.compile(r": 401 |authorization failed|[Uu]nauthorized|authentication required"), AuthenticationError),
    (re.compile(r": 403 |\bdenied\b|insufficient_scope"), DeniedError),
    (re.compile(r": 404 |: not found$"), NotFoundError),
    (re.compile(r"HTTP response to HTTPS client|x509|certificate"), RegistryUnavailableError),
)
# The engine's words for a FROM that it may not read, or not without credentials.
_BASE_REFUSED: Final = re.compile(
    r"failed to convert Dockerfile to LLB: (?:failed to resolve \S+ \S+: )?(?P<host>[\w.:-]+)/\S+: .*"
    r"(?:no basic auth credentials|authorization failed|pull access denied|: 40[13] )",
    re.DOTALL,
)
# The same for one whose registry it does not reach; of Docker Hub the reference need not name the host.
_BASE_UNREACHED: Final = re.compile(
    r"failed to convert Dockerfile to LLB: .*"
    r'(?:Head|Get) "https?://(?P<host>[\w.:-]+)/[^"]*": .*'
    r"(?:no such host|connection refused|no route to host|network is unreachable|timeout)",
    re.DOTALL,
)
_HUB: Final = re.compile(r"(?:registry-1|auth)\.docker\.io")
# What Amazon ECR wants to see allowed before it says whether a layer or a manifest is there.
_ASKED: Final = re.compile(r"HEAD request to https://\S+/(?P<what>blobs|manifests)/\S+: 403 ")
_NEEDED: Final = {"blobs": "BatchCheckLayerAvailability", "manifests": "BatchGetImage"}


def plainly(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Let a function fail with the one text that says why."""

    @functools.wraps(function)
    async def failing_plainly(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except AnyarchError as error:
            raise _marked(error) from None

    return failing_plainly


def build_failure(error: dagger.QueryError, *, subject: str) -> AnyarchError:
    """Why an image could not be built, or its Dockerfile not be read.

    Args:
        error: What the engine said.
        subject: The platform, for the message.
    """
    text, lost = str(error), _LOST.search(str(error)) is not None
    if isinstance(error, dagger.ExecError):
        text, lost = _failed_run(error), error.exit_code == _LOST_EXIT_CODE
    elif lost:
        text = f"the engine lost the command that it ran{_MOST_OFTEN}\n    " + " ".join(text.split())
    if _DISK_FULL.search(text):
        return _disk_full(subject, text)
    hint = _LOST_HINT if lost else _base_hint(text)
    return BuildFailedError(in_lines(f"{subject}: {text}"), hint=hint, platform=subject)


def _failed_run(error: dagger.ExecError) -> str:
    # A shell-form RUN arrives as ["/bin/sh", "-c", "…"].
    instruction = "RUN " + " ".join(error.command).removeprefix("/bin/sh -c ")
    lines = [*error.stdout.splitlines(), *error.stderr.splitlines()][-LAST_LINES:]
    ended = f"{instruction} ended with {error.exit_code}"
    if error.exit_code == _LOST_EXIT_CODE:
        ended = f"the engine lost the command {instruction}{_MOST_OFTEN}"
    return ended + "".join(f"\n    {line}" for line in lines)


def _base_hint(text: str) -> str:
    """What to do where a base image is not given to nobody in particular, or its registry is not reached."""
    if match := _BASE_UNREACHED.search(text):
        mirrored = _HUB.sub("docker.io", match["host"])
        return (
            f"the engine does not reach {match['host']}: give it a mirror, for example anyarch engine up "
            f"--mirror {mirrored}=URL, or a proxy: HTTPS_PROXY where it is started"
        )
    match = _BASE_REFUSED.search(text)
    if match is None:
        return ""
    host = match["host"]
    ours = "anyarch" if EcrHost.parse(host) is not None else "docker"
    return f"log in where the Dagger client runs: {ours} login {host}; may it read that image?"


def push_failure(error: dagger.QueryError, *, repository: str) -> AnyarchError | RetryableError:
    """Why an image could not be pushed; a ``RetryableError`` where another try may help.

    Args:
        error: What the engine said, in containerd's words.
        repository: Where the image was to go.
    """
    return _transfer_failure(str(error), doing="push to", repository=repository)


def pull_failure(error: dagger.QueryError, *, repository: str) -> AnyarchError | RetryableError:
    """Why an image could not be pulled; a ``RetryableError`` where another try may help.

    Args:
        error: What the engine said, in containerd's words.
        repository: Where the image is.
    """
    return _transfer_failure(str(error), doing="pull from", repository=repository)


def _transfer_failure(text: str, *, doing: str, repository: str) -> AnyarchError | RetryableError:
    text = " ".join(text.split())  # a registry's words come with line breaks
    if _DISK_FULL.search(text):
        return _disk_full(repository, text)
    if _UNREACHED.search(text):
        return RetryableError(text, reached=False)
    if _TEMPORARY.search(text):
        return RetryableError(text)
    kind = next((kind for pattern, kind in _FINAL if pattern.search(text)), RegistryProtocolError)
    what = f"the engine could not {doing} {repository}: {text}"
    return kind(what, hint=_hint(text, repository), repository=repository)


def _hint(text: str, repository: str) -> str:
    if "HTTP response to HTTPS client" in text:
        return "the engine must be told that this registry has no TLS: anyarch engine up --insecure-registry"
    host, _, path = repository.partition("/")
    where, asked = EcrHost.parse(host), _ASKED.search(text)
    if where is not None and asked and not denied_action(text):  # the answer to a HEAD has no words
        text = f"not authorized to perform: {where.service}:{_NEEDED[asked['what']]}"
    status = 403 if ": 403 " in text else 0
    return advice(host, Refusal(f"/v2/{path}/manifests/", status, message=text))


def _disk_full(subject: str, text: str) -> EngineDiskFullError:
    return EngineDiskFullError(
        f"{subject}: the engine has no room left: {text}",
        hint="dagger core engine local-cache prune makes room; so does a larger disk for its state",
    )


def _marked(error: AnyarchError) -> FunctionError:
    kind = type(error).__name__
    # The SDK writes "<module>.<class>: <message>" of what it catches.
    mark: type[FunctionError] = type(kind, (FunctionError,), {"__module__": "anyarch"})
    return mark(str(error), extra={"exit_code": error.exit_code})
