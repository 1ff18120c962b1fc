from __future__ import annotations

import pytest
from anyarch.engine.urls import parse_engine_url
from anyarch.errors import UsageError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("unix:///run/dagger/engine.sock", id="socket"),
        pytest.param("tcp://arm.example.com:1234", id="tcp"),
        pytest.param("tcp://[::1]:1234", id="IPv6"),
        pytest.param("tls://arm.example.com:443", id="tls"),
        pytest.param("ssh://ci@arm.example.com", id="ssh with a user"),
        pytest.param("kube-pod://dagger-0?context=arm&namespace=ci", id="pod with parameters"),
        pytest.param("container://dagger-engine", id="container"),
        pytest.param("container+podman://dagger-engine", id="Podman's container"),
        pytest.param("image://registry.dagger.io/engine:v0.21.8", id="image"),
        pytest.param("docker-container://dagger-engine", id="legacy scheme"),
        pytest.param("dagger-cloud://", id="nothing behind it"),
    ],
)
def test_every_scheme_of_the_client_is_read_and_written_back(text: str) -> None:
    assert str(parse_engine_url(text)) == text


def test_host_and_port_of_an_ipv6_address_come_without_brackets() -> None:
    assert parse_engine_url("tcp://[::1]:1234").host_port == ("::1", 1234)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        pytest.param("/run/engine.sock", "unix:///run/engine.sock", id="a path"),
        pytest.param("unix://run/engine.sock", "three slashes", id="relative socket"),
        pytest.param("tcp://arm.example.com", "host:port", id="no port"),
        pytest.param("tcp://arm.example.com:0", "host:port", id="port 0"),
        pytest.param("tcp://arm.example.com:65536", "host:port", id="port too high"),
        pytest.param("tcp://arm.example.com:1234/path", "host:port", id="a path behind the port"),
        pytest.param("ssh://", "nothing follows", id="nothing behind the scheme"),
        pytest.param("tpc://arm:1", "tcp://", id="misspelt"),
        pytest.param("podman-container://x", "container+podman", id="Podman's scheme of other tools"),
        pytest.param("http://arm:1234", "known", id="another protocol"),
        pytest.param("tcp://a b:1", "for example", id="white space"),
        pytest.param("tcp://a:1\nX", "for example", id="newline"),
        pytest.param("", "for example", id="empty"),
    ],
)
def test_what_cannot_be_an_engine_is_refused_with_a_way_out(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_engine_url(text)
    assert hint in str(caught.value)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse_engine_url("ssh://ci:canary-Zq7@arm.example.com")
    assert "canary-Zq7" not in str(caught.value)


@pytest.mark.parametrize("text", ["image://x", "image+podman://x", "docker-image://x", "dagger-cloud://"])
def test_engines_that_the_client_makes_are_known_as_such(text: str) -> None:
    assert parse_engine_url(text).provisions
    assert not parse_engine_url("container://x").provisions


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        url = parse_engine_url(text)
    except UsageError:
        return
    assert str(url) == text
