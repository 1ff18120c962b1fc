"""A whole ``anyarch run`` to Amazon ECR on a native engine, twice, and what may go wrong with it.

Everything that can tell of a secret is kept and looked through at the end: telemetry, the engine's log, what
is printed and what stays on disk. Prints what came of it as JSON.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any, Final

from anyarch.engine.native.build import installation
from anyarch.engine.native.places import Places, cache_folder

from tests.engine.ecr_refusals import UPLOADS, refusals
from tests.engine.ecr_stage import ARGUMENT, BASE_HOST, BUILD_SECRET, ENGINE, NAME, ROOT, Stage, stage
from tests.fake_ecr import HOST, SECRET_KEY, SESSION_TOKEN, SIGNATURE
from tests.fake_github_tokens import BEARER
from tests.fake_github_tokens import SIGNATURE as SIGNATURE_OF_TOKEN
from tests.otlp_collector import unfolded

if TYPE_CHECKING:
    from tests.fake_ecr import FakeEcr

BUILD_ROLE: Final = "arn:aws:iam::123456789012:role/shop-api-build"
MERGE_ROLE: Final = "arn:aws:iam::123456789012:role/shop-api-release"
_LINKS: Final = ("X-Amz-Signature=canary", SIGNATURE, "X-Amz-Security-Token=canary")


def main() -> None:
    with stage() as made:
        told = {**_run_twice(made), "roles": _by_roles(made), **refusals(made), **_looked_through(made)}
    json.dump(told, sys.stdout)


def _run_twice(made: Stage) -> dict[str, Any]:
    """A release, the same again after its password has expired, and a look at what it is like to run it."""
    first = made.release(made.app(), "shop/api", "1.0", "latest")
    made.ecr.expire_tokens()
    again = made.release(made.app(), "shop/api", "1.0", "latest")
    words = ["verify", f"{HOST}/shop/api:1.0", "--run", "echo it runs", f"--engine=linux/amd64={ENGINE}"]
    ran = made.anyarch(*words).good()
    agents = {seen.headers.get("User-Agent", "") for seen in made.ecr.writes if seen.path.startswith("/v2/")}
    return {
        "first": first,
        "again": again,
        "ran": "it runs" in ran,
        "writers": sorted(agent.partition("/")[0] for agent in agents),
    }


def _by_roles(made: Stage) -> list[str]:
    """What the jobs of ``image.yml`` do: no keys, two roles, and the build's password by a command.

    Returns whose key each of the two asked for its password with.
    """
    made.ecr.let_in(BUILD_ROLE, "ASIABUILD")
    made.ecr.let_in(MERGE_ROLE, "ASIAMERGE", *UPLOADS)
    # For a dagger call by hand, whose client shows the engine what docker login left.
    made.anyarch("login", BASE_HOST).good()
    told = set(made.ecr.issued)
    build = [str(installation().dagger), "call", "--progress=plain", "-m", str(ROOT), "build"]
    build += [f"--source={made.app()}", "--platform=linux/amd64", f"--build-arg=SHOWN={ARGUMENT}"]
    build += ["--secret=env:BUILD_TOKEN", "--secret-id=token", "publish", f"--repository={HOST}/shop/api"]
    build += ["--username=AWS", f"--password=cmd:{sys.executable} -m anyarch login {HOST} --print"]
    build += ["export", f"--path={made.folder / 'records' / 'one.json'}"]
    quiet = {"DAGGER_NO_NAG": "1", "DO_NOT_TRACK": "1", "_EXPERIMENTAL_DAGGER_RUNNER_HOST": ENGINE}
    made.command(*build, environ={**made.in_a_job(BUILD_ROLE), **quiet}).good()
    merge = ["merge", f"--records={made.folder / 'records'}", f"--to={HOST}/shop/api", "--tag=by-roles"]
    made.anyarch(*merge, environ=made.in_a_job(MERGE_ROLE)).good()
    return sorted({made.ecr.issued[password][0].key for password in set(made.ecr.issued) - told})


def _looked_through(made: Stage) -> dict[str, Any]:
    """What is in the registry at the end, and which secrets are where they should not be."""
    places = [made.folder / "apps", cache_folder() / "journal"]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    kept = "\n".join([*made.said, *(path.read_text() for path in files), Places.of(NAME).log.read_text()])
    known = set(unfolded(kept.encode(), 1))
    secrets = [*made.ecr.issued, BEARER, SIGNATURE_OF_TOKEN, SECRET_KEY, SESSION_TOKEN, BUILD_SECRET, *_LINKS]
    shown = [ARGUMENT, "env://ANYARCH", "Container.publish", "it runs"]
    return {
        "manifests": sorted(made.ecr.registries[HOST]["shop/api"].manifests),
        "tags": made.ecr.registries[HOST]["shop/api"].tags,
        "leaked": [each for each in secrets if any(each.encode() in text for text in known)],
        "leaked_in_telemetry": made.collector.holding(secrets),
        "seen_in_telemetry": made.collector.holding(shown),
        "links_followed": sum(SIGNATURE in seen.query for seen in made.ecr.seen),
        "mixed": _mixed(made.ecr),
    }


def _mixed(ecr: FakeEcr) -> list[str]:
    """Hosts that were shown the password of another."""
    found = []
    for password, (_, region, _) in ecr.issued.items():
        basic = base64.b64encode(f"AWS:{password}".encode()).decode()
        hosts: set[Any] = {seen.headers.get("Host") for seen in ecr.seen if basic in seen.authorization}
        found += [f"{host} saw the password for {region}" for host in hosts if f".{region}." not in host]
    return found


if __name__ == "__main__":
    main()
