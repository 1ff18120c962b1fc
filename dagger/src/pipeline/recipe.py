"""How one platform's image is built from a Dockerfile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import dagger
from anyarch.oci.digest import Digest
from anyarch.oci.platforms import Platform
from anyarch.release.marks import EXECUTION, PLAN, REVISION
from anyarch.release.record import Execution
from dagger import dag

from pipeline import words
from pipeline.failures import build_failure


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides one platform's image, and what is written on it."""

    source: dagger.Directory
    platform: Platform
    engine: Platform
    dockerfile: str = "Dockerfile"
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[dagger.Secret] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    plan: Digest | None = None
    revision: str | None = None

    @classmethod
    async def of(
        cls,
        source: dagger.Directory,
        platform: Platform,
        *,
        exclude: Sequence[str] | None,
        dockerfile: str,
        target: str,
        build_arg: Sequence[str] | None,
        label: Sequence[str] | None,
        annotation: Sequence[str] | None = None,
        secret: Sequence[dagger.Secret] | None,
        secret_id: Sequence[str] | None,
        secret_lines: dagger.Secret | None = None,
        revision: str,
        plan: str = "",
    ) -> Self:
        """Read the words of a call.

        Raises:
            UsageError: one of them cannot be understood.
        """
        return cls(
            source=source.filter(exclude=list(exclude)) if exclude else source,
            platform=platform,
            engine=Platform.parse(await dag.default_platform()),
            dockerfile=dockerfile,
            target=target,
            arguments=words.pairs(build_arg, flag="--build-arg"),
            labels=words.pairs(label, flag="--label"),
            annotations=words.pairs(annotation, flag="--annotation"),
            secrets=await words.named_secrets(secret, secret_id, secret_lines),
            plan=words.plan_digest(plan),
            revision=words.revision(revision),
        )

    @property
    def execution(self) -> Execution:
        """Whether the engine runs this platform itself or has an emulator do it."""
        return "native" if self.engine.runs(self.platform) else "emulated"

    async def built(self) -> dagger.Container:
        """Build the image.

        Raises:
            BuildFailedError: the Dockerfile or a base image is missing or wrong, or an instruction failed.
            EngineDiskFullError: the engine has no room left.
        """
        container = self.source.docker_build(
            dockerfile=self.dockerfile,
            platform=dagger.Platform(str(self.platform)),
            build_args=[dagger.BuildArg(name, value) for name, value in self.build_arguments().items()],
            target=self.target,
            secrets=list(self.secrets),
        )
        for name, value in self.labels.items():
            container = container.with_label(name, value)
        try:
            return await container.sync()
        except dagger.QueryError as error:
            raise build_failure(error, subject=str(self.platform)) from error

    def build_arguments(self) -> dict[str, str]:
        """The arguments given, after the platform arguments that Dockerfile knows, said aloud.

        On 0.21 an engine takes the build platform to be the target's unless told, so a
        ``FROM --platform=$BUILDPLATFORM`` stage would run emulated (dagger/dagger#13571).
        """
        words = {}
        for side, platform in (("BUILD", self.engine), ("TARGET", self.platform)):
            words[f"{side}PLATFORM"] = str(platform)
            words[f"{side}OS"] = platform.os
            words[f"{side}ARCH"] = platform.architecture
            words[f"{side}VARIANT"] = platform.variant
        return {**words, **self.arguments}


def annotated(
    container: dagger.Container, *, said: Mapping[str, str], plan: str, execution: str, revision: str
) -> dagger.Container:
    """Write on the manifest what is ``said`` of it and what is known: its plan, who ran it, the commit."""
    known = {PLAN: plan, EXECUTION: execution, REVISION: revision}
    for name, value in (*said.items(), *known.items()):
        if value:
            container = container.with_annotation(name, value)
    return container
