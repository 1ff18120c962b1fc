"""``anyarch plan``: what would be built, where and why. Builds nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import anyio
from cyclopts import Parameter

from anyarch.cli import output, words
from anyarch.cli.destinations import destinations
from anyarch.cli.happening import tag_context
from anyarch.cli.project import Project
from anyarch.release.config import LAYOUT_PREFIX
from anyarch.release.labels import PREFIX
from anyarch.release.plan import DEFAULT_DESTINATION, Plan, make_plan, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anyarch.engine.select import Choice
    from anyarch.github.job_outputs import Login
    from anyarch.oci.platforms import Platform
    from anyarch.release.tags.compute import Tags

_OUTCOME = ("TAG", "RULE", "REASON")


def plan(
    path: Annotated[Path, Parameter(help="Folder with the Dockerfile and, perhaps, anyarch.toml.")] = Path(),
    /,
    *,
    platform: Annotated[tuple[str, ...], Parameter(help="Platform to build; repeat for more.")] = (),
    engine: Annotated[tuple[str, ...], Parameter(help="PLATFORM=URL of an engine; repeat for more.")] = (),
    to: Annotated[tuple[str, ...], Parameter(help="Repository or oci:DIR; repeat for more.")] = (),
    tag: Annotated[
        tuple[str, ...], Parameter(help="Tag to write, in place of what rules give; repeat for more.")
    ] = (),
    ref: Annotated[str, Parameter(help="What to take for checked out, such as refs/tags/v1.2.3.")] = "",
    insecure_registry: Annotated[
        tuple[str, ...], Parameter(help="HOST:PORT of a registry without TLS; repeat for more.")
    ] = (),
    format: Annotated[  # noqa: A002  the flag's name
        Literal["table", "json", "github"], Parameter(help="For people, programs, or a GitHub step.")
    ] = "table",
) -> None:
    """Show what would be built, on which engines, and what decided it: flag, file or default.

    The plan is left in PATH/.anyarch/plan.json: what merge --plan takes. Tags come with the rule that gave
    each, and rules without a tag with the reason.

    Example: anyarch plan examples/web --platform linux/amd64 --ref refs/tags/v1.2.3
    """
    project = Project.load(path)
    project.check_dockerfile()
    engines = words.engines(engine)
    checkout = project.checkout(os.environ)
    context = tag_context(checkout, os.environ, ref=ref)
    computed = tags_of(project.config, context)
    destination, *also = destinations(to, project.config.destinations or (DEFAULT_DESTINATION,))
    sources = project.sources(checkout, (destination, *also), None)
    planned = make_plan(
        project.config,
        platforms=words.platforms(platform),
        engines=engines,
        destination=destination,
        also=also,
        tags=[str(each) for each in words.tags(tag)],
        revision=sources.revision or context.sha or None,
        context=context,
    )
    planned = replace(planned, changes=sources.changes)
    if format == "github":
        _write_outputs(planned, project, insecure_registry)
    project.prepare(planned)
    outcomes = _outcomes(computed, tag)
    if format == "github":
        for line in output.table(_OUTCOME, outcomes) if outcomes else ():
            output.note(line)
        return
    from anyarch.cli.engines import choices  # noqa: PLC0415  a workflow's runners choose for themselves

    async def choose() -> dict[Platform, Choice]:
        return await choices(planned.platforms, flags=engines)

    chosen = anyio.run(choose)
    rows = [
        (str(each.platform), each.why, "yes" if each.required else "no", *_engine(chosen[each.platform]))
        for each in planned.platforms
    ]
    show = _say_json if format == "json" else _say_table
    show(planned, _settings(planned, project, sources.why, to=to, tag=tag), rows, outcomes)


def _outcomes(computed: Tags, flags: Sequence[str]) -> list[tuple[str, str, str]]:
    """What came of each rule; tags of flags take the place of all."""
    overruled = "--tag counts instead" if flags else ""
    return [
        (each.tag or "-", each.source, (overruled if each.tag else "") or each.reason)
        for each in computed.outcomes
    ]


def _settings(
    planned: Plan, project: Project, changed: str, *, to: Sequence[str], tag: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Each setting, its value, and who decided it."""
    build = planned.build
    return [
        ("destination", planned.destination, _why(to, project.config.image)),
        *(("also", each, _why(to, project.config.also)) for each in planned.also),
        ("tags", " ".join(planned.tags) or "-", _why(tag, project.config.tags)),
        ("context", project.source, _why("", build.context != ".")),
        ("dockerfile", build.dockerfile, _why("", build.dockerfile != "Dockerfile")),
        ("target", build.target or "(last stage)", _why("", build.target)),
        ("args", " ".join(build.args) or "-", _why("", build.args)),
        ("secrets", " ".join(build.secrets) or "-", _why("", build.secrets)),
        ("labels", _names(build.labels), "git" if project.config.oci_labels else "anyarch.toml"),
        ("revision", planned.revision or output.UNKNOWN, "git"),
        ("changes", str(planned.changes or "-"), changed),
    ]


def _write_outputs(planned: Plan, project: Project, insecure_registry: Sequence[str]) -> None:
    from anyarch.github.job_outputs import plan_outputs  # noqa: PLC0415  only a workflow needs it
    from anyarch.github.outputs import write_outputs  # noqa: PLC0415

    hosts = words.insecure_hosts(insecure_registry, project.config.insecure_registries)
    login = _login(planned.destination)
    write_outputs(plan_outputs(planned, source=project.source, insecure=hosts, login=login))


def _login(destination: str) -> Login:
    """How the jobs that build sign in: with what they are given, or at Amazon ECR with a role of their own.

    Dagger runs the command where the build runs, at the moment of the push: a role outlasts the build.
    """
    from anyarch.github.job_outputs import Login  # noqa: PLC0415  as above
    from anyarch.registry.ecr_host import USERNAME, EcrHost  # noqa: PLC0415  as above

    host = destination.partition("/")[0]
    username = os.environ.get(words.USERNAME_VARIABLE, "")
    if not username and EcrHost.parse(host) is not None:
        return Login(username=USERNAME, password=f"cmd:anyarch login {host} --print")
    return Login(username=username, password=f"env:{words.PASSWORD_VARIABLE}")


def _say_json(
    planned: Plan,
    settings: Sequence[tuple[str, str, str]],
    rows: Sequence[tuple[str, ...]],
    outcomes: Sequence[tuple[str, str, str]],
) -> None:
    output.say_json(
        {
            "schema": 1,
            "plan": json.loads(planned.to_json()),
            "settings": [dict(zip(("name", "value", "from"), each, strict=True)) for each in settings],
            "platforms": [
                dict(zip(("platform", "from", "required", "engine", "engine_from"), row, strict=True))
                for row in rows
            ],
            "tags": [
                {"tag": None if tag == "-" else tag, "rule": rule, "reason": reason or None}
                for tag, rule, reason in outcomes
            ],
        }
    )


def _say_table(
    planned: Plan,
    settings: Sequence[tuple[str, str, str]],
    rows: Sequence[tuple[str, ...]],
    outcomes: Sequence[tuple[str, str, str]],
) -> None:
    for line in output.table(("PLATFORM", "FROM", "REQUIRED", "ENGINE", "ENGINE FROM"), rows):
        output.say(line)
    output.say("")
    for line in output.table(("SETTING", "VALUE", "FROM"), settings):
        output.say(line)
    if outcomes:
        output.say("")
        for line in output.table(_OUTCOME, outcomes):
            output.say(line)
    output.say("")
    output.say(f"plan {planned.digest}")
    if not planned.tags and any(each.startswith(LAYOUT_PREFIX) for each in planned.destinations):
        output.say("a layout gets the tag latest where none is asked for")


def _names(labels: Iterable[str]) -> str:
    return " ".join(name.removeprefix(PREFIX) for name in labels) or "-"


def _why(flag: object, configured: object) -> str:
    return "flag" if flag else "anyarch.toml" if configured else "default"


def _engine(choice: Choice) -> tuple[str, str]:
    if choice.native and choice.url is None:
        return "native, to be started", choice.why
    return ("Dagger's own, in Docker or Podman" if choice.url is None else str(choice.url)), choice.why
