"""A repository to publish to: its name, its account, how to reach it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import dagger
from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.credentials import Credential
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
    credential: Credential | None
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
            return cls(repository=where, username="", password=None, credential=None, insecure=insecure)
        if password is None:
            raise UsageError("--username without --password", hint="--password=env:NAME reads it from NAME")
        # A password from a file or a command ends with the line's end.
        plain = (await password.plaintext()).rstrip("\r\n")
        credential = Credential(username=username, password=plain)
        return cls(
            repository=where, username=username, password=password, credential=credential, insecure=insecure
        )

    def store(self) -> "OpenedStore":
        """The repository behind the library's own client; use it as ``async with``."""
        insecure = [self.repository.host] if self.insecure else []
        return open_store(str(self.repository), insecure=insecure, credential=self.credential)

    async def push(self, container: dagger.Container) -> Digest:
        """Have the engine push an image by its digest, with no tag; faults that pass are tried again.

        The engine hardly retries by itself. Repeating is safe: it asks for every blob first and sends
        only what is missing.

        Raises:
            RegistryError: the registry refused, or did not recover in time.
        """
        if self.password is not None:
            container = container.with_registry_auth(self.repository.host, self.username, self.password)

        async def attempt() -> str:
            try:
                return await container.publish(f"{self.repository}{NO_TAG}")
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
        if self.password is not None:
            container = container.with_registry_auth(self.repository.host, self.username, self.password)
        address = f"{self.repository}{'@' if isinstance(target, Digest) else ':'}{target}"

        async def attempt() -> dagger.Container:
            try:
                return await container.from_(address).sync()
            except dagger.QueryError as error:
                raise pull_failure(error, repository=str(self.repository)) from error

        subject = f"pulling from {self.repository}"
        return await Retry(Gate()).run(attempt, subject=subject, limit_seconds=PULL_LIMIT_SECONDS)
