"""How a plan becomes jobs: the flags of ``dagger call build`` and GitHub's job matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from anyarch.oci.platforms import Platform
    from anyarch.release.plan import Plan, PlannedPlatform

# https://docs.github.com/en/actions/reference/runners/github-hosted-runners
RUNNER_X86: Final = "ubuntu-latest"
RUNNER_ARM: Final = "ubuntu-24.04-arm"


def build_arguments(plan: Plan, platform: Platform) -> list[str]:
    """The flags of ``dagger call build`` for one platform of a plan; ``--source`` is the caller's."""
    build = plan.build
    flags = [f"--platform={platform}", f"--dockerfile={build.dockerfile}"]
    if build.target:
        flags.append(f"--target={build.target}")
    flags += [list_flag("--build-arg", f"{name}={value}") for name, value in build.args.items()]
    for secret_id, place in build.secrets.items():
        flags += [f"--secret={place}", f"--secret-id={secret_id}"]
    flags += [list_flag("--label", f"{name}={value}") for name, value in build.labels.items()]
    flags += [list_flag("--annotation", f"{name}={value}") for name, value in build.annotations.items()]
    flags.append(f"--plan={plan.digest}")
    if plan.revision:
        flags.append(f"--revision={plan.revision}")
    return flags


def github_matrix(plan: Plan) -> dict[str, list[dict[str, object]]]:
    """The ``strategy.matrix`` of the build job."""
    return {
        "include": [
            {
                "platform": str(each.platform),
                "slug": each.platform.slug,
                "runner": each.runner or default_runner(each),
                "required": each.required,
                "arguments": build_arguments(plan, each.platform),
            }
            for each in plan.platforms
        ]
    }


def default_runner(planned: PlannedPlatform) -> str:
    """GitHub's runner for a platform: native where there is one, else x86, which emulates."""
    return RUNNER_ARM if planned.platform.architecture in {"arm64", "arm"} else RUNNER_X86


def list_flag(flag: str, word: str) -> str:
    """One value of a list flag. Dagger reads list flags as lines of CSV: a comma would end the value."""
    if "," in word or '"' in word:
        word = '"' + word.replace('"', '""') + '"'
    return f"{flag}={word}"
