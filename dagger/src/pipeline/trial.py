"""A command, run in one platform's published image."""

import re
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import dagger
from anyarch.errors import AnyarchError, CannotRunError, UsageError
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Reference
from anyarch.release.record import Execution
from anyarch.release.trial import Trial, command_line, parse_command
from dagger import dag

from pipeline.layout import loaded
from pipeline.place import Place

# The container runtime's whole output where it could not start the program (runc 1.1 to 1.3).
_NOT_STARTED: Final = re.compile(r"(?:runc run failed: unable to start container process: )?(exec:? .+)\n?")
_FOREIGN: Final = "exec format error"


async def found(
    ref: str,
    layout: dagger.Directory | None,
    platform: Platform,
    *,
    username: str,
    password: dagger.Secret | None,
) -> dagger.Container:
    """The image, from a registry or from a layout of one image.

    Raises:
        UsageError: neither or both are named, or a word is no reference.
        RegistryError: the image cannot be pulled.
    """
    if (layout is None) == (not ref):
        raise UsageError("name the image with either --ref or --layout")
    if layout is not None:
        await layout.export("layout")
        return await loaded(Path("layout"), Path("layout.tar"), platform).sync()
    reference = Reference.parse(ref)
    # Whether a registry has TLS is the engine's configuration; our own client takes no part.
    place = await Place.of(str(reference.repository), username, password, insecure=False)
    return await place.pull(reference.target, platform)


async def tried(
    image: dagger.Container, platform: Platform, *, command: str, entrypoint: str | None
) -> Trial:
    """Run the command and tell what it said, however it ended.

    Raises:
        UsageError: there is no command.
        CannotRunError: the engine cannot start it.
    """
    engine = Platform.parse(await dag.default_platform())
    line = command_line(
        parse_command(command),
        entrypoint=entrypoint,
        own_entrypoint=await image.entrypoint(),
        own_command=await image.default_args(),
    )
    trial = await _run(image, line, execution="native" if engine.runs(platform) else "emulated")
    refused = _NOT_STARTED.fullmatch(trial.output)
    if trial.exit_code == 1 and not trial.stdout and refused:
        raise _cannot_run(platform, engine, line, refused[1])
    return trial


async def _run(image: dagger.Container, line: Sequence[str], *, execution: Execution) -> Trial:
    # A label that is new makes the engine run what it may remember; the program does not see it.
    image = image.with_label("dev.anyarch.trial", uuid.uuid4().hex)
    # As docker run does it: the program is process 1, no init before it.
    container = image.with_exec(list(line), expect=dagger.ReturnType.ANY, no_init=True)
    started = time.monotonic()
    try:
        code = await container.exit_code()
        seconds = time.monotonic() - started
        stdout, output = await container.stdout(), await container.combined_output()
    except dagger.ExecError as error:  # ANY does not cover 128 to 191, death by a signal
        seconds = time.monotonic() - started
        code, stdout, output = error.exit_code, error.stdout, error.stdout + error.stderr
    except dagger.QueryError as error:
        raise CannotRunError(f"the engine could not run {line[0]}: {error}") from error
    return Trial.of(execution=execution, exit_code=code, seconds=seconds, stdout=stdout, output=output)


def _cannot_run(platform: Platform, engine: Platform, line: Sequence[str], why: str) -> AnyarchError:
    if _FOREIGN in why and not engine.runs(platform):
        return CannotRunError(
            f"{platform}: this engine is {engine} and has no emulator for {platform}",
            hint=f"use another engine: --engine {platform}=URL, or anyarch engine up --emulate {platform}",
            platform=str(platform),
        )
    return CannotRunError(
        f"{platform}: {line[0]} cannot be started: {why}",
        hint="the words of the command follow the image's entrypoint; --entrypoint '' leaves it out",
        platform=str(platform),
    )
