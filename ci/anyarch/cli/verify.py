"""``anyarch verify``: read a published tag back and check all of it. Only ``--run`` needs engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from cyclopts import Parameter

from anyarch.cli import output, words
from anyarch.cli.access import Access
from anyarch.cli.interrupt import carry_out, interruptible
from anyarch.cli.targets import parse_target
from anyarch.errors import UsageError
from anyarch.release.verify import verify as check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyarch.cli.trials import TrialLeg, TrialOrder
    from anyarch.oci.platforms import Platform
    from anyarch.release.verify import Verification


def verify(
    ref: Annotated[str, Parameter(help="REPOSITORY:TAG, REPOSITORY@DIGEST, oci:DIR:TAG or oci:DIR@DIGEST.")],
    /,
    *,
    platform: Annotated[
        tuple[str, ...],
        Parameter(help="Platform it must hold, and no others; repeat for more. With none, any set."),
    ] = (),
    run: Annotated[
        str | None, Parameter(help="Also run this command in each platform's image; '' is the image's own.")
    ] = None,
    entrypoint: Annotated[
        str | None, Parameter(help="Program in place of the images' entrypoint; '' for none.")
    ] = None,
    engine: Annotated[
        tuple[str, ...], Parameter(help="PLATFORM=URL of an engine for --run; repeat for more.")
    ] = (),
    run_timeout: Annotated[
        str, Parameter(help="How long --run may take for one platform, pull included, such as 90s.")
    ] = "10m",
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Read an index back with everything it points at: every digest, size, platform and layer.

    --run runs each platform's image on an engine, as `docker run IMAGE COMMAND` would: the entrypoint stays
    in front, no shell takes part. Exit status 38: it failed on some platform; all of them are run.

    Example: anyarch verify registry.example.com/shop/api:1.4.2 --platform linux/amd64 --platform linux/arm64

    Example: anyarch verify registry.example.com/shop/api:1.4.2 --run "api --version"
    """
    destination, target = parse_target(ref)
    expected, access = words.platforms(platform), Access.read(insecure_registry)
    if run is None and (engine or entrypoint is not None):
        raise UsageError("--engine and --entrypoint are for --run, which is not there")
    order = _order(run, entrypoint, engine, run_timeout, access) if run is not None else None

    async def work() -> Verification:
        async with access.open(destination) as store:
            return await check(store, target, platforms=expected)

    found = carry_out(work)
    if format == "text":
        _show(found, ref)
    if order is not None:
        from anyarch.cli import trial_report  # noqa: PLC0415  only --run needs engines

        legs = _try(found, order)
        if format == "json":
            output.say_json(
                _document(found, {leg.planned.platform: trial_report.fields(leg) for leg in legs})
            )
        else:
            for line in trial_report.lines(legs, command=order.command):
                output.say(line)
        trial_report.check_passed(legs, ref=ref)
    elif format == "json":
        output.say_json(_document(found, {}))


def _order(
    command: str,
    entrypoint: str | None,
    engine: Sequence[str],
    timeout: str,
    access: Access,
) -> TrialOrder:
    """Read what is to be run, before anything is asked of the registry."""
    from anyarch.cli.trials import TrialOrder  # noqa: PLC0415  only --run needs engines
    from anyarch.release.config import parse_duration  # noqa: PLC0415
    from anyarch.release.trial import parse_command  # noqa: PLC0415

    parse_command(command)
    return TrialOrder(
        command=command,
        entrypoint=entrypoint,
        engines=words.engines(engine),
        access=access,
        timeout_seconds=parse_duration(timeout),
    )


def _try(found: Verification, order: TrialOrder) -> list[TrialLeg]:
    """Run the images; children of ours end with an interruption."""
    from anyarch.cli import trial_report  # noqa: PLC0415  only --run needs engines
    from anyarch.cli.trials import Trials  # noqa: PLC0415
    from anyarch.engine.process import GRACE_SECONDS, kill_all  # noqa: PLC0415

    trials = Trials(found, order)
    legs = anyio.run(
        lambda: interruptible(
            trials.carry_out,
            on_interrupt=lambda: output.note(
                f"stopping (up to {GRACE_SECONDS:g} s; once more kills at once)"
            ),
            on_second=lambda _: kill_all(),
            kept=trials.kept,
        )
    )
    trial_report.check_ran(legs)
    return legs


def _show(found: Verification, ref: str) -> None:
    rows = [
        [
            str(each.platform),
            each.execution or output.UNKNOWN,
            output.size(each.total_bytes),
            str(each.digest),
        ]
        for each in found.children
    ]
    output.say(f"ok {ref} is {found.digest}")
    for line in output.table(("PLATFORM", "BUILT", "SIZE", "DIGEST"), rows, right=("SIZE",)):
        output.say(line)
    if found.missing:
        output.say(f"published without {', '.join(found.missing)}, which are optional")


def _document(found: Verification, trials: Mapping[Platform, object]) -> dict[str, object]:
    return {
        "schema": 1,
        "repository": found.repository,
        "target": str(found.target),
        "digest": str(found.digest),
        "media_type": found.media_type,
        "platforms": [
            {
                "platform": str(each.platform),
                "digest": str(each.digest),
                "execution": each.execution,
                "size": each.total_bytes,
                "attestations": each.attestations,
                **({"trial": trials[each.platform]} if trials else {}),
            }
            for each in found.children
        ],
        "missing": list(found.missing),
    }
