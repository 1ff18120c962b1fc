"""``anyarch doctor aws``: who am I there, and what may I do? And the policies that allow it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import anyio
from cyclopts import Parameter

from anyarch.checks import examine
from anyarch.cli import output, words
from anyarch.cli.access import new_repository
from anyarch.cli.doctor import show
from anyarch.cli.project import Project
from anyarch.errors import UsageError
from anyarch.oci.reference import Repository
from anyarch.registry.aws_policy import Job, Making, policy, repository_policy
from anyarch.registry.aws_settings import usable
from anyarch.registry.aws_trust import Trust, ids_command, trust_policy
from anyarch.registry.credentials import left_for
from anyarch.registry.ecr_host import EcrHost
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.registries import RegistrySettings

if TYPE_CHECKING:
    from anyarch.checks import Line
    from anyarch.release.config import Config
    from anyarch.release.registries import CreateSettings

_EXAMPLE: Final = "anyarch doctor aws 123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/api"


def aws(
    repository: Annotated[
        str, Parameter(help="HOST/PATH in Amazon ECR; with none, image in anyarch.toml.")
    ] = "",
    /,
    *,
    path: Annotated[Path, Parameter(help="Folder of anyarch.toml.")] = Path(),
    job: Annotated[
        tuple[Job, ...],
        Parameter(help="What this role is for: only that is looked at, and must work; repeat."),
    ] = (),
    profile: Annotated[str, Parameter(help="AWS profile, in place of aws-profile in anyarch.toml.")] = "",
    policy_for: Annotated[
        Job | None, Parameter(name="--policy", help="Print the IAM policy for this job. Asks nobody.")
    ] = None,
    principal: Annotated[
        tuple[str, ...],
        Parameter(help="With --policy: print the repository's own, for ARN of another account; repeat."),
    ] = (),
    lifecycle: Annotated[
        bool, Parameter(help="Print a lifecycle policy for the repository that takes nothing needed.")
    ] = False,
    trust: Annotated[
        str,
        Parameter(
            name="--trust-policy",
            help="OWNER/REPO on GitHub: print the trust policy of a role for its jobs. Asks nobody.",
        ),
    ] = "",
    branch: Annotated[tuple[str, ...], Parameter(help="With --trust-policy: jobs on it; repeat.")] = (),
    tag: Annotated[tuple[str, ...], Parameter(help="With --trust-policy: jobs on it, as 'v*'; repeat.")] = (),
    environment: Annotated[tuple[str, ...], Parameter(help="With --trust-policy: jobs in it; repeat.")] = (),
    owner_id: Annotated[str, Parameter(help="With --trust-policy: the owner's number on GitHub.")] = "",
    repository_id: Annotated[str, Parameter(help="With --trust-policy: the repository's number.")] = "",
    account: Annotated[str, Parameter(help="With --trust-policy: the role's, if not the registry's.")] = "",
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Look at AWS credentials and what they allow, or print a policy. Its help is in ``doctor``."""
    if not trust and (branch or tag or environment or owner_id or repository_id or account):
        raise UsageError(
            "who may take a role on is said with --trust-policy OWNER/REPO",
            hint=f"{_EXAMPLE} --trust-policy shop/api --branch main",
        )
    if principal and policy_for is None:
        raise UsageError(
            "for which job? --principal is for --policy", hint=f"{_EXAMPLE} --policy build --principal ARN"
        )
    config = Project.load(path).config
    where, name = _destination(repository, config)
    settings = config.registries.get(where.host, RegistrySettings())
    if trust:
        allowed = Trust(
            repository=trust,
            owner_id=owner_id,
            repository_id=repository_id,
            branches=branch,
            tags=tag,
            environments=environment,
        )
        _say_trust(allowed, account or where.account, where.partition)
    elif policy_for is not None:
        output.say_json(
            repository_policy(policy_for, where, principal)
            if principal
            else policy(policy_for, where, name, _making(settings.create))
        )
    else:
        profile = profile or usable(settings.aws_profile, os.environ)
        if lifecycle:
            _propose(where, name, profile)
        else:
            lines = anyio.run(_lines, where, name, profile, job, settings.create, path)
            show(f"{where.host}/{name}", lines, format)


async def _lines(
    where: EcrHost,
    name: str,
    profile: str,
    jobs: tuple[Job, ...],
    create: CreateSettings | None,
    folder: Path,
) -> list[Line]:
    from anyarch.registry.doctor_aws import AwsDoctor  # noqa: PLC0415  policies need none of it
    from anyarch.registry.doctor_aws_repository import Wanted  # noqa: PLC0415  as above

    wanted = Wanted(
        where=where,
        path=name,
        profile=profile,
        jobs=jobs,
        before=words.USERNAME_VARIABLE if os.environ.get(words.USERNAME_VARIABLE) else "",
        before_machine="" if profile else left_for(where.host),
        create=new_repository(create, folder) if create is not None else None,
        making=_making(create),
    )
    return await examine(AwsDoctor(wanted).checks())


def _making(settings: CreateSettings | None) -> Making:
    """What repositories are made with, as far as anyarch.toml says; else whatever they can be made with."""
    if settings is None:
        return Making()
    lifecycle = bool(settings.lifecycle_policy)
    return Making(tags=bool(settings.tags), lifecycle=lifecycle, looks=lifecycle, kms_key=settings.kms_key)


def _propose(where: EcrHost, name: str, profile: str) -> None:
    """Print a lifecycle policy: the repository's own, as far as it takes nothing that is needed."""
    if where.is_public:
        raise UsageError("in ECR Public nothing expires: there are no lifecycle policies")
    from anyarch.registry.doctor_aws_lifecycle import read_lifecycle  # noqa: PLC0415  policies need none of it

    found = anyio.run(lambda: read_lifecycle(where, name, profile=profile))
    output.say_json(found.proposal())


def _say_trust(trust: Trust, account: str, partition: str) -> None:
    document = trust_policy(trust, account=account, partition=partition)
    if not trust.owner_id:
        output.note(
            f"for a repository made or renamed since the middle of 2026: {ids_command(trust.repository)}"
        )
    output.say_json(document)


def _destination(named: str, config: Config) -> tuple[EcrHost, str]:
    """The registry, and the repository's path in it."""
    wanted = named or config.image or ""
    if not wanted:
        raise UsageError("no repository is named", hint=f"{_EXAMPLE}, or image in anyarch.toml")
    if wanted.startswith(LAYOUT_PREFIX):
        raise UsageError(f"{wanted} is a directory; there is no registry to look at")
    if EcrHost.parse(wanted) is not None:
        raise UsageError(f"{wanted} names no repository", hint=_EXAMPLE)
    repository = Repository.parse(wanted)
    where = EcrHost.parse(repository.host)
    if where is None:
        from anyarch.registry.ecr_typo import meant  # noqa: PLC0415  only a failure needs it

        raise UsageError(
            f"{repository.host} is no registry of Amazon ECR",
            hint=meant(repository.host) or f"anyarch doctor registry {repository.host} looks at any registry",
        )
    return where, repository.path
