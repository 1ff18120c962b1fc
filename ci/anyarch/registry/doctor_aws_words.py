"""What the AWS doctor says of what it was told. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from anyarch.checks import Line
from anyarch.registry.aws_denial import elsewhere
from anyarch.registry.aws_policy import TOKEN, statement, token_statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anyarch.checks import Verdict
    from anyarch.registry.aws_identity import Session, Who
    from anyarch.registry.aws_policy import Job, Needs
    from anyarch.registry.ecr_host import EcrHost
    from anyarch.registry.ecr_probe import Answer, Permission

_SKEW_WARNING_SECONDS: Final = 30.0
_SHORT_SECONDS: Final = 15 * 60.0
_MINUTE: Final = 60.0


def identity_line(who: Who, where: EcrHost) -> Line:
    """Who it is, and whether the registry is their own account's."""
    found = f"{who.arn} ({who.policy_holder})" if who.arn else "AWS does not say"
    if where.is_public or who.account in {"", where.account}:
        return Line(name="identity", verdict="ok", found=found)
    return Line(
        name="identity",
        verdict="warn",
        found=f"{found}; the registry is another account's, {where.account}",
        advice="what is allowed here must be allowed in the repository's own policy there as well: "
        "anyarch doctor aws --policy JOB --principal ARN prints it",
    )


def clock_line(skew: float | None) -> Line:
    """How far this machine's clock is from AWS's.

    Args:
        skew: Seconds that it is ahead; None if AWS did not say.
    """
    if skew is None:
        return Line(name="clock", verdict="unknown", found="AWS did not say what time it is")
    if abs(skew) <= _SKEW_WARNING_SECONDS:
        return Line(name="clock", verdict="ok", found=f"within {max(1.0, abs(skew)):.0f} s of AWS's")
    side = "ahead of" if skew > 0 else "behind"
    return Line(
        name="clock",
        verdict="warn",
        found=f"this machine is {abs(skew):.0f} s {side} AWS, which refuses every signature from 5 min on",
        advice="set the clock: timedatectl set-ntp true",
    )


def session_line(session: Session, *, now: float) -> Line:
    """Where the credentials are from, and how long they last.

    Args:
        session: As far as it is known.
        now: Unix time.
    """
    found = f"from {session.source}"
    if not session.temporary:
        return Line(
            name="session",
            verdict="warn",
            found=f"{found}; keys of a user, which have no end",
            advice="a role by OIDC or SSO leaves nothing behind that could be stolen; see docs/ecr-setup.md",
        )
    if session.ends_at is None:
        return Line(
            name="session",
            verdict="unknown",
            found=f"{found}; a session, whose end only whoever began it knows",
            advice="once it has ended there is no other password: a profile (aws sso login) renews itself, "
            "in GitHub Actions AWS_ROLE_ARN does, or ask for longer: role-duration-seconds",
        )
    left = session.ends_at - now
    at = datetime.fromtimestamp(session.ends_at, UTC)
    found += f"; ends {at:%Y-%m-%d %H:%M} UTC, in {left / _MINUTE:.0f} min"
    if session.renews:
        return Line(name="session", verdict="ok", found=f"{found}, and is renewed")
    if left > _SHORT_SECONDS:
        return Line(name="session", verdict="ok", found=found)
    return Line(
        name="session",
        verdict="warn",
        found=found,
        advice="a build that takes longer cannot push: begin a new session first",
    )


def region_line(configured: str, where: EcrHost) -> Line:
    """Whether the tools of AWS would ask where the registry is."""
    if where.is_public:
        found = f"{where.region}: ECR Public has no other for its passwords"
        return Line(name="region", verdict="ok", found=found)
    if configured in {"", where.region}:
        said = "as configured" if configured else "from the registry's name; none is configured"
        return Line(name="region", verdict="ok", found=f"{where.region}, {said}")
    return Line(
        name="region",
        verdict="warn",
        found=f"the registry is in {where.region}, and the configured region is {configured}",
        advice=f"anyarch asks {where.region}; commands of aws need --region {where.region}",
    )


def job_line(
    job: Job,
    asked: Mapping[str, Permission],
    where: EcrHost,
    path: str,
    *,
    wanted: Needs,
    holder: str,
    required: bool,
) -> Line:
    """Whether a job can be done, and the statement that is missing.

    Args:
        job: Which one.
        asked: What was found out about each action that it needs.
        where: The registry.
        path: The repository.
        wanted: The actions that it needs.
        holder: What a policy is attached to, in words.
        required: Whether it is a failure that it cannot be done.
    """

    def having(answer: Answer, actions: Iterable[str]) -> list[str]:
        return [each for each in actions if asked[each].answer == answer]

    needed = (TOKEN, *wanted.needed)
    denied, missing = having("denied", (TOKEN, *wanted.all)), having("denied", needed)
    parts = {
        "allowed": having("allowed", (TOKEN, *wanted.all)),
        "not allowed": denied,
        "cannot be told without doing it": having("unknown", (TOKEN, *wanted.all)),
    }
    verdict: Verdict = "unknown" if having("unknown", needed) else "ok"
    if missing:
        verdict = "fail" if required else "warn"
    found = "; ".join(f"{said}: {', '.join(actions)}" for said, actions in parts.items() if actions)
    advice = shown = ""
    if denied:
        better = "" if missing else "it works without; better: "
        add, statements = f"{better}add to the policy of {holder}:", _statements(denied, where, path)
        also = "".join(f"; {each}" for each in _elsewhere(denied, asked))
        advice = f"{add} {', '.join(json.dumps(each) for each in statements)}{also}"
        shown = "\n".join([add, *json.dumps(statements, indent=2).splitlines()[1:-1]]) + also
    elif verdict == "unknown":
        advice = f"anyarch doctor aws {where.host}/{path} --policy {job} shows what it needs"
    return Line(name=job, verdict=verdict, found=found, advice=advice, shown=shown)


def _statements(denied: list[str], where: EcrHost, path: str) -> list[dict[str, object]]:
    """The least that allows them, as it stands in a policy."""
    wanted = [token_statement(where)] if TOKEN in denied else []
    if actions := [each for each in denied if each != TOKEN]:
        wanted.append(statement(actions, where, path))
    return wanted


def _elsewhere(denied: list[str], asked: Mapping[str, Permission]) -> list[str]:
    """Where else; each place once."""
    return list(dict.fromkeys(filter(None, (elsewhere(asked[each].words) for each in denied))))
