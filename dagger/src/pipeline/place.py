"""A repository to publish to: its name, its account, how to reach it."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

import dagger
from anyarch.errors import AuthenticationError, DeniedError, NotFoundError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Repository, Tag
from anyarch.registry.credential import Credential
from anyarch.registry.retry import Gate, Retry, RetryableError
from anyarch.registry.stores import open_store
from dagger import dag

from pipeline.failures import pull_failure, push_failure

if TYPE_CHECKING:
    from anyarch.oci.store import Store
    from anyarch.registry.stores import OpenedStore

# The engine puts the real digest in its place and writes no tag: a name without both gets ":latest".
NO_TAG: Final = f"@sha256:{'0' * 64}"
PUSH_LIMIT_SECONDS: Final = 3600.0
PULL_LIMIT_SECONDS: Final = 3600.0
_ABSENT: Final = Digest.of(b"an image that nobody has pushed")

_LOOPBACK: Final = ("localhost", "127.", "[::1]")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One repository of a registry, as the engine and a function inside it reach it.

    ``another`` is where a password is once the registry has refused the first; without it, that one's source
    is asked again, which may know another by then.
    """

    repository: Repository
    username: str
    password: dagger.Secret | None
    insecure: bool
    another: dagger.Secret | None = None
    _refused: set[str] = field(default_factory=set, repr=False)

    @classmethod
    async def of(
        cls,
        repository: str,
        username: str,
        password: dagger.Secret | None,
        *,
        insecure: bool,
        another: dagger.Secret | None = None,
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
        return cls(repository=where, username=username, password=password, insecure=insecure, another=another)

    async def credential(self, refused: Credential | None = None) -> Credential | None:
        """What the password's source says now: a file or command may know another one than at the start."""
        if self.password is None:
            return None
        if refused is not None:
            self._refused.add(refused.password)
        plain = await _plain(self.password)
        if plain in self._refused and self.another is not None:
            with suppress(dagger.QueryError):  # why there is none, the command itself says
                plain = await _plain(self.another)
        return Credential(username=self.username, password=plain)

    def store(self) -> "OpenedStore":
        """The repository behind the library's own client; use it as ``async with``."""
        insecure = [self.repository.host] if self.insecure else []
        source = self.credential if self.password is not None else None
        return open_store(str(self.repository), insecure=insecure, credential=source)

    def _signed_in(self, container: dagger.Container, credential: Credential | None) -> dagger.Container:
        if credential is None:
            return container
        password = dag.set_secret(f"registry-password-{uuid4().hex}", credential.password)
        return container.with_registry_auth(self.repository.host, credential.username, password)

    async def push(self, container: dagger.Container, store: "Store") -> Digest:
        """Have the engine push an image by its digest, with no tag; faults that pass are tried again.

        So is a push that the registry refuses because the password has expired meanwhile.

        The engine hardly retries by itself. Repeating is safe: it asks for every blob first and sends
        only what is missing.

        Raises:
            RegistryError: the registry refused, or did not recover in time.
        """

        async def attempt() -> str:
            shown = await self.credential()  # of this moment: a build may outlast the one it began with
            try:
                return await self._signed_in(container, shown).publish(f"{self.repository}{NO_TAG}")
            except dagger.QueryError as error:
                failure = push_failure(error, repository=str(self.repository))
                if isinstance(failure, AuthenticationError | DeniedError):
                    await self._ask_why(store, shown)
                raise failure from error

        subject = f"pushing to {self.repository}"
        published = await Retry(Gate()).run(attempt, subject=subject, limit_seconds=PUSH_LIMIT_SECONDS)
        return Digest.parse(published.rpartition("@")[2])

    async def _ask_why(self, store: "Store", shown: Credential | None) -> None:
        """Ask the registry itself, which tells a GET what it does not tell the engine's HEAD.

        Raises:
            RetryableError: it has another password by now.
            RegistryError: the credential is no good, and why.
        """
        with suppress(NotFoundError):
            await store.get(_ABSENT)
        now = await self.credential()
        if now != shown:
            raise RetryableError("the password has expired")

    async def pull(self, target: Digest | Tag, platform: Platform) -> dagger.Container:
        """Have the engine pull one platform's image, now; faults that pass are tried again.

        Raises:
            RegistryError: the registry refused, or did not recover in time.
        """
        container = dag.container(platform=dagger.Platform(str(platform)))
        address = f"{self.repository}{'@' if isinstance(target, Digest) else ':'}{target}"

        async def attempt() -> dagger.Container:
            ready = self._signed_in(container, await self.credential())
            try:
                return await ready.from_(address).sync()
            except dagger.QueryError as error:
                raise pull_failure(error, repository=str(self.repository)) from error

        subject = f"pulling from {self.repository}"
        return await Retry(Gate()).run(attempt, subject=subject, limit_seconds=PULL_LIMIT_SECONDS)


async def _plain(secret: dagger.Secret) -> str:
    """A password from a file or a command ends with the line's end."""
    return (await secret.plaintext()).rstrip("\r\n")
