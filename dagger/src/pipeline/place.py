"""A repository to publish to: its name, its account, how to reach it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

import dagger
from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.credential import Credential
from anyarch.registry.retry import Gate, Retry
from anyarch.registry.stores import open_store
from dagger import dag

from pipeline.failures import pull_failure, push_failure

if TYPE_CHECKING:
    from anyarch.registry.stores import OpenedStore

# The engine puts the real digest in its place and writes no tag: a name without both gets ":latest".
NO_TAG: Final = f"@sha256:{'0' * 64}"
PUSH_LIMIT_SECONDS: Final = 3600.0
PULL_LIMIT_SECONDS: Final = 3600.0

_LOOPBACK: Final = ("localhost", "127.", "[::1]")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One repository of a registry, as the engine and a function inside it reach it."""

    repository: Repository
    username: str
    password: dagger.Secret | None
    insecure: bool

    @classmethod
    async def of(
        cls, repository: str, username: str, password: dagger.Secret | None, *, insecure: bool
    ) -> Self:
        """Read the words of a call. An empty user name means no credentials.

        Raises:
            UsageError: not a repository, one on localhost, or a user name without a password.
        """
        where = Repository.parse(repository)
        if where.host.startswith(_LOOPBACK):
            raise UsageError(
                f"{where}: inside an engine, {where.host} is the engine itself",
                hint="name the registry by an address that other machines would use",
            )
        if not username:
            return cls(repository=where, username="", password=None, insecure=insecure)
        if password is None:
            raise UsageError("--username without --password", hint="--password=env:NAME reads it from NAME")
        return cls(repository=where, username=username, password=password, insecure=insecure)

    async def credential(self, _: Credential | None = None) -> Credential | None:
        """What the password's source says now: a file or command may know another one than at the start."""
        if self.password is None:
            return None
        # A password from a file or a command ends with the line's end.
        plain = (await self.password.plaintext()).rstrip("\r\n")
        return Credential(username=self.username, password=plain)

    def store(self) -> "OpenedStore":
        """The repository behind the library's own client; use it as ``async with``."""
        insecure = [self.repository.host] if self.insecure else []
        source = self.credential if self.password is not None else None
        return open_store(str(self.repository), insecure=insecure, credential=source)

    async def _signed_in(self, container: dagger.Container) -> dagger.Container:
        """The container with the credential of this moment: a build may outlast the one it began with."""
        credential = await self.credential()
        if credential is None:
            return container
        password = dag.set_secret(f"registry-password-{uuid4().hex}", credential.password)
        return container.with_registry_auth(self.repository.host, credential.username, password)

    async def push(self, container: dagger.Container) -> Digest:
        """Have the engine push an image by its digest, with no tag; faults that pass are tried again.

        The engine hardly retries by itself. Repeating is safe: it asks for every blob first and sends
        only what is missing.

        Raises:
            RegistryError: the registry refused, or did not recover in time.
        """

        async def attempt() -> str:
            ready = await self._signed_in(container)
            try:
                return await ready.publish(f"{self.repository}{NO_TAG}")
            except dagger.QueryError as error:
                raise push_failure(error, repository=str(self.repository)) from error

        subject = f"pushing to {self.repository}"
        published = await Retry(Gate()).run(attempt, subject=subject, limit_seconds=PUSH_LIMIT_SECONDS)
        return Digest.parse(published.rpartition("@")[2])

    async def pull(self, target: Digest | Tag, platform: Platform) -> dagger.Container:
        """Have the engine pull one platform's image, now; faults that pass are tried again.

        Raises:
            RegistryError: the registry refused, or did not recover in time.
        """
        container = dag.container(platform=dagger.Platform(str(platform)))
        address = f"{self.repository}{'@' if isinstance(target, Digest) else ':'}{target}"

        async def attempt() -> dagger.Container:
            ready = await self._signed_in(container)
            try:
                return await ready.from_(address).sync()
            except dagger.QueryError as error:
                raise pull_failure(error, repository=str(self.repository)) from error

        subject = f"pulling from {self.repository}"
        return await Retry(Gate()).run(attempt, subject=subject, limit_seconds=PULL_LIMIT_SECONDS)
