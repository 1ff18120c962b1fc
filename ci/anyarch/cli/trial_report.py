"""What the trials of a release said, for people and for programs, and whether that is a failure."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from anyarch.cli.output import seconds, table
from anyarch.cli.shortfall import for_all
from anyarch.errors import TrialFailedError
from anyarch.shown import in_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.cli.trials import TrialLeg

SHOWN_LINES: Final = 20
_SIGNALLED: Final = 128  # shells report death by signal N as 128 + N


def lines(legs: Sequence[TrialLeg], *, command: str) -> list[str]:
    """A table of how each platform ended, then the end of what each said."""
    rows = [
        [
            str(leg.planned.platform),
            leg.trial.execution if leg.trial else "not run",
            str(leg.trial.exit_code) if leg.trial else "-",
            seconds(leg.trial.seconds) if leg.trial else "-",
            leg.engine,
        ]
        for leg in legs
    ]
    head = ("PLATFORM", "RAN", "EXIT", "SECONDS", "ENGINE")
    title = f"ran {command}" if command else "ran each image's own command"
    said = [line for leg in legs for line in _said(leg)]
    return ["", title, *table(head, rows, right=("EXIT", "SECONDS")), *said]


def fields(leg: TrialLeg) -> dict[str, object]:
    """A trial for programs: what is not known, because nothing was run, is null."""
    trial = leg.trial
    return {
        "engine": leg.engine,
        "execution": trial.execution if trial else None,
        "exit_code": trial.exit_code if trial else None,
        "seconds": trial.seconds if trial else None,
        "stdout": trial.stdout if trial else None,
        "output": trial.output if trial else None,
        "omitted": trial.omitted if trial else None,
        "error": type(leg.error).__name__ if leg.error else None,
        "message": leg.error.what if leg.error else None,
    }


def check_ran(legs: Sequence[TrialLeg]) -> None:
    """Refuse trials that one and the same trouble kept from running at all.

    Raises:
        AnyarchError: that trouble, such as an engine that does not answer.
    """
    errors = [leg.error for leg in legs if leg.error is not None]
    if errors and len(errors) == len(legs) and len({type(error) for error in errors}) == 1:
        raise for_all(errors, [leg.planned.platform for leg in legs])


def check_passed(legs: Sequence[TrialLeg], *, ref: str) -> None:
    """Refuse a release in which the command failed.

    Raises:
        TrialFailedError: it did; every platform is listed.
    """
    failed = [leg for leg in legs if not leg.passed]
    if failed:
        ran = any(leg.trial is not None for leg in failed)
        raise TrialFailedError(
            f"{ref}: the command did not succeed on {len(failed)} of {len(legs)} platforms",
            offenders=[_offender(leg) for leg in legs],
            hint="manifests, configs and layers are as they should be; what they run is not" if ran else "",
            failed=[str(leg.planned.platform) for leg in failed],
        )


def _offender(leg: TrialLeg) -> str:
    platform = f"{leg.planned.platform}: "
    if leg.trial is not None:
        return f"{platform}{_ending(leg.trial.exit_code)}, {leg.trial.execution}"
    first, *rest = (str(leg.error) if leg.error else "not run").splitlines()
    return in_lines("\n".join([platform + first.removeprefix(platform), *(f"    {line}" for line in rest)]))


def _ending(code: int) -> str:
    if code == 0:
        return "ok"
    name = ""
    with suppress(ValueError):
        name = f" ({signal.Signals(code - _SIGNALLED).name})"
    return f"exit code {code}{name}"


def _said(leg: TrialLeg) -> list[str]:
    if leg.trial is None:
        return []
    said = leg.trial.output.replace("\r\n", "\n").splitlines()
    more = leg.trial.omitted or len(said) > SHOWN_LINES
    shown = [*(["…"] if more else []), *said[-SHOWN_LINES:]]
    return [
        "",
        f"{leg.planned.platform} said{':' if said else ' nothing'}",
        *(f"    {each}" for each in shown),
    ]
