"""How a run reaches the registry it publishes to: who it is there, and whether there is a repository."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import anyio

from anyarch.errors import AuthenticationError, FileProblemError
from anyarch.oci.reference import Repository
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.registries import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.cli.orders import Order
    from anyarch.oci.reference import Tag
    from anyarch.oci.store import Store
    from anyarch.registry.credentials import Credential
    from anyarch.registry.ecr_repository import NewRepository
    from anyarch.release.config import Config

# The shortest session that AWS gives lasts a quarter of an hour; a token asked for later is good for longer.
_GOOD_SECONDS: Final = 15 * 60.0
_POLICY_MAX_CHARACTERS: Final = (
    30_720  # https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
)


def registry_settings(config: Config, destination: str) -> RegistrySettings:
    """What anyarch.toml says of a destination's registry."""
    if destination.startswith(LAYOUT_PREFIX):
        return RegistrySettings()
    return config.registries.get(Repository.parse(destination).host, RegistrySettings())


async def check_destination(store: Store, order: Order, tags: Sequence[Tag]) -> bool:
    """Find out before a long build that images can go there; make the repository where that is wanted.

    Returns:
        Whether a repository was made.

    Raises:
        RegistryError: the registry does not answer, accepts no credentials, or has no such repository.
        FileProblemError: the lifecycle policy for a new repository cannot be read.
    """
    if order.is_layout:
        for tag in tags[:1]:
            await store.head(tag)
        return False
    from anyarch.registry.ecr_repository import require  # noqa: PLC0415  layouts need none

    wanted = await _new_repository(order)
    return await require(store, wanted, aws_profile=order.registry.aws_profile)


async def engine_credential(order: Order) -> Credential | None:
    """What an engine pushes with: it has no configuration of Docker's or AWS's to look into.

    Raises:
        AuthenticationError: none can be had, or one that is no password.
    """
    if order.is_layout:
        return None
    from anyarch.registry.credentials import find_credential  # noqa: PLC0415  layouts need none

    host = Repository.parse(order.plan.destination).host
    found = order.credential or await find_credential(host, aws_profile=order.registry.aws_profile)
    if found is not None and not found.password:
        raise AuthenticationError(
            f"docker login left an identity token for {host}, and an engine can only push with a password",
            hint="set ANYARCH_REGISTRY_USERNAME and ANYARCH_REGISTRY_PASSWORD",
            registry=host,
        )
    return found


def renewal(order: Order, credential: Credential | None) -> tuple[str, ...]:
    """The command that prints another password once this one is too old; empty where it lives for ever."""
    if order.credential is not None or credential is None or not credential.expires:
        return ()
    profile = [f"--profile={order.registry.aws_profile}"] if order.registry.aws_profile else []
    host = Repository.parse(order.plan.destination).host
    return (sys.executable, "-m", "anyarch", "login", host, *profile, "--print")


def good_until() -> int:
    """Until when a password got now is used without another question, Unix time."""
    return int(time.time() + _GOOD_SECONDS)


async def _new_repository(order: Order) -> NewRepository | None:
    settings = order.registry.create
    if settings is None:
        return None
    from anyarch.registry.ecr_repository import NewRepository  # noqa: PLC0415  few make repositories

    policy = ""
    if settings.lifecycle_policy:
        path = order.project.folder / settings.lifecycle_policy
        try:
            policy = await anyio.Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "not UTF-8"
            raise FileProblemError(
                f"lifecycle policy {path} cannot be read: {said}", path=str(path)
            ) from error
        if len(policy) > _POLICY_MAX_CHARACTERS:
            raise FileProblemError(
                f"lifecycle policy {path} has {len(policy)} characters; ECR takes {_POLICY_MAX_CHARACTERS}",
                path=str(path),
            )
    return NewRepository(
        immutable=settings.mutability == "immutable",
        exceptions=settings.exceptions,
        scan_on_push=settings.scan_on_push,
        encryption=settings.encryption,
        kms_key=settings.kms_key,
        tags=settings.tags,
        lifecycle_policy=policy,
    )
