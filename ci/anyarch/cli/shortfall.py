"""What it means for a run that some of its platforms were not built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyarch.cli.legs import State
from anyarch.errors import OffendersError, PartialBuildError
from anyarch.shown import in_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.cli.legs import Leg
    from anyarch.cli.orders import Order
    from anyarch.errors import AnyarchError
    from anyarch.oci.platforms import Platform


def check(legs: Sequence[Leg], order: Order) -> dict[Platform, AnyarchError]:
    """Refuse to go on without a required platform; return what is wrong with optional ones.

    Raises:
        PartialBuildError: one or more required platforms failed, and others did not.
        AnyarchError: all failed for one kind of reason; the error itself says more.
    """
    failed = [leg for leg in legs if leg.error is not None]
    required = [leg for leg in failed if leg.planned.required]
    if not required:
        return {leg.planned.platform: leg.error for leg in failed if leg.error is not None}
    errors = [leg.error for leg in required if leg.error is not None]
    platforms = [leg.planned.platform for leg in required]
    if len(required) == len(legs) and len({type(error) for error in errors}) == 1:
        raise for_all(errors, platforms)
    built = ", ".join(str(leg.planned.platform) for leg in legs if leg.state is State.DONE)
    raise PartialBuildError(
        f"{len(required)} of {len(legs)} platforms failed; nothing was merged or tagged"
        + (f"; kept: {built}" if built else ""),
        offenders=[_offender(leg) for leg in required],
        hint=f"build just what failed: {order.redo(platforms)}",
        failed=[str(platform) for platform in platforms],
        logs=[leg.log for leg in required],
        causes=[type(error).__name__ for error in errors],
    )


def _offender(leg: Leg) -> str:
    error = leg.error
    first, *rest = str(error.what if error else "").splitlines()
    also = [f"- {each}" for each in error.offenders] if isinstance(error, OffendersError) else []
    log = [f"log: {leg.log}"] if leg.log else []
    platform = f"{leg.planned.platform}: "
    return in_lines(
        "\n".join(
            [platform + first.removeprefix(platform), *(f"    {line}" for line in [*rest, *also, *log])]
        )
    )


def for_all(errors: Sequence[AnyarchError], platforms: Sequence[Platform]) -> AnyarchError:
    """One error for all platforms, because it is one trouble."""
    first = errors[0]
    if len(errors) == 1:
        return first
    others = ", ".join(map(str, platforms[1:]))
    hint = f"{first.hint}; " if first.hint else ""
    hint += f"the same kind of failure for {others}"
    if isinstance(first, OffendersError):
        return type(first)(first.what, offenders=first.offenders, hint=hint, **first.facts)
    return type(first)(first.what, hint=hint, **first.facts)
