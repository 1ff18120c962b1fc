"""The main object: what ``dagger call`` offers."""

from typing import Annotated, TypeAlias

import dagger
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Reference
from anyarch.release import publish
from anyarch.release.assemble import Order
from anyarch.release.expectation import Expectation
from anyarch.release.ledger import Mover
from anyarch.release.plan import Plan
from anyarch.release.record_files import sort_records
from anyarch.release.verify import verify as verify_release
from dagger import Doc, Ignore, Name, dag, object_type

from pipeline import words
from pipeline.effects import cached_in_session, uncached
from pipeline.failures import plainly
from pipeline.image import Image, published
from pipeline.merging import merged
from pipeline.place import Place
from pipeline.recipe import Recipe
from pipeline.release import Release, record_files
from pipeline.trial import found, tried

# .anyarch holds logs and records of earlier runs; as part of the context they would spoil its cache.
Source: TypeAlias = Annotated[dagger.Directory, Doc("The build context"), Ignore([".anyarch"])]
Dockerfile: TypeAlias = Annotated[str, Doc("The Dockerfile's path in the context")]
Target: TypeAlias = Annotated[str, Doc("The stage to build; the last one if empty")]
BuildArg: TypeAlias = Annotated[list[str] | None, Doc("NAME=VALUE for an ARG of the Dockerfile")]
Label: TypeAlias = Annotated[list[str] | None, Doc("NAME=VALUE to write into the image's config")]
Annotation: TypeAlias = Annotated[
    list[str] | None, Doc("NAME=VALUE to write into each image's manifest, and into an index")
]
Secret: TypeAlias = Annotated[
    list[dagger.Secret] | None, Doc("A secret for the build, such as env:NPM_TOKEN")
]
SecretId: TypeAlias = Annotated[
    list[str] | None, Doc("The id under which the Dockerfile mounts it: one for each --secret, in order")
]
SecretLines: TypeAlias = Annotated[
    dagger.Secret | None, Doc("Values in place of --secret's: a secret with a line ID=value for each")
]
Exclude: TypeAlias = Annotated[list[str] | None, Doc("A pattern of files to leave out of the context")]
Revision: TypeAlias = Annotated[str, Doc("The commit that is built")]
Tags: TypeAlias = Annotated[list[str] | None, Doc("A tag to point at the index")]
Username: TypeAlias = Annotated[str, Doc("User of the registry; none if empty")]
Password: TypeAlias = Annotated[dagger.Secret | None, Doc("Its password or token, such as env:TOKEN")]
Insecure: TypeAlias = Annotated[bool, Doc("The registry speaks plain HTTP; the engine must know it too")]


@object_type
class Anyarch:
    """Multi-platform images: each platform built on an engine of its own, joined to one verified tag."""

    @cached_in_session
    @plainly
    async def build(
        self,
        *,
        source: Source,
        platform: Annotated[str, Doc("The platform to build, such as linux/arm64")],
        dockerfile: Dockerfile = "Dockerfile",
        target: Target = "",
        build_arg: BuildArg = None,
        label: Label = None,
        annotation: Annotation = None,
        secret: Secret = None,
        secret_id: SecretId = None,
        secret_lines: SecretLines = None,
        exclude: Exclude = None,
        plan: Annotated[str, Doc("The digest of the plan that this build is part of")] = "",
        revision: Revision = "",
    ) -> Image:
        """Build one platform's image from a Dockerfile, on this engine."""
        recipe = await Recipe.of(
            source,
            Platform.parse(platform),
            exclude=exclude,
            dockerfile=dockerfile,
            target=target,
            build_arg=build_arg,
            label=label,
            annotation=annotation,
            secret=secret,
            secret_id=secret_id,
            secret_lines=secret_lines,
            revision=revision,
            plan=plan,
        )
        return Image.of(recipe)

    @uncached
    @plainly
    async def merge(
        self,
        *,
        to: Annotated[str, Doc("The repository that gets the index, and images that are elsewhere")],
        records: Annotated[
            dagger.Directory | None, Doc("The folder with the platforms' records, *.json")
        ] = None,
        reference: Annotated[
            list[str] | None, Doc("An image or index to take, host/path:tag, wherever it is")
        ] = None,
        from_: Annotated[
            list[str] | None, Doc("A repository whose records are welcome too"), Name("from")
        ] = None,
        tag: Tags = None,
        plan: Annotated[dagger.File | None, Doc("The plan that the records must belong to")] = None,
        platform: Annotated[
            list[str] | None, Doc("A platform the index must hold, without a plan; none: no tag loses one")
        ] = None,
        force: Annotated[
            bool, Doc("Move a tag even if a newer run's release is there, or it loses platforms")
        ] = False,
        username: Username = "",
        password: Password = None,
        insecure: Insecure = False,
    ) -> Release:
        """Join the platforms' images into one index, verify it, and point the tags at it."""
        whole, unreadable = sort_records(await record_files(records)) if records else ((), ())
        order = Order(
            records=whole,
            unreadable=unreadable,
            plan=Plan.from_json((await plan.contents()).encode(), subject="--plan") if plan else None,
            expected=words.platforms(platform) or None,
            tags=words.tags(tag),
            mover=Mover(force=force),
        )
        place = await Place.of(to, username, password, insecure=insecure)
        return Release.of(await merged(place, order, reference, from_))

    @uncached
    @plainly
    async def release(
        self,
        *,
        source: Source,
        platform: Annotated[list[str], Doc("A platform to build, such as linux/arm64")],
        repository: Annotated[str, Doc("Where to publish, as host/path, with no tag")],
        tag: Tags = None,
        dockerfile: Dockerfile = "Dockerfile",
        target: Target = "",
        build_arg: BuildArg = None,
        label: Label = None,
        annotation: Annotation = None,
        secret: Secret = None,
        secret_id: SecretId = None,
        secret_lines: SecretLines = None,
        exclude: Exclude = None,
        revision: Revision = "",
        username: Username = "",
        password: Password = None,
        insecure: Insecure = False,
    ) -> Release:
        """Build all platforms on this one engine, publish and merge them.

        Foreign platforms run under emulation; `build` on one engine per platform does not need it.
        """
        expected, tags = words.platforms(platform), words.tags(tag)
        place = await Place.of(repository, username, password, insecure=insecure)
        recipe = await Recipe.of(
            source,
            expected[0].platform,
            exclude=exclude,
            dockerfile=dockerfile,
            target=target,
            build_arg=build_arg,
            label=label,
            annotation=annotation,
            secret=secret,
            secret_id=secret_id,
            secret_lines=secret_lines,
            revision=revision,
        )
        records = await published(recipe, [each.platform for each in expected], place)
        async with place.store() as store:
            whole = Expectation.of(store.name, platforms=expected, annotations=recipe.annotations)
            return Release.of(await publish.merge(store, records, expected=whole, tags=tags))

    @uncached
    @plainly
    async def verify(
        self,
        *,
        ref: Annotated[str, Doc("What to verify: host/path:tag or host/path@digest")],
        platform: Annotated[
            list[str] | None, Doc("A platform it must hold; with any named, no others")
        ] = None,
        username: Username = "",
        password: Password = None,
        insecure: Insecure = False,
    ) -> str:
        """Read an index back, with all it points at, and check every digest, size and platform."""
        reference = Reference.parse(ref)
        expected = [each.platform for each in words.platforms(platform)]
        place = await Place.of(str(reference.repository), username, password, insecure=insecure)
        async with place.store() as store:
            found = await verify_release(store, reference.target, platforms=expected)
        lines = [f"ok {reference} is {found.digest}"]
        lines += [
            f"  {child.platform}  {child.execution or 'unknown'}  {child.digest}" for child in found.children
        ]
        return "".join(f"{line}\n" for line in lines)

    @uncached
    @plainly
    async def trial(
        self,
        *,
        platform: Annotated[str, Doc("The platform whose image to run, such as linux/arm64")],
        command: Annotated[str, Doc("Its words, quoted as for a shell; the image's own if empty")] = "",
        ref: Annotated[str, Doc("The image: host/path:tag or host/path@digest")] = "",
        layout: Annotated[
            dagger.Directory | None, Doc("The image, instead: an OCI layout with this one image")
        ] = None,
        entrypoint: Annotated[
            str | None, Doc("A program in place of the image's entrypoint; empty: none")
        ] = None,
        username: Username = "",
        password: Password = None,
    ) -> dagger.File:
        """Run a command in one platform's published image, and return what it said, as JSON.

        As with docker run, the image's entrypoint stays in front of the command, and no shell takes part.
        """
        wanted = Platform.parse(platform)
        image = await found(ref, layout, wanted, username=username, password=password)
        result = await tried(image, wanted, command=command, entrypoint=entrypoint)
        return dag.file(f"{wanted.slug}.json", result.to_json().decode())
