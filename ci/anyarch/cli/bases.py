"""Base images in Amazon ECR: a Dagger client shows an engine what Docker's configuration holds, no more."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.cli.output import note
from anyarch.cli.regular import read_regular
from anyarch.errors import AnyarchError
from anyarch.oci.reference import Repository
from anyarch.registry.docker_login import lend
from anyarch.registry.ecr_host import hosts_in
from anyarch.release.parallel import in_parallel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyarch.cli.access import Access
    from anyarch.cli.orders import Order
    from anyarch.cli.project import Project
    from anyarch.registry.credential import Credential
    from anyarch.release.config import BuildSettings

_DOCKERFILE_MAX_BYTES: Final = 1024 * 1024


@asynccontextmanager
async def shown(order: Order) -> AsyncIterator[Path | None]:
    """A folder to be the client's ``DOCKER_CONFIG``: the user's own, with passwords for what FROM names.

    None where it names no registry of Amazon's, or Docker's configuration has all that there is.
    """
    found = await passwords(order.project, order.plan.build, partial(_account, order))
    if not found:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="anyarch-docker-") as folder:  # readable by us alone
        lend(Path(folder), found)
        yield Path(folder)


async def passwords(
    project: Project, build: BuildSettings, account: Callable[[str], Awaitable[Credential | None]]
) -> dict[str, Credential]:
    """What AWS gives for the registries of Amazon's that a Dockerfile names, by host.

    Args:
        project: Whose Dockerfile.
        build: Which one, and its arguments.
        account: Who we are at a host.
    """
    found: dict[str, Credential] = {}
    text = ""
    with suppress(OSError):  # whether there is one is asked elsewhere
        path = project.context / build.dockerfile
        text = read_regular(path, _DOCKERFILE_MAX_BYTES).decode(errors="replace")

    async def ask(host: str) -> None:
        try:
            credential = await account(host)
        except AnyarchError as error:  # it may be a stage that is not built
            note(f"{host}, which the Dockerfile names: {error.what}")
            return
        if credential is not None and credential.password and credential.expires:
            found[host] = credential

    await in_parallel([partial(ask, host) for host in sorted(hosts_in(text, build.args))])
    return found


async def _account(order: Order, host: str) -> Credential | None:
    destination = order.plan.destination
    if not order.is_layout and Repository.parse(destination).host == host:
        return await order.access.account(destination)
    return await of_aws(order.access, host)


async def of_aws(access: Access, host: str) -> Credential | None:
    """Who we are at a registry that is no destination.

    Raises:
        AuthenticationError: none can be had.
    """
    from anyarch.registry.credentials import find_credential  # noqa: PLC0415  most Dockerfiles need none

    return await find_credential(host, aws_profile=access.of(f"{host}/any").aws_profile)
