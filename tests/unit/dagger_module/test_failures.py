"""What a failing function shows; the engine's words are those of engine v0.21.8, copied from real calls."""

from __future__ import annotations

import dagger
import gql
import pytest
from anyarch import errors
from anyarch.registry.retry import RetryableError
from dagger._exceptions import QueryErrorValue
from dagger.mod._exceptions import FunctionError, ModuleError
from pipeline.failures import build_failure, plainly, push_failure

HEAD = 'failed to do request: Head "https://r.example.com/v2/a/b/blobs/sha256:5b8f": '
HEAD_403 = "unexpected status from HEAD request to https://r.example.com/v2/a/b/blobs/sha256:5b8f: 403 No"
POST = "unexpected status from POST request to https://r.example.com/v2/a/b/blobs/uploads/: "


def said(message: str, **extensions: object) -> dagger.QueryError:
    return dagger.QueryError([QueryErrorValue(message, extensions=extensions)], gql.gql("{ version }"))


def a_failed_run(**changes: object) -> dagger.QueryError:
    fields: dict[str, object] = {"_type": "EXEC_ERROR", "cmd": ["/bin/sh", "-c", "make all"], "exitCode": 2}
    return said("exit code: 2", **{**fields, "stdout": "one\ntwo", "stderr": "make: no rule", **changes})


@pytest.mark.parametrize(
    ("text", "reached"),
    [
        pytest.param(HEAD + "dial tcp 192.0.2.1:443: connect: connection refused", False, id="refused"),
        pytest.param(HEAD + "dial tcp: lookup r.example.com on ::1:53: no such host", False, id="no name"),
        pytest.param(HEAD + "read tcp 1.2.3.4:5->6.7.8.9:443: connection reset by peer", True, id="reset"),
        pytest.param(HEAD + "EOF", True, id="closed"),
        pytest.param(POST + "502 Bad Gateway\nunknown: because", True, id="502"),
        pytest.param(POST + "429 Too Many Requests", True, id="429"),
        pytest.param(POST + "503 Service Unavailable", True, id="503"),
    ],
)
def test_a_fault_that_passes_is_worth_another_try(text: str, *, reached: bool) -> None:
    failure = push_failure(said(text), repository="r.example.com/a/b")
    assert isinstance(failure, RetryableError)
    assert failure.reached == reached


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(
            "push access denied, repository does not exist or may require authorization: "
            "authorization failed: no basic auth credentials",
            errors.AuthenticationError,
            id="no credentials, though the words say denied first",
        ),
        pytest.param(POST + "403 Forbidden\nunknown: because", errors.DeniedError, id="403"),
        pytest.param(POST + "404 Not Found", errors.NotFoundError, id="404"),
        pytest.param(POST + "400 Bad Request", errors.RegistryProtocolError, id="400"),
        pytest.param(
            HEAD + "http: server gave HTTP response to HTTPS client",
            errors.RegistryUnavailableError,
            id="plain HTTP",
        ),
        pytest.param("write /var/lib/x: no space left on device", errors.EngineDiskFullError, id="full disk"),
    ],
)
def test_a_refusal_is_final_and_has_its_class(text: str, kind: type[errors.AnyarchError]) -> None:
    failure = push_failure(said(text), repository="r.example.com/a/b")
    assert type(failure) is kind
    assert "r.example.com/a/b" in str(failure)


ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ARN = "arn:aws:ecr:eu-west-1:123456789012:repository/shop/api"
WHO = "User: arn:aws:sts::123456789012:assumed-role/build/ci is not"


def iam(action: str) -> str:
    """As the engine passes it on: with the registry's line breaks."""
    return (
        f"unexpected status from POST request to https://{ECR}/v2/shop/api/blobs/uploads/: 403 Forbidden\n"
        f"denied: {WHO}\nauthorized to perform: ecr:{action} on resource: {ARN} because no identity-based "
        f"policy allows the ecr:{action} action"
    )


@pytest.mark.parametrize(
    ("text", "action"),
    [
        pytest.param(iam("InitiateLayerUpload"), "InitiateLayerUpload", id="begin an upload"),
        pytest.param(iam("CompleteLayerUpload"), "CompleteLayerUpload", id="end one"),
        pytest.param(iam("PutImage"), "PutImage", id="a manifest"),
        pytest.param(
            f"unexpected status from HEAD request to https://{ECR}/v2/shop/api/blobs/sha256:5b8f: 403 No",
            "BatchCheckLayerAvailability",
            id="ask for a layer, which is answered without words",
        ),
        pytest.param(
            f"unexpected status from HEAD request to https://{ECR}/v2/shop/api/manifests/sha256:5b8f: 403 No",
            "BatchGetImage",
            id="ask for a manifest",
        ),
    ],
)
def test_a_denial_of_amazons_comes_with_the_statement_that_mends_it(text: str, action: str) -> None:
    failure = push_failure(said(text), repository=f"{ECR}/shop/api")
    assert isinstance(failure, errors.DeniedError)
    assert f"allow ecr:{action} on {ARN}" in failure.hint
    assert "\n" not in failure.what


def test_a_denial_of_another_registry_has_no_advice_of_amazons() -> None:
    failure = push_failure(said(HEAD_403), repository="r.example.com/a/b")
    assert isinstance(failure, errors.DeniedError)
    assert "ecr:" not in str(failure)


BASE = f"failed to convert Dockerfile to LLB: {ECR}/base:1: "


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param(
            f"{BASE}failed to authorize: no basic auth credentials", f"anyarch login {ECR}", id="no account"
        ),
        pytest.param(
            f"{BASE}unexpected status from HEAD request to https://{ECR}/v2/base/manifests/1: 403 Forbidden",
            f"anyarch login {ECR}",
            id="an account that may not, or is no longer good",
        ),
        pytest.param(
            BASE.replace(ECR, "r.example.com:5000") + "pull access denied, repository does not exist",
            "docker login r.example.com:5000",
            id="another registry",
        ),
        pytest.param(f"{BASE}not found", "", id="it is not there"),
    ],
)
def test_a_base_image_that_is_not_given_comes_with_the_login(text: str, hint: str) -> None:
    failure = build_failure(said(text), subject="linux/386")
    assert isinstance(failure, errors.BuildFailedError)
    assert hint in failure.hint if hint else failure.hint == ""


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param(
            'debian:12: failed to do request: Head "https://registry-1.docker.io/v2/library/debian'
            '/manifests/12": dial tcp: lookup registry-1.docker.io on 10.187.0.1:53: no such host',
            "--mirror docker.io=URL",
            id="Docker Hub has no address",
        ),
        pytest.param(
            'debian:12: failed to authorize: failed to fetch anonymous token: Get "https://auth.docker.io'
            '/token": dial tcp 192.0.2.1:443: i/o timeout',
            "--mirror docker.io=URL",
            id="Docker Hub's token server does not answer",
        ),
        pytest.param(
            'r.example.com:5000/base:1: failed to do request: Head "https://r.example.com:5000/v2/base'
            '/manifests/1": dial tcp 192.0.2.1:5000: connect: connection refused',
            "--mirror r.example.com:5000=URL",
            id="another registry is down",
        ),
    ],
)
def test_a_base_image_that_is_out_of_reach_comes_with_a_mirror(text: str, hint: str) -> None:
    failure = build_failure(said(f"failed to convert Dockerfile to LLB: {text}"), subject="linux/386")
    assert isinstance(failure, errors.BuildFailedError)
    assert hint in failure.hint


def test_an_instruction_that_reaches_no_registry_is_told_nothing_of_mirrors() -> None:
    stderr = 'crane: Head "https://registry-1.docker.io/v2/a/manifests/1": no such host'
    assert "mirror" not in str(build_failure(a_failed_run(stderr=stderr), subject="linux/386"))


def test_a_failed_instruction_is_shown_as_the_dockerfile_has_it_with_its_last_lines() -> None:
    failure = build_failure(a_failed_run(), subject="linux/386")
    assert type(failure) is errors.BuildFailedError
    assert failure.what.splitlines() == [
        "linux/386: RUN make all ended with 2",
        "    one",
        "    two",
        "    make: no rule",
    ]


def test_only_the_last_lines_of_a_long_output_are_shown() -> None:
    failure = build_failure(a_failed_run(stdout="\n".join(map(str, range(1000)))), subject="linux/386")
    assert len(failure.what.splitlines()) == 16
    assert failure.what.endswith("    999\n    make: no rule")


def test_a_full_disk_during_a_build_is_not_the_dockerfiles_fault() -> None:
    failure = build_failure(a_failed_run(stderr="cc: No space left on device"), subject="linux/386")
    assert type(failure) is errors.EngineDiskFullError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(
            a_failed_run(exitCode=-1),
            "the engine lost the command RUN make all; most often",
            id="no exit code",
        ),
        pytest.param(
            said("failed to clone built container state: exit code: 141"),
            "exit code: 141",
            id="its container's",
        ),
        pytest.param(
            said("failed to write exit code 1 to /state/exitCode: input/output error"),
            "input/output error",
            id="its exit code's file",
        ),
    ],
)
def test_a_command_that_the_engine_lost_is_told_with_where_to_look(
    error: dagger.QueryError, said: str
) -> None:
    failure = build_failure(error, subject="linux/386")
    assert type(failure) is errors.BuildFailedError
    assert said in failure.what
    assert "most often its disk is full" in failure.what.splitlines()[0]
    assert "anyarch engine status" in failure.hint


def test_what_else_fails_while_an_image_is_made_was_not_lost() -> None:
    failure = build_failure(
        said('failed to clone built container state: "/missing": not found'), subject="linux/386"
    )
    assert type(failure) is errors.BuildFailedError
    assert "lost" not in str(failure)


@pytest.mark.anyio
async def test_our_errors_leave_a_function_with_class_and_exit_code_and_no_traceback() -> None:
    @plainly
    async def function() -> None:
        raise errors.MergeRefusedError("refused", offenders=["linux/386: missing"], hint="build it")

    with pytest.raises(FunctionError) as caught:  # the one kind that the SDK does not log
        await function()
    kind = type(caught.value)
    assert f"{kind.__module__}.{kind.__qualname__}" == "anyarch.MergeRefusedError"
    assert str(caught.value) == "refused\n  - linux/386: missing\n  → build it"
    assert isinstance(caught.value, ModuleError)
    assert caught.value.extra == {"exit_code": 32}


@pytest.mark.anyio
async def test_what_we_did_not_foresee_keeps_its_traceback() -> None:
    @plainly
    async def function() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await function()
