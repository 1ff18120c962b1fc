"""``anyarch doctor``: is everything there that publishing needs? Each line is ok, or what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import anyio
from cyclopts import App, Parameter

from anyarch.checks import examine, failed
from anyarch.cli import output, words
from anyarch.cli.access import Access
from anyarch.cli.project import Project
from anyarch.errors import ChecksFailedError, UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Reference, Repository, Tag
from anyarch.registry.client import Options
from anyarch.registry.credentials import source_for
from anyarch.registry.doctor import RegistryDoctor
from anyarch.release.config import LAYOUT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyarch.checks import Line

app = App(name="doctor", help="Is everything there that publishing needs? Each line is ok, or what to do.")
# Its function is loaded only when it is asked for, so that its help stands here.
_AWS_HELP: Final = """Look at AWS credentials and their session, and what they allow. Writes nothing.

Exit status: 0 the jobs can be done (without --job: build and merge), 40 something is missing.

Example: anyarch doctor aws 123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/api --job merge
"""
app.command("anyarch.cli.doctor_aws:aws", name="aws", help=_AWS_HELP)

_DEADLINE_SECONDS: Final = 12.0


@app.command
def registry(
    ref: Annotated[
        str, Parameter(help="HOST, REPOSITORY, REPOSITORY:TAG or @DIGEST; with none, image in anyarch.toml.")
    ] = "",
    /,
    *,
    path: Annotated[Path, Parameter(help="Folder of anyarch.toml.")] = Path(),
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[Literal["text", "json"], Parameter(help="For people or for programs.")] = "text",  # noqa: A002
) -> None:
    """Look at the way to a registry, the credentials, and what the repository allows. Leaves nothing behind.

    Exit status: 0 all that publishing needs is there (see warn lines for the rest), 40 something is not.

    Example: anyarch doctor registry registry.example.com/shop/api
    """
    config = Project.load(path).config
    wanted = ref or config.image or ""
    if not wanted:
        raise UsageError(
            "no registry is named", hint="anyarch doctor registry HOST/PATH, or image in anyarch.toml"
        )
    if wanted.startswith(LAYOUT_PREFIX):
        raise UsageError(f"{wanted} is a directory; there is no registry to look at")
    host, repository, target = _parse(wanted)
    access = Access.told(config, insecure_registry, path)
    profile = access.of(f"{host}/any").aws_profile

    async def work() -> list[Line]:
        given = access.credential
        told = f"from {words.USERNAME_VARIABLE} ({given.username})" if given else ""
        source = told or source_for(host, aws_profile=profile)
        options = Options(
            insecure=access.insecure,
            credential=given,
            aws_profile=profile,
            deadline_seconds=_DEADLINE_SECONDS,
        )
        doctor = RegistryDoctor(host, repository, target, options=options, source=source)
        try:
            return await examine(doctor.checks())
        finally:
            await doctor.aclose()

    show(wanted, anyio.run(work), format)


def show(subject: str, lines: Sequence[Line], kind: str) -> None:
    """Print what was found.

    Raises:
        ChecksFailedError: something that publishing needs is not there.
    """
    missing = failed(lines)
    if kind == "json":
        checks = [
            {"name": each.name, "verdict": each.verdict, "found": each.found, "advice": each.advice or None}
            for each in lines
        ]
        output.say_json({"schema": 1, "subject": subject, "ok": not missing, "checks": checks})
    else:
        for line in table(lines):
            output.say(line)
    if missing:
        raise ChecksFailedError(f"{subject}: {', '.join(missing)}")


def table(lines: Sequence[Line]) -> list[str]:
    """The lines for people; what was not looked at takes one line."""
    width = max(len(each.name) for each in lines)
    said: list[str] = []
    first: dict[str, str] = {}  # long advice, and where it was given
    for each in lines:
        if each.verdict != "skipped":
            said.append(f"{each.verdict:<7}  {each.name:<{width}}  {each.found}")
            advice = each.shown or each.advice
            if each.shown and first.setdefault(advice, each.name) != each.name:
                advice = f"the same as for {first[advice]}"
            begin, *more = advice.splitlines() or [""]
            said += [f"{'':<7}  {'':<{width}}  → {begin}"] if begin else []
            said += [f"{'':<7}  {'':<{width}}    {line}" for line in more]
    skipped = [each.name for each in lines if each.verdict == "skipped"]
    needs = "which needs what failed" if len(skipped) == 1 else "which need what failed"
    return [*said, f"skipped  {', '.join(skipped)}, {needs}"] if skipped else said


def _parse(text: str) -> tuple[str, Repository | None, Digest | Tag | None]:
    """A host alone, a repository, or something in one."""
    if "/" not in text and (text == "localhost" or any(mark in text for mark in ".:[")):
        return Repository.parse(f"{text}/anyarch").host, None, None
    if "@" in text or ":" in text.rpartition("/")[2]:
        reference = Reference.parse(text)
        return reference.repository.host, reference.repository, reference.target
    repository = Repository.parse(text)
    return repository.host, repository, None
