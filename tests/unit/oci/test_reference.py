from __future__ import annotations

import pytest
from anyarch.errors import UsageError
from anyarch.oci.digest import Digest
from anyarch.oci.reference import Reference, Repository, Tag
from hypothesis import given
from hypothesis import strategies as st

DIGEST = Digest.of(b"x")
HOSTS = ["docker.io", "localhost:5000", "registry.example.com", "[::1]:5000", "127.0.0.1:5000"]
component = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*", fullmatch=True).filter(lambda text: len(text) < 40)
repositories = st.builds(
    lambda host, parts: Repository(host, "/".join(parts)),
    st.sampled_from(HOSTS),
    st.lists(component, min_size=2, max_size=4),
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True).map(Tag)


@given(repositories, tags | st.just(DIGEST))
def test_a_reference_reads_back_as_itself(repository: Repository, target: Tag | Digest) -> None:
    reference = repository.at(target)
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        pytest.param("debian", "docker.io", "library/debian", id="Docker Hub's official images"),
        pytest.param("team/app", "docker.io", "team/app", id="Docker Hub's users"),
        pytest.param("index.docker.io/team/app", "docker.io", "team/app", id="Docker Hub's old name"),
        pytest.param("localhost/app", "localhost", "app", id="localhost without a port"),
        pytest.param("localhost:5000/a/b", "localhost:5000", "a/b", id="a port"),
        pytest.param("[::1]:5000/app", "[::1]:5000", "app", id="an IPv6 address"),
        pytest.param(
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/api",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "shop/api",
            id="ECR",
        ),
    ],
)
def test_hosts_are_told_from_paths_as_docker_does(text: str, host: str, path: str) -> None:
    assert Repository.parse(text) == Repository(host, path)


def test_with_a_tag_and_a_digest_the_digest_counts() -> None:
    assert Reference.parse(f"example.com/app:1.2@{DIGEST}") == Reference.parse(f"example.com/app@{DIGEST}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "expected host/path", id="empty"),
        pytest.param("https://example.com/app", "leave the scheme away", id="a URL"),
        pytest.param("example.com/App", "lower case: example.com/app", id="upper case"),
        pytest.param("example.com/app:1", "tags go to --tag", id="a tag"),
        pytest.param(f"example.com/app@{DIGEST}", "tags go to --tag", id="a digest"),
        pytest.param("example.com/../app", "expected host/path", id="dots as a component"),
        pytest.param("example.com//app", "expected host/path", id="an empty component"),
        pytest.param("example.com/app\n", "expected host/path", id="a newline"),
        pytest.param("example.com/" + "a" * 250, "expected host/path", id="too long"),
        pytest.param("user@example.com/app", "tags go to --tag", id="a user"),
    ],
)
def test_what_is_no_repository_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Repository.parse(text)
    assert says in caught.value.hint


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("ghcr.io", "ghcr.io", id="a registry"),
        pytest.param("ghcr.io/", "ghcr.io", id="a registry and a slash"),
        pytest.param(
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            id="ECR",
        ),
        pytest.param("registry.example.com:5000", "registry.example.com:5000", id="a port"),
        pytest.param("localhost", "localhost", id="localhost"),
        pytest.param("localhost:5000", "localhost:5000", id="localhost and a port"),
        pytest.param("[::1]:5000", "[::1]:5000", id="an IPv6 address"),
    ],
)
def test_a_registry_without_a_repository_is_none_of_docker_hubs(text: str, named: str) -> None:
    with pytest.raises(UsageError, match="names a registry, but no repository in it") as caught:
        Repository.parse(text)
    assert f"write {named}/PATH" in caught.value.hint


def test_a_registry_with_a_tag_and_no_repository_is_refused_too() -> None:
    with pytest.raises(UsageError, match=r"'ghcr\.io' names a registry, but no repository in it"):
        Reference.parse("ghcr.io:1.4.2")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(".hidden", id="starts with a dot"),
        pytest.param("-x", id="starts with a dash"),
        pytest.param("a" * 129, id="too long"),
        pytest.param("1.2+build", id="a plus"),
        pytest.param("a/b", id="a slash"),
        pytest.param("latest\n", id="a newline"),
    ],
)
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a tag"):
        Tag.parse(text)


def test_a_reference_without_tag_and_digest_is_refused_not_guessed() -> None:
    with pytest.raises(UsageError, match="names no tag and no digest"):
        Reference.parse("example.com/app")


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_one_clear_error(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except UsageError:
        return
    assert Reference.parse(str(reference)) == reference
