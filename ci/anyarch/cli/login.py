"""``anyarch login``: let docker, crane, skopeo and the others in, too."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter

from anyarch.cli import output, words
from anyarch.cli.access import Access, config_in
from anyarch.errors import AuthenticationError, UsageError
from anyarch.oci.reference import Repository
from anyarch.registry.aws_settings import usable
from anyarch.release.config import Config
from anyarch.release.registries import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.registry.credential import Credential


def login(
    registry: Annotated[str, Parameter(help="HOST or HOST:PORT, such as public.ecr.aws.")] = "",
    /,
    *,
    username: Annotated[str, Parameter(help="Who; for Amazon ECR, AWS says it.")] = "",
    password_stdin: Annotated[bool, Parameter(help="Read the password from standard input.")] = False,
    profile: Annotated[
        str | None,
        Parameter(help="AWS profile to ask for an Amazon ECR token with; anyarch.toml's if left out."),
    ] = None,
    print_: Annotated[
        bool, Parameter(name="--print", help="Print the password and store nothing, for another tool.")
    ] = False,
    bases: Annotated[
        Path | None,
        Parameter(help="In place of REGISTRY: all of Amazon's that the Dockerfile in this folder names."),
    ] = None,
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
) -> None:
    """Log in as docker login does: check the credential, then store it where docker looks for it.

    For Amazon ECR the password is asked of AWS, with the credentials of the environment, a profile, SSO or
    a role. anyarch itself needs no login there. Passwords are never arguments.

    Example: anyarch login 123456789012.dkr.ecr.eu-west-1.amazonaws.com
    """
    if (bases is None) is not bool(registry):
        raise UsageError("one of REGISTRY and --bases FOLDER", hint="anyarch login --help")
    if bases is not None:
        anyio.run(_bases, bases)
        return
    host = _host(registry)
    # Where a profile is named, nothing of anyarch.toml counts: Amazon's registries always speak TLS.
    config = config_in() if profile is None else Config()
    insecure = words.insecure_hosts(insecure_registry, config.insecure_registries)
    configured = usable(config.registries.get(host, RegistrySettings()).aws_profile, os.environ)
    given = _given(username, password_stdin=password_stdin)
    credential = anyio.run(_checked, host, given, profile or configured, insecure)
    if print_:
        # A line's end would be part of the password for those who read to the end of the file.
        sys.stdout.write(credential.password + ("\n" if sys.stdout.isatty() else ""))
        return
    _leave(host, credential)


async def _bases(folder: Path) -> None:
    """Log in to what a Dockerfile names, for a dagger call by hand; a run does without."""
    from anyarch.cli.bases import of_aws, passwords  # noqa: PLC0415  others need none
    from anyarch.cli.project import Project  # noqa: PLC0415

    project = Project.load(folder)
    access = Access.told(project.config, folder=folder)
    found = await passwords(project, project.config.build, partial(of_aws, access))
    for host, credential in found.items():
        try:
            _leave(host, credential)
        except AuthenticationError as error:  # a helper that stores nothing asks AWS itself
            output.note(str(error))


def _leave(host: str, credential: Credential) -> None:
    from anyarch.registry.docker_login import leave  # noqa: PLC0415  --print stores nothing

    where = leave(host, credential)
    output.say(f"logged in to {host} as {credential.username}; the password is {where}{_end(credential)}")


def _host(word: str) -> str:
    """The registry, out of a host, a URL or a repository.

    Raises:
        UsageError: none of them.
    """
    bare = word.removeprefix("https://").rstrip("/")
    return Repository.parse(bare if "/" in bare else f"{bare}/any").host


def _given(username: str, *, password_stdin: bool) -> Credential | None:
    """User name and password as the flags, the environment or a terminal give them; None: ask AWS."""
    if not username and not password_stdin:
        return words.credential_from(os.environ)
    if not username:
        raise UsageError("--password-stdin without --username")
    if password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    elif sys.stdin.isatty():
        import getpass  # noqa: PLC0415  only people type passwords

        password = getpass.getpass(f"Password of {username}: ")
    else:
        password = os.environ.get(words.PASSWORD_VARIABLE, "")
    if not password:
        raise UsageError(
            f"no password for {username}",
            hint=f"--password-stdin reads it from standard input, {words.PASSWORD_VARIABLE} may hold it",
        )
    from anyarch.registry.credential import Credential  # noqa: PLC0415  --help needs none

    return Credential(username, password)


async def _checked(host: str, given: Credential | None, profile: str, insecure: Sequence[str]) -> Credential:
    """The credential, after the registry has accepted it."""
    from anyarch.registry.client import Client, Options  # noqa: PLC0415  --help needs none
    from anyarch.registry.requests import Request  # noqa: PLC0415

    credential = given or await _from_aws(host, profile)
    client = Client(host, Options(credential=credential, insecure=insecure))
    try:
        request = Request(method="GET", url=client.url(""), kind="manifest")
        await client.call(request, _ignore, scopes=frozenset(), subject=host)
    finally:
        await client.aclose()
    return credential


async def _ignore(_: object) -> None:
    """The answer's status has said it all."""


async def _from_aws(host: str, profile: str) -> Credential:
    from anyarch.registry.ecr_host import EcrHost  # noqa: PLC0415  others need none
    from anyarch.registry.ecr_typo import meant  # noqa: PLC0415  as above

    where = EcrHost.parse(host)
    if where is None and (hint := meant(host)):
        raise UsageError(f"{host} is no registry of Amazon ECR", hint=hint)
    if where is None:
        raise UsageError(
            f"who are you at {host}? Neither --username nor {words.USERNAME_VARIABLE} says it",
            hint=f"anyarch login {host} --username NAME --password-stdin",
        )
    from anyarch.registry import ecr  # noqa: PLC0415  as above

    return await ecr.account(where, profile=profile).credential()


def _end(credential: Credential) -> str:
    if not credential.expires:
        return ""
    return f"; good until {datetime.fromtimestamp(credential.expires_at, UTC):%H:%M} UTC"
