"""What Amazon ECR refuses in the middle of a release: each in a repository of its own, on one engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from tests.fake_ecr import HOST
from tests.fake_registry import Fault

if TYPE_CHECKING:
    from tests.engine.ecr_stage import Stage

UPLOADS: Final = ("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload")
# What a release asks for; the token itself is asked for on this machine, and no engine comes into it.
ACTIONS: Final = (
    "ecr:BatchGetImage",
    "ecr:BatchCheckLayerAvailability",
    *UPLOADS,
    "ecr:PutImage",
    "ecr:GetDownloadUrlForLayer",
)
# Where a password expires, or a request is one too many: who sends it, and what it is.
PLACES: Final = {
    "a check": ("containerd", "HEAD", "blob"),
    "a layer": ("containerd", "POST", "upload"),
    "an image": ("containerd", "PUT", "manifest"),
    "our index": ("anyarch", "PUT", "manifest"),
}
# To be throttled at a check is no other thing than at a write.
THROTTLED: Final = tuple(place for place in PLACES if place != "a check")
_AT_ONCE: Final = 4
_FIXED: Final[dict[str, Any]] = {
    "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
    "imageTagMutabilityExclusionFilters": [
        {"filterType": "WILDCARD", "filter": each} for each in ("latest", "_anyarch.*")
    ],
}


def refusals(made: Stage) -> dict[str, Any]:
    """What came of each. Several at a time, as most of a run is waiting; where passwords expire, one."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        fixed = pool.submit(_fixed, made)
        throttled = {place: pool.submit(_throttled, made, place) for place in THROTTLED}
        denied = {action: pool.submit(_denied, made, action) for action in ACTIONS}
        missing = pool.submit(_missing, made)
    return {
        "fixed": fixed.result(),
        "throttled": {place: each.result() for place, each in throttled.items()},
        "denied": {action: each.result() for action, each in denied.items()},
        "missing": missing.result(),
        "expired": {place: _expired(made, place) for place in PLACES},
    }


def _throttled(made: Stage, place: str) -> dict[str, Any]:
    fault = Fault("status", 429, code="TOOMANYREQUESTS", times=2)
    return _with_fault(made, fault, place, f"throttled/{place.replace(' ', '-')}")


def _expired(made: Stage, place: str) -> dict[str, Any]:
    """The password is good until the engine, or we, send one request."""
    asked = made.ecr.operations("GetAuthorizationToken")
    told = _with_fault(made, Fault("expired token"), place, f"expired/{place.replace(' ', '-')}")
    told["passwords"] = made.ecr.operations("GetAuthorizationToken") - asked
    return told


def _with_fault(made: Stage, fault: Fault, place: str, name: str) -> dict[str, Any]:
    fault.agent, fault.method, fault.kind = PLACES[place]
    fault.path = f"/{name}/"
    repository = made.ecr.create(name)
    made.ecr.faults.append(fault)
    told = made.release(made.app(name), name, "1.0")
    return {**told, "shown": fault.times == 0, "tagged": repository.tags.get("1.0")}


def _denied(made: Stage, action: str) -> dict[str, Any]:
    name = f"denied/{action.partition(':')[2].lower()}"
    repository = made.ecr.create(name)
    told = made.release(made.app(name), name, "1.0", environ=made.as_somebody(action))
    return {**told, "arn": f"arn:aws:ecr:eu-west-1:123456789012:repository/{name}", "tags": repository.tags}


def _missing(made: Stage) -> dict[str, Any]:
    told = made.release(made.app("missing"), "shop/none", "1.0")
    return {**told, "written": [seen.path for seen in made.ecr.writes if "/shop/none/" in seen.path]}


def _fixed(made: Stage) -> dict[str, Any]:
    """Where only ``latest`` moves: a release, the same again, another one, and the way back."""
    name = "shop/fixed"
    repository = made.ecr.create(name, **_FIXED)
    first, again = (made.release(made.app(name), name, "1.0", "latest") for _ in range(2))
    other = made.app(name, "another argument, so another image")
    over = {**made.release(other, name, "1.0"), "tags": dict(repository.tags)}
    second = {**made.release(other, name, "1.1", "latest"), "tags": dict(repository.tags)}
    words = ["rollback", f"{HOST}/{name}:latest", "--format=json"]
    back = made.anyarch(*words, environ=made.as_somebody(*UPLOADS)).document()
    return {
        "first": first,
        "again": again,
        "over": over,
        "second": second,
        "back": {**back, "tags": repository.tags},
    }
