"""What the AWS doctor says, and the policies it prints: pure functions, no AWS."""

from __future__ import annotations

import fnmatch
import json
from typing import TYPE_CHECKING, Any, cast

import pytest
from anyarch.errors import UsageError
from anyarch.registry.aws_denial import elsewhere
from anyarch.registry.aws_identity import Session, Who
from anyarch.registry.aws_policy import JOBS, TOKEN, Job, Making, needs, policy, repository_policy
from anyarch.registry.aws_trust import Trust, trust_policy
from anyarch.registry.doctor_aws_words import clock_line, job_line, region_line, session_line
from anyarch.registry.ecr_host import EcrHost
from anyarch.registry.ecr_probe import Permission
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyarch.checks import Line
    from anyarch.registry.ecr_probe import Answer


def host(name: str) -> EcrHost:
    return cast("EcrHost", EcrHost.parse(name))


PRIVATE = host("123456789012.dkr.ecr.eu-west-1.amazonaws.com")
CHINA = host("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn")
GOVERNMENT = host("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com")
PUBLIC = host("public.ecr.aws")
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("arn", "account", "holder"),
    [
        pytest.param(
            "arn:aws:sts::123456789012:assumed-role/release/GitHubActions",
            "123456789012",
            "role release",
            id="role",
        ),
        pytest.param(
            "arn:aws-cn:iam::123456789012:user/team/anna", "123456789012", "user anna", id="user with a path"
        ),
        pytest.param(
            "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Dev_Ops_0123456789abcdef/anna@example.com",
            "123456789012",
            "the permission set Dev_Ops",
            id="Identity Center, whose roles nobody may change",
        ),
        pytest.param("arn:aws:iam::123456789012:root", "123456789012", "the root user", id="root"),
        pytest.param(
            "arn:aws:sts::123456789012:federated-user/bob", "123456789012", "this role or user", id="other"
        ),
        pytest.param("", "", "this role or user", id="not told"),
    ],
)
def test_whose_policy_it_is(arn: str, account: str, holder: str) -> None:
    who = Who.of(arn)
    assert (who.account, who.policy_holder) == (account, holder)


@pytest.mark.parametrize(
    ("session", "verdict", "said"),
    [
        pytest.param(
            Session(method="env", temporary=False, ends_at=None),
            "warn",
            "which have no end",
            id="a user's keys",
        ),
        pytest.param(
            Session(method="env", temporary=True, ends_at=None),
            "unknown",
            "from environment variables",
            id="nobody says when",
        ),
        pytest.param(
            Session(method="env", temporary=True, ends_at=NOW + 3600), "ok", "in 60 min", id="an hour"
        ),
        pytest.param(
            Session(method="env", temporary=True, ends_at=NOW + 300),
            "warn",
            "in 5 min",
            id="a build may be longer",
        ),
        pytest.param(
            Session(method="sso", temporary=True, ends_at=NOW + 300), "ok", "and is renewed", id="renewed"
        ),
        pytest.param(
            Session(method="new-thing", temporary=True, ends_at=None),
            "unknown",
            "from new-thing",
            id="unheard-of",
        ),
    ],
)
def test_how_long_a_session_lasts(session: Session, verdict: str, said: str) -> None:
    line = session_line(session, now=NOW)
    assert line.verdict == verdict
    assert said in line.found
    assert bool(line.advice) is (verdict != "ok")


@pytest.mark.parametrize(
    ("skew", "verdict", "said"),
    [
        pytest.param(None, "unknown", "did not say", id="no time told"),
        pytest.param(-29.0, "ok", "within 29 s", id="good enough"),
        pytest.param(-31.0, "warn", "31 s behind AWS", id="behind"),
        pytest.param(200.0, "warn", "200 s ahead of AWS", id="ahead"),
    ],
)
def test_the_clock(skew: float | None, verdict: str, said: str) -> None:
    line = clock_line(skew)
    assert (line.verdict, said in line.found) == (verdict, True)


@pytest.mark.parametrize(
    ("configured", "where", "verdict"),
    [
        pytest.param("", PRIVATE, "ok", id="none configured"),
        pytest.param("eu-west-1", PRIVATE, "ok", id="the same"),
        pytest.param("us-east-1", PRIVATE, "warn", id="another"),
        pytest.param("eu-west-1", PUBLIC, "ok", id="ECR Public is in one only"),
    ],
)
def test_the_region(configured: str, where: EcrHost, verdict: str) -> None:
    assert region_line(configured, where).verdict == verdict


def line_of(job: Job, answers: Mapping[str, Answer], *, words: str = "", required: bool = True) -> Line:
    asked = {
        action: Permission(action=action, answer=answers.get(action, "allowed"), words=words)
        for action in (TOKEN, *needs(job, PRIVATE).all)
    }
    wanted = needs(job, PRIVATE)
    return job_line(job, asked, PRIVATE, "shop/api", wanted=wanted, holder="role release", required=required)


def test_what_only_doing_it_would_tell_is_unknown() -> None:
    line = line_of("create", {"CreateRepository": "unknown", "TagResource": "unknown"})
    assert line.verdict == "unknown"
    assert line.found.endswith("cannot be told without doing it: CreateRepository, TagResource")
    assert line.advice.endswith("shop/api --policy create shows what it needs")


def test_what_is_denied_outweighs_what_is_unknown() -> None:
    line = line_of("create", {"CreateRepository": "unknown", "BatchGetImage": "denied"}, required=False)
    assert line.verdict == "warn"
    assert '"Action": ["ecr:BatchGetImage"]' in line.advice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            "because no identity-based policy allows the ecr:PutImage action", "", id="its own policy"
        ),
        pytest.param("with an explicit deny in an identity-based policy", "find that Deny", id="a Deny"),
        pytest.param("with an explicit deny in a service control policy", "its administrators", id="an SCP"),
        pytest.param("because no service control policy allows the action", "administrators", id="no SCP"),
        pytest.param("because no permissions boundary allows the action", "boundary", id="a boundary"),
        pytest.param("because no session policy allows the action", "session policy", id="a session policy"),
        pytest.param(
            "because no VPC endpoint policy allows the action", "endpoint's policy", id="an endpoint"
        ),
        pytest.param("because no resource-based policy allows the action", "repository's own", id="theirs"),
    ],
)
def test_a_statement_helps_only_where_aws_says_so(words: str, said: str) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html."""
    line = line_of("merge", {"PutImage": "denied"}, words=words)
    assert bool(elsewhere(words)) is bool(said)
    assert said in line.advice
    assert line.advice.endswith("}") is not bool(said)


@pytest.mark.parametrize("where", [PRIVATE, CHINA, GOVERNMENT, PUBLIC], ids=lambda where: where.host)
@pytest.mark.parametrize("job", JOBS)
def test_a_policy_allows_one_repository_and_no_other(job: Job, where: EcrHost) -> None:
    document: dict[str, Any] = policy(job, where, "shop/api")
    token, *others = document["Statement"]
    assert token["Resource"] == "*"
    assert token["Action"][0] == f"{where.service}:GetAuthorizationToken"
    assert ("sts:GetServiceBearerToken" in token["Action"]) is where.is_public
    for each in others:
        assert each["Resource"] == where.arn("shop/api")
        assert "*" not in "".join(each["Action"])
        assert each["Action"]
    text = json.dumps(document)
    assert len(text) <= 6144, "what IAM takes for a managed policy"


KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"
KEYS = "arn:aws:kms:eu-west-1:123456789012:key/"


@pytest.mark.parametrize(
    ("key", "resource", "alias"),
    [
        pytest.param(f"{KEYS}{KEY}", f"{KEYS}{KEY}", None, id="an ARN"),
        pytest.param(KEY, f"{KEYS}{KEY}", None, id="its number"),
        pytest.param("alias/images", f"{KEYS}*", "alias/images", id="an alias"),
        pytest.param(
            "arn:aws:kms:eu-west-1:123456789012:alias/images", f"{KEYS}*", "alias/images", id="an alias's ARN"
        ),
    ],
)
def test_who_makes_repositories_with_a_key_of_ones_own_may_have_it_used(
    key: str, resource: str, alias: str | None
) -> None:
    """No policy can name a key by its alias: that is a condition."""
    document: dict[str, Any] = policy("create", PRIVATE, "shop/api", Making(kms_key=key))
    *_, last = document["Statement"]
    assert last["Action"] == ["kms:CreateGrant", "kms:RetireGrant", "kms:DescribeKey"]
    assert last["Resource"] == resource
    condition = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}} if alias else None
    assert last.get("Condition") == condition
    others: dict[str, Any] = policy("build", PRIVATE, "shop/api", Making(kms_key=key))
    assert "kms:" not in json.dumps(others), "whoever pushes needs nothing of the key"


@pytest.mark.parametrize(
    ("making", "actions"),
    [
        pytest.param(Making(), {"TagResource", "PutLifecyclePolicy"}, id="nothing is said"),
        pytest.param(Making(tags=False, lifecycle=False), set(), id="neither"),
        pytest.param(Making(tags=True, lifecycle=False), {"TagResource"}, id="tags"),
        pytest.param(
            Making(tags=False, lifecycle=True, looks=True),
            {"PutLifecyclePolicy", "GetLifecyclePolicy"},
            id="a lifecycle policy",
        ),
    ],
)
def test_only_what_is_configured_has_to_be_allowed(making: Making, actions: set[str]) -> None:
    assert set(needs("create", PRIVATE, making).all) == {"BatchGetImage", "CreateRepository", *actions}


ROLE = "arn:aws:iam::999999999999:role/shop/release"


@pytest.mark.parametrize("job", [job for job in JOBS if job != "create"])
def test_a_repositorys_own_policy_allows_others_one_job(job: Job) -> None:
    document: dict[str, Any] = repository_policy(job, PRIVATE, [ROLE, "888888888888"])
    (only,) = document["Statement"]
    assert only["Principal"] == {"AWS": [ROLE, "888888888888"]}
    assert only["Action"] == [f"ecr:{each}" for each in needs(job, PRIVATE).all]
    assert "Resource" not in only, "a policy of a repository is about that one"
    assert "GetAuthorizationToken" not in json.dumps(document)


@pytest.mark.parametrize(
    ("job", "principal", "said"),
    [
        pytest.param("create", ROLE, "a repository that is not there has no policy", id="make one"),
        pytest.param("build", "*", "no role, user or account", id="everybody"),
        pytest.param("build", "arn:aws:iam::999999999999:role/*", "no role", id="a pattern"),
        pytest.param(
            "build", "arn:aws:sts::999999999999:assumed-role/release/me", "arn:aws:iam::", id="a session"
        ),
    ],
)
def test_what_no_policy_of_a_repository_could_say(job: Job, principal: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        repository_policy(job, PRIVATE, [principal])
    assert said in str(refused.value)


def test_a_missing_statement_is_shown_as_it_stands_in_a_policy() -> None:
    line = line_of("merge", {"PutImage": "denied", TOKEN: "denied"})
    begin, *statements = line.shown.splitlines()
    assert begin == "add to the policy of role release:"
    assert [each["Effect"] for each in json.loads("[" + "".join(statements) + "]")] == ["Allow", "Allow"]
    assert len(statements) > 10
    assert max(map(len, statements)) < 80


def test_only_builds_may_upload_and_only_prune_may_delete() -> None:
    having = {job: set(needs(job, PRIVATE).all) for job in JOBS}
    assert [job for job in JOBS if "InitiateLayerUpload" in having[job]] == ["build"]
    assert [job for job in JOBS if "BatchDeleteImage" in having[job]] == ["prune"]
    assert [job for job in JOBS if "CreateRepository" in having[job]] == ["create"]


def conditions(trust: Trust, where: EcrHost = PRIVATE) -> dict[str, Any]:
    document: dict[str, Any] = trust_policy(trust, account="123456789012", partition=where.partition)
    (statement,) = document["Statement"]
    return cast("dict[str, Any]", statement["Condition"])


def test_a_managed_user_owns_repositories_as_well() -> None:
    """Their names end with an underscore and the short code of their enterprise."""
    found = conditions(Trust(repository="octo_corp/app"))
    (subject,) = found["StringEquals"]["token.actions.githubusercontent.com:sub"]
    assert subject == "repo:octo_corp/app:ref:refs/heads/main"


def test_both_forms_of_subject_are_trusted() -> None:
    """Repositories made or renamed since the middle of 2026 have the second one."""
    found = conditions(Trust(repository="shop/api", owner_id="12", repository_id="345"))
    assert found == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": [
                "repo:shop/api:ref:refs/heads/main",
                "repo:shop@12/api@345:ref:refs/heads/main",
            ],
        }
    }


def test_branches_tags_and_environments() -> None:
    trust = Trust(repository="shop/api", branches=("main",), tags=("v*",), environments=("prod:eu",))
    found = conditions(trust, CHINA)
    assert found["StringEquals"] == {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com.cn"}
    assert found["StringLike"]["token.actions.githubusercontent.com:sub"] == [
        "repo:shop/api:ref:refs/heads/main",
        "repo:shop/api:ref:refs/tags/v*",
        "repo:shop/api:environment:prod%3Aeu",
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"repository": "shop"}, "is not OWNER/REPO", id="no owner"),
        pytest.param({"repository": "*/api"}, "is not OWNER/REPO", id="any owner"),
        pytest.param({"repository": "shop/*"}, "is not OWNER/REPO", id="any repository"),
        pytest.param({"repository": "shop/api:ref"}, "is not OWNER/REPO", id="more than a repository"),
        pytest.param({"repository": "shop/api", "owner_id": "1"}, "go together", id="half of the numbers"),
        pytest.param(
            {"repository": "shop/api", "owner_id": "*", "repository_id": "1"}, "go together", id="any number"
        ),
        pytest.param({"repository": "shop/api", "branches": ("a b",)}, "branch or tag", id="a blank"),
        pytest.param({"repository": "shop/api", "tags": ("",)}, "branch or tag", id="no tag"),
        pytest.param({"repository": "shop/api", "environments": ("a\n",)}, "environment", id="two lines"),
    ],
)
def test_what_would_widen_the_trust_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Trust(**fields)


@given(
    branch=st.from_regex(r"[a-z*?][a-z0-9/*?._-]{0,20}", fullmatch=True),
    owner=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,20}", fullmatch=True),
    other=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,20}", fullmatch=True),
)
def test_no_other_repository_is_ever_trusted(branch: str, owner: str, other: str) -> None:
    """Not by the wildcards of a branch's name either: what stands before them is fixed."""
    patterns = Trust(
        repository=f"{owner}/api", owner_id="12", repository_id="345", branches=(branch,)
    ).subjects()
    named = f"repo:{other}/api:ref:refs/heads/{branch}"
    trusted = any(fnmatch.fnmatchcase(named, pattern) for pattern in patterns)
    assert trusted is (other == owner)


@pytest.mark.parametrize("account", ["", "12345", "1234567890123", "12345678901a"])
def test_a_role_is_in_an_account(account: str) -> None:
    with pytest.raises(UsageError, match="twelve digits"):
        trust_policy(Trust(repository="shop/api"), account=account, partition="aws")
