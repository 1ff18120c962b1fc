"""The one retry layer: which failures are worth another try, how long to wait, when to give up.

Six attempts, full jitter, ``Retry-After`` in both forms, a hard deadline, and a back-off that all
requests to one host share. Nothing below or above this module retries.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.lowlevel

from anyarch.errors import AnyarchError, RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyarch.registry.requests import Request
    from anyarch.registry.urls import Origin

T = TypeVar("T")

ATTEMPTS_MAX: Final = 6
UNREACHED_HINT: Final = "is the name right, is it up, and can this machine reach it (proxy, DNS, firewall)?"
# A registry that was never reached is down or misspelt: three tries tell, and the user waits seconds.
UNREACHED_ATTEMPTS_MAX: Final = 3
UNREACHED_SECONDS_MAX: Final = 10.0  # after which no further try begins there: silence tells as much
DELAY_BASE_SECONDS: Final = 0.5
DELAY_MAX_SECONDS: Final = 20.0
RETRY_AFTER_MAX_SECONDS: Final = 60.0
# A line is slow because answers come one after another, hardly ever because of how many there are: what a
# release asks goes out in one wave, as long as no more connections than these have to be opened for it.
REQUESTS_AT_ONCE_MAX: Final = 32
UPLOADS_AT_ONCE_MAX: Final = 4  # each of them can fill the line
# Amazon ECR counts manifests put per second, account and region (10 by default), but thousands of reads:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
ECR_WRITES_AT_ONCE_MAX: Final = 4
_ECR_NAMES: Final = (".dkr.ecr", ".dkr-ecr", "public.ecr.aws", "ecr-public.")


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, so that tests can own them. All values are seconds."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    random: Callable[[], float] = random.random


class RetryableError(Exception):
    """A failure that another try may heal; never leaves this room.

    Args:
        cause: What happened, without secrets: the words of the final message.
        retry_after_seconds: What the registry asked for, if it did.
        throttled: Whether every request to this host should slow down.
        reached: Whether the registry was reached at all.
        hint: What to do if it never is, where that can be told.
        final: The error to raise when tries run out, where it says more than "unavailable".
    """

    def __init__(
        self,
        cause: str,
        *,
        retry_after_seconds: float | None = None,
        throttled: bool = False,
        reached: bool = True,
        hint: str = "",
        final: AnyarchError | None = None,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.retry_after_seconds = retry_after_seconds
        self.throttled = throttled
        self.reached = reached
        self.hint = hint
        self.final = final


class HeldBackError(RetryableError):
    """The host asked everyone to wait while this request waited for its place: it was not sent."""

    def __init__(self) -> None:
        super().__init__("the registry asks everyone to wait")


@dataclass(slots=True)
class Gate:
    """What all requests to one origin share: how many may be on their way, and until when to hold back.

    Uploads have places of their own: within one registry their bytes come through the same gate, and
    a download must not queue behind the upload that waits for it. So do writes, where a registry counts
    them more strictly than reads.
    """

    reads: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(REQUESTS_AT_ONCE_MAX))
    writes: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(REQUESTS_AT_ONCE_MAX))
    uploads: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(UPLOADS_AT_ONCE_MAX))
    name: str = ""
    closed_until: float = 0.0
    reached: bool = False
    is_waiting_told: bool = False

    @classmethod
    def of(cls, origin: Origin) -> Gate:
        """The gate of a registry that nobody has asked yet."""
        if any(name in origin.host for name in _ECR_NAMES):
            return cls(writes=anyio.Semaphore(ECR_WRITES_AT_ONCE_MAX), name=str(origin))
        return cls(name=str(origin))

    def place(self, request: Request) -> anyio.Semaphore:
        """Where a request waits for its turn."""
        if callable(request.body):
            return self.uploads
        return self.writes if request.writes else self.reads


_gates: anyio.lowlevel.RunVar[dict[Origin, Gate]] = anyio.lowlevel.RunVar("anyarch.registry.gates")


def gate_of(origin: Origin) -> Gate:
    """The gate that every store of this event loop shares for ``origin``."""
    gates = _gates.get(None)
    if gates is None:
        gates = {}
        _gates.set(gates)
    if origin not in gates:
        gates[origin] = Gate.of(origin)
    return gates[origin]


@dataclass(frozen=True, slots=True)
class Retry:
    """The policy, bound to one host's gate."""

    gate: Gate
    deadline_seconds: float = 120.0
    clock: Clock = field(default_factory=Clock)

    async def run(
        self, attempt: Callable[[], Awaitable[T]], *, subject: str, limit_seconds: float | None = None
    ) -> T:
        """Call ``attempt`` until it succeeds, fails for good, or tries or time run out.

        Args:
            attempt: Raises ``RetryableError`` where another try may help. Safe to repeat.
            subject: What is being tried, for the message.
            limit_seconds: Time for everything; the policy's deadline unless a transfer needs longer.

        Raises:
            RegistryUnavailableError: no success within the tries or the time.
        """
        patience = self.patience(subject, max(limit_seconds or 0.0, self.deadline_seconds))
        while True:
            left = await patience.next_try()
            try:
                with anyio.fail_after(left):
                    return await attempt()
            except RetryableError as error:
                patience.failed(error)
            except TimeoutError:
                raise patience.timed_out() from None

    def patience(self, subject: str, limit_seconds: float) -> Patience:
        """What is left of tries and time for something that begins now, and may take ``limit_seconds``."""
        return Patience(self, subject, limit_seconds, self.clock.now())

    def check_open(self) -> None:
        """Send nothing to a host that has asked everyone to wait.

        Raises:
            HeldBackError: it has.
        """
        if self.gate.closed_until > self.clock.now():
            raise HeldBackError


@dataclass(slots=True)
class Patience:
    """The tries of one operation: how many there were, what was slept, and when it is enough.

    Args:
        policy: By which rules.
        subject: What is being tried, for the message.
        limit_seconds: Time for everything; what is slept is bounded by the policy's deadline besides.
        started: When it began, by the policy's clock.
    """

    policy: Retry
    subject: str
    limit_seconds: float
    started: float
    slept: float = 0.0
    tries: int = 0
    _last: RetryableError | None = None

    async def next_try(self) -> float:
        """Wait until the next try is due, and count it.

        Returns:
            The seconds left for it.

        Raises:
            RegistryUnavailableError: it would come too late.
        """
        clock = self.policy.clock
        delay = max(0.0, self.policy.gate.closed_until - clock.now(), self._delay())
        left = self.limit_seconds - (clock.now() - self.started)
        if left <= 0 or delay >= min(left, self.policy.deadline_seconds - self.slept):
            raise self._given_up(late=True)
        if delay:
            await clock.sleep(delay)
            self.slept, left = self.slept + delay, left - delay
        self.tries += 1
        return left

    def failed(self, error: RetryableError) -> None:
        """Learn from a try that failed; one that was not even sent does not count.

        Raises:
            RegistryUnavailableError: it was the last.
        """
        if isinstance(error, HeldBackError):
            self.tries -= 1
            return
        self._last = error
        gate = self.policy.gate
        if error.throttled:  # the host itself, not one request, is in trouble: everyone holds back
            asked = min(error.retry_after_seconds or DELAY_BASE_SECONDS, RETRY_AFTER_MAX_SECONDS)
            gate.closed_until = max(gate.closed_until, self.policy.clock.now() + asked)
        if self.tries >= (ATTEMPTS_MAX if error.reached or gate.reached else self._unreached_tries_max()):
            raise self._given_up()

    def timed_out(self) -> AnyarchError:
        """The error for a try that took all the time there was."""
        self._last = self._no_answer()
        return self._given_up()

    def _unreached_tries_max(self) -> int:
        gone = self.policy.clock.now() - self.started
        return UNREACHED_ATTEMPTS_MAX if gone < UNREACHED_SECONDS_MAX else 1

    def _delay(self) -> float:
        if not self.tries or self._last is None:
            return 0.0
        most = min(DELAY_MAX_SECONDS, DELAY_BASE_SECONDS * 2.0 ** (self.tries - 1))
        asked = min(self._last.retry_after_seconds or 0.0, RETRY_AFTER_MAX_SECONDS)
        return max(self.policy.clock.random() * most, asked)

    def _no_answer(self) -> RetryableError:
        return RetryableError(f"no answer within {self.limit_seconds:.0f} s")

    def _given_up(self, *, late: bool = False) -> AnyarchError:
        last = self._last or self._no_answer()
        if last.final is not None:
            return last.final
        gate = self.policy.gate
        # Where nothing answers, what was asked for is of no interest.
        unreached = not last.reached and not gate.reached
        words = [f"{(unreached and gate.name) or self.subject}: {last.cause}"]
        if self.tries > 1:
            words.append(f"{self.tries} tries")
        if late:
            words.append("the next try would be past the deadline")
        hint = last.hint or UNREACHED_HINT
        if last.reached or (last.hint and gate.reached):
            hint = "the registry answers only with temporary errors; try again later"
        return RegistryUnavailableError("; ".join(words), hint=hint, tries=self.tries, cause=last.cause)


def retry_after_seconds(value: str, *, wall: float) -> float | None:
    """What a ``Retry-After`` header asks for, in seconds from ``wall``; None if it cannot be read.

    Both forms count: a number of seconds and an HTTP date (RFC 9110 §10.2.3).
    """
    value = value.strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  rare, and slow to import

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - wall)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
