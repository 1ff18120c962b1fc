"""One platform's image: use it, export it, publish it."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import anyio
import dagger
from anyarch.errors import AnyarchError, PartialBuildError, RegistryError
from anyarch.oci.platforms import Platform
from anyarch.registry.ecr_repository import require
from anyarch.release.ledger import bring_empty
from anyarch.release.record import BuildFacts, Record, record_from_store
from dagger import Doc, dag, field, object_type

from pipeline import words
from pipeline.effects import cached_in_session, uncached
from pipeline.failures import plainly
from pipeline.layout import for_platform, unpack
from pipeline.place import Place
from pipeline.recipe import Recipe, annotated


@object_type
class Image:
    """One platform's image. It is built when something of it is asked for."""

    platform: Annotated[str, Doc("The platform that the image is for")] = field()
    execution: Annotated[str, Doc("native, or emulated where the engine needs QEMU for it")] = field()
    # The recipe, kept for the functions: an engine of 0.21 builds as soon as the container is named.
    source: dagger.Directory
    dockerfile: str
    target: str
    arguments: dict[str, str]
    labels: dict[str, str]
    annotations: dict[str, str]
    secrets: list[dagger.Secret]
    engine: str
    plan: str
    revision: str

    @classmethod
    def of(cls, recipe: Recipe) -> "Image":
        """The image that a recipe makes."""
        return cls(  # type: ignore[call-arg]  # mypy does not see object_type's dataclass
            platform=str(recipe.platform),
            execution=recipe.execution,
            source=recipe.source,
            dockerfile=recipe.dockerfile,
            target=recipe.target,
            arguments=dict(recipe.arguments),
            labels=dict(recipe.labels),
            annotations=dict(recipe.annotations),
            secrets=list(recipe.secrets),
            engine=str(recipe.engine),
            plan=str(recipe.plan or ""),
            revision=recipe.revision or "",
        )

    @cached_in_session
    @plainly
    async def container(self) -> dagger.Container:
        """Build the image and return it as a container, to run or to change further."""
        return await self._built()

    @cached_in_session
    @plainly
    async def layout(self) -> dagger.Directory:
        """Build the image and return it as an OCI layout directory with this one image."""
        await (await self._built()).as_tarball().export("image.tar")
        unpack(Path("image.tar"), Path("layout"))
        return dag.current_module().workdir("layout")

    @uncached
    @plainly
    async def publish(
        self,
        *,
        repository: Annotated[str, Doc("Where to push, as host/path, with no tag")],
        username: Annotated[str, Doc("User of the registry; none if empty")] = "",
        password: Annotated[dagger.Secret | None, Doc("Its password or token, such as env:TOKEN")] = None,
        another_password: Annotated[
            dagger.Secret | None, Doc("Where to look for one once that is refused, such as cmd:COMMAND")
        ] = None,
        insecure: Annotated[bool, Doc("The registry speaks plain HTTP; the engine must know it too")] = False,
        run_id: Annotated[str, Doc("The CI run's id, for the record")] = "",
        run_attempt: Annotated[int, Doc("Which attempt of that run this is, from 1")] = 0,
    ) -> dagger.File:
        """Build the image, push it by digest, and return the record of what the registry now holds.

        No tag is written. The record is what merge takes.
        """
        place = await Place.of(repository, username, password, insecure=insecure, another=another_password)
        record = await self.record(place)
        record = dataclasses.replace(record, run_id=run_id or None, run_attempt=run_attempt or None)
        return dag.file(f"{record.platform.slug}.json", record.to_json().decode())

    async def record(self, place: Place) -> Record:
        """Push, then make the record from what the registry answers."""
        seconds: dict[str, float] = {}
        facts = self._facts(started=_now(), version=await dag.version())
        async with place.store() as store:
            # A wrong password or a missing repository must not show after a long build.
            await require(store)
            with _timed(seconds, "build"):
                container = await self._built()
            with _timed(seconds, "push"):
                digest = await place.push(container, store)
                with suppress(RegistryError):  # what it is for is only told where it is missing
                    await bring_empty(store)
            with _timed(seconds, "read_back"):
                record = await record_from_store(
                    store, digest, platform=Platform.parse(self.platform), **facts
                )
        return dataclasses.replace(record, ended=_now(), seconds=seconds)

    def _facts(self, *, started: str, version: str) -> BuildFacts:
        return {
            "plan": words.plan_digest(self.plan),
            "revision": words.revision(self.revision),
            "execution": "native" if self.execution == "native" else "emulated",
            "engine_platform": Platform.parse(self.engine),
            "engine_version": version,
            "started": started,
        }

    async def _built(self) -> dagger.Container:
        recipe = Recipe(
            source=self.source,
            platform=Platform.parse(self.platform),
            engine=Platform.parse(self.engine),
            dockerfile=self.dockerfile,
            target=self.target,
            arguments=self.arguments,
            labels=self.labels,
            secrets=self.secrets,
        )
        container = await for_platform(await recipe.built(), recipe.platform)
        return annotated(
            container,
            said=self.annotations,
            plan=self.plan,
            execution=self.execution,
            revision=self.revision,
        )


async def published(recipe: Recipe, platforms: Sequence[Platform], place: Place) -> list[Record]:
    """Build and push several platforms at once. One that fails does not stop the others.

    Raises:
        PartialBuildError: some failed; each is listed with its cause.
    """
    records: list[Record] = []
    offenders: list[str] = []

    async def publish(platform: Platform) -> None:
        try:
            image = Image.of(dataclasses.replace(recipe, platform=platform))
            records.append(await image.record(place))
        except AnyarchError as error:
            offenders.append(f"{platform}: {error.what}")

    async with anyio.create_task_group() as group:
        for platform in platforms:
            group.start_soon(publish, platform)
    if offenders:
        raise PartialBuildError("no tag was written: some platforms failed", offenders=sorted(offenders))
    return records


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[phase] = round(time.monotonic() - begun, 3)
