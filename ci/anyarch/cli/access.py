"""How a command reaches registries: who it is there, and whether there is a repository to publish to."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyarch.cli import output, words
from anyarch.cli.regular import read_regular
from anyarch.errors import AuthenticationError, FileProblemError
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.aws_settings import usable
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.places import open_stores
from anyarch.registry.stores import open_store
from anyarch.release.config import CONFIG_NAME, LAYOUT_PREFIX, Config
from anyarch.release.registries import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from anyarch.cli.orders import Order
    from anyarch.oci.store import Store
    from anyarch.registry.credential import Credential
    from anyarch.registry.ecr_repository import NewRepository
    from anyarch.registry.stores import OpenedStore
    from anyarch.release.registries import CreateSettings

_ANY_TAG: Final = Tag("latest")
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutLifecyclePolicy.html
_POLICY_MIN_CHARACTERS, _POLICY_MAX_CHARACTERS = 100, 30_720


@dataclass(frozen=True, kw_only=True)
class Access:
    """What flags, the environment and anyarch.toml say of the way to registries.

    Args:
        insecure: Registries without TLS.
        credential: What the environment gives, for one registry; None: what ``docker login`` left counts.
        registries: The settings of each registry, by its host.
        folder: Where anyarch.toml is, and files that it names.
    """

    insecure: tuple[str, ...] = ()
    credential: Credential | None = None
    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    folder: Path = Path()

    @classmethod
    def read(cls, insecure: Iterable[str] = (), folder: Path = Path()) -> Access:
        """Read it all.

        Args:
            insecure: ``--insecure-registry``.
            folder: Where anyarch.toml may be; without one, nothing is configured.

        Raises:
            ConfigError: the file says something that cannot be.
            FileProblemError: it cannot be read.
            UsageError: a user name without a password.
        """
        return cls.told(config_in(folder), insecure, folder)

    @classmethod
    def told(cls, config: Config, insecure: Iterable[str] = (), folder: Path = Path()) -> Access:
        """The same with an anyarch.toml that was read already.

        Raises:
            UsageError: a user name without a password.
        """
        return cls(
            insecure=words.insecure_hosts(insecure, config.insecure_registries),
            credential=words.credential_from(os.environ),
            registries=_here(config.registries),
            folder=folder,
        )

    def of(self, destination: str) -> RegistrySettings:
        """What anyarch.toml says of a destination's registry."""
        if destination.startswith(LAYOUT_PREFIX):
            return RegistrySettings()
        return self.registries.get(Repository.parse(destination).host, RegistrySettings())

    def open(self, destination: str) -> OpenedStore:
        """The store of a destination; use it as ``async with``.

        Raises:
            UsageError: it is none.
        """
        return open_store(
            destination,
            insecure=self.insecure,
            credential=self.credential,
            aws_profile=self.of(destination).aws_profile,
            waiting=_waiting,
        )

    async def account(self, destination: str) -> Credential | None:
        """Who we are at a registry; None for nobody in particular.

        Raises:
            AuthenticationError: none can be had.
        """
        if self.credential is not None:
            return self.credential
        from anyarch.registry.credentials import find_credential  # noqa: PLC0415  layouts need none

        host = Repository.parse(destination).host
        return await find_credential(host, aws_profile=self.of(destination).aws_profile)

    async def make_missing(self, store: Store, destination: str) -> bool:
        """Find out that there is a repository to write to; make it where anyarch.toml says how.

        Returns:
            Whether it was made.

        Raises:
            NotFoundError: it is missing, and not to be made.
            RegistryError: the registry does not answer, or accepts no credentials.
            FileProblemError: the lifecycle policy for a new repository cannot be read.
        """
        from anyarch.registry.ecr_repository import require  # noqa: PLC0415  layouts need none

        settings = self.of(destination)
        wanted = new_repository(settings.create, self.folder) if settings.create else None
        return await require(store, wanted, aws_profile=settings.aws_profile, warn=output.note)

    def open_all(
        self, destination: str, others: Iterable[str]
    ) -> AbstractAsyncContextManager[Mapping[str, OpenedStore]]:
        """The destination and other places, by the words that named them. Each has an account of its own.

        Raises:
            UsageError: one of them is no destination.
        """
        return open_stores(
            destination,
            others,
            insecure=self.insecure,
            credential=self.credential,
            profiles={host: settings.aws_profile for host, settings in self.registries.items()},
            waiting=_waiting,
        )


def _waiting(host: str) -> None:
    output.note(f"waiting for {host}: it has not answered yet")


def _here(registries: Mapping[str, RegistrySettings]) -> Mapping[str, RegistrySettings]:
    """What the file says of registries, with the AWS profiles that count on this machine."""
    return {
        host: replace(settings, aws_profile=usable(settings.aws_profile, os.environ))
        for host, settings in registries.items()
    }


def config_in(folder: Path = Path()) -> Config:
    """What a folder's anyarch.toml says; without one, nothing is configured.

    Raises:
        ConfigError: it says something that cannot be.
        FileProblemError: it cannot be read.
    """
    if not os.path.lexists(folder / CONFIG_NAME):
        return Config()
    from anyarch.cli.project import Project  # noqa: PLC0415  most folders have none

    return Project.load(folder).config


async def check_destination(store: Store, destination: str, access: Access) -> bool:
    """Find out before a long build that images can go there; make the repository where that is wanted.

    Returns:
        Whether a repository was made.

    Raises:
        RegistryError: the registry does not answer, accepts no credentials, or has no such repository.
        FileProblemError: the lifecycle policy for a new repository cannot be read.
    """
    if destination.startswith(LAYOUT_PREFIX):
        await store.head(_ANY_TAG)
        return False
    return await access.make_missing(store, destination)


async def engine_credential(order: Order) -> Credential | None:
    """What an engine pushes with: it has no configuration of Docker's or AWS's to look into.

    Raises:
        AuthenticationError: none can be had, or one that is no password.
    """
    if order.is_layout:
        return None
    found = await order.access.account(order.plan.destination)
    if found is not None and not found.password:
        host = Repository.parse(order.plan.destination).host
        raise AuthenticationError(
            f"docker login left an identity token for {host}, and an engine can only push with a password",
            hint="set ANYARCH_REGISTRY_USERNAME and ANYARCH_REGISTRY_PASSWORD",
            registry=host,
        )
    return found


def renewal(order: Order) -> tuple[str, ...]:
    """The command that asks AWS for another password once the registry refuses the first; empty elsewhere."""
    host = Repository.parse(order.plan.destination).host
    if order.access.credential is not None or EcrHost.parse(host) is None:
        return ()
    # Also an empty profile is named: what is configured where the engine's client runs must not count.
    profile = f"--profile={order.access.of(order.plan.destination).aws_profile}"
    return (sys.executable, "-m", "anyarch", "login", host, profile, "--print")


def new_repository(settings: CreateSettings, folder: Path) -> NewRepository:
    """What a missing repository is made with.

    Args:
        settings: Of its registry.
        folder: Where files are that they name.

    Raises:
        FileProblemError: the lifecycle policy cannot be read, or is too long.
    """
    from anyarch.registry.ecr_repository import NewRepository  # noqa: PLC0415  few make repositories

    policy = _policy(folder / settings.lifecycle_policy) if settings.lifecycle_policy else ""
    return NewRepository(
        immutable=settings.mutability == "immutable",
        exceptions=settings.exceptions,
        scan_on_push=settings.scan_on_push,
        encryption=settings.encryption,
        kms_key=settings.kms_key,
        tags=settings.tags,
        lifecycle_policy=policy,
        lifecycle_file=str(folder / settings.lifecycle_policy),
    )


def _policy(path: Path) -> str:
    """A lifecycle policy, as far as it can be judged before there is a repository to give it to."""
    try:
        text = read_regular(path, 4 * _POLICY_MAX_CHARACTERS + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "not UTF-8"
        raise FileProblemError(f"lifecycle policy {path} cannot be read: {said}", path=str(path)) from error
    if not _POLICY_MIN_CHARACTERS <= len(text) <= _POLICY_MAX_CHARACTERS:
        limits = f"{_POLICY_MIN_CHARACTERS} to {_POLICY_MAX_CHARACTERS}"
        raise FileProblemError(
            f"lifecycle policy {path} has {len(text)} characters; ECR takes {limits}", path=str(path)
        )
    return text
