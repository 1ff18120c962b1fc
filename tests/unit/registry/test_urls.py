from __future__ import annotations

import pytest
from anyarch.errors import RegistryProtocolError
from anyarch.registry.urls import Origin, Url, check_elsewhere, check_realm, is_loopback
from hypothesis import given
from hypothesis import strategies as st

PUBLIC = Origin("https", "registry.example.com", 443)
PRIVATE = Origin("http", "10.0.0.5", 5000)
LOCAL = Origin("http", "127.0.0.1", 5000)


@pytest.mark.parametrize(
    ("host", "insecure", "expected"),
    [
        pytest.param("registry.example.com", (), "https://registry.example.com", id="TLS by default"),
        pytest.param("registry.example.com:5000", (), "https://registry.example.com:5000", id="with a port"),
        pytest.param("docker.io", (), "https://registry-1.docker.io", id="Docker Hub's server"),
        pytest.param("localhost:5000", (), "http://localhost:5000", id="localhost is plain"),
        pytest.param("127.9.9.9:5000", (), "http://127.9.9.9:5000", id="loopback is plain"),
        pytest.param("[::1]:5000", (), "http://[::1]:5000", id="IPv6 loopback is plain"),
        pytest.param(
            "10.0.0.5:5000", ("10.0.0.5:5000",), "http://10.0.0.5:5000", id="declared, with its port"
        ),
        pytest.param("10.0.0.5:5000", ("10.0.0.5",), "http://10.0.0.5:5000", id="declared for every port"),
        pytest.param(
            "10.0.0.5:5001", ("10.0.0.5:5000",), "https://10.0.0.5:5001", id="another port declared"
        ),
        pytest.param("localhost.example.com", (), "https://localhost.example.com", id="only looks local"),
    ],
)
def test_a_registry_is_https_unless_it_is_here_or_declared(
    host: str, insecure: tuple[str, ...], expected: str
) -> None:
    assert str(Origin.of_registry(host, insecure=insecure)) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://user:secret@registry.example.com/", id="user information"),
        pytest.param("https://good.example\\@evil.example/", id="backslash"),
        pytest.param("https://a.example/x\ny", id="line break"),
        pytest.param("https://a.example/x y", id="space"),
        pytest.param("ftp://a.example/", id="another scheme"),
        pytest.param("//a.example/x", id="no scheme"),
        pytest.param("https://a.example:0/", id="port 0"),
        pytest.param("https://a.example:65536/", id="port too high"),
        pytest.param("https://ex%61mple.com/", id="percent in the host"),
        pytest.param("https:///x", id="no host"),
        pytest.param("https://a.example/" + "x" * 20_000, id="too long"),
    ],
)
def test_urls_that_two_parsers_could_read_differently_are_refused(text: str) -> None:
    with pytest.raises(RegistryProtocolError) as refused:
        Url.parse(text)
    assert "secret" not in str(refused.value)


@given(st.text(max_size=80))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = Url.parse(text)
    except RegistryProtocolError:
        return
    assert Url.parse(str(url)) == url


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        pytest.param(
            "/v2/a/blobs/uploads/1?_state=x%3D%3D",
            "https://registry.example.com/v2/a/blobs/uploads/1?_state=x%3D%3D",
            id="path",
        ),
        pytest.param("https://other.example/x", "https://other.example/x", id="elsewhere"),
        pytest.param(
            "/v2/a/u/1?next=https://other.example/y",
            "https://registry.example.com/v2/a/u/1?next=https://other.example/y",
            id="a path whose query names a URL",
        ),
        pytest.param("2?x", "https://registry.example.com/v2/a/2?x", id="relative"),
    ],
)
def test_a_location_keeps_its_bytes(location: str, expected: str) -> None:
    assert str(Url(PUBLIC, "/v2/a/b").join(location)) == expected


def test_a_query_is_appended_to_what_is_there() -> None:
    assert str(Url(PUBLIC, "/u?_state=a%2Fb").with_query("digest=x")) == f"{PUBLIC}/u?_state=a%2Fb&digest=x"
    assert str(Url(PUBLIC, "/u").with_query("digest=x")) == f"{PUBLIC}/u?digest=x"


def test_messages_show_only_harmless_query_values() -> None:
    url = Url.parse("https://s3.example/b?X-Amz-Signature=canary&digest=sha256:1&_state=canary&canary")
    assert url.redacted == "https://s3.example/b?X-Amz-Signature=…&digest=sha256:1&_state=…&…"
    assert "Signature=canary" not in repr(url)


@pytest.mark.parametrize(
    ("registry", "target"),
    [
        pytest.param(PUBLIC, "https://bucket.s3.example/x", id="public storage"),
        pytest.param(PUBLIC, "https://registry.example.com:8443/x", id="another port of the same host"),
        pytest.param(LOCAL, "http://127.0.0.1:6000/x", id="another server on this machine"),
        pytest.param(PRIVATE, "http://10.0.0.5:9000/x", id="storage beside an insecure registry"),
        pytest.param(PRIVATE, "https://10.0.0.6/x", id="storage in the same private network"),
        pytest.param(PRIVATE, "http://10.0.0.6:9000/x", id="declared insecure too"),
    ],
)
def test_places_that_a_registry_may_send_us_to(registry: Origin, target: str) -> None:
    check_elsewhere(Url.parse(target), registry=registry, insecure=("10.0.0.6:9000",))


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("http://bucket.s3.example/x", id="plain HTTP"),
        pytest.param("http://registry.example.com/x", id="plain HTTP, same host"),
        pytest.param("https://127.0.0.1/x", id="loopback"),
        pytest.param("https://localhost/x", id="localhost"),
        pytest.param("https://10.1.2.3/x", id="private"),
        pytest.param("https://169.254.169.254/latest", id="cloud metadata"),
        pytest.param("https://100.64.0.1/x", id="carrier-grade NAT"),
        pytest.param("https://0.0.0.0/x", id="unspecified"),
        pytest.param("https://[::ffff:10.0.0.1]/x", id="IPv4 in IPv6"),
        pytest.param("https://[2002:0a00:0001::]/x", id="IPv4 in 6to4"),
        pytest.param("https://[64:ff9b::a9fe:a9fe]/x", id="IPv4 in NAT64"),
        pytest.param("https://[fec0::1]/x", id="site-local"),
        pytest.param("https://2130706433/x", id="loopback as one number"),
        pytest.param("https://127.1/x", id="loopback, short"),
        pytest.param("https://0x7f000001/x", id="loopback in hexadecimal"),
    ],
)
def test_places_that_a_public_registry_may_not_send_us_to(target: str) -> None:
    with pytest.raises(RegistryProtocolError):
        check_elsewhere(Url.parse(target), registry=PUBLIC)


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        pytest.param("registry.example.com", "https://registry.example.com/token", id="the registry itself"),
        pytest.param("registry.example.com", "https://registry.example.com:5001/auth", id="its other port"),
        pytest.param("registry-1.docker.io", "https://auth.docker.io/token", id="Docker Hub"),
        pytest.param("registry.gitlab.com", "https://gitlab.com/jwt/auth", id="GitLab: the parent"),
        pytest.param("registry.example.com", "https://auth.registry.example.com/t", id="a name below it"),
        pytest.param("registry.eu.example.com", "https://example.com/jwt/auth", id="a domain further up"),
        pytest.param("registry.example.com", "https://sso.example.net/t", id="named by the user"),
    ],
)
def test_realms_that_may_see_the_credential(registry: str, realm: str) -> None:
    origin = Origin("https", registry, 443)
    check_realm(Url.parse(realm), registry=origin, with_credential=True, token_hosts=("sso.example.net",))


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        pytest.param("registry.example.com", "https://evil.example.net/token", id="a stranger"),
        pytest.param("registry.example.com", "http://registry.example.com/token", id="plain HTTP"),
        pytest.param("registry.example.com", "https://git.example.com/jwt/auth", id="a neighbour"),
        pytest.param("shop.co.uk", "https://evil.co.uk/token", id="another owner under a country's domain"),
        pytest.param("a.github.io", "https://b.github.io/token", id="another user of a host of pages"),
        pytest.param("shop.azurecr.io", "https://evil.azurecr.io/token", id="another tenant of a registry"),
        pytest.param(
            "a.eastus.cloudapp.azure.com",
            "https://b.eastus.cloudapp.azure.com/t",
            id="another machine of a cloud",
        ),
        pytest.param("notgitlab.com", "https://gitlab.com/token", id="a name that only ends alike"),
        pytest.param("registry.com", "https://com/token", id="a top-level domain"),
        pytest.param("registry.com", "https://evil.com/token", id="only the top-level domain in common"),
        pytest.param("registry.example.com", "https://169.254.169.254/token", id="cloud metadata"),
        pytest.param("203.0.113.4", "https://203.0.113.5/token", id="a neighbouring address"),
        pytest.param(
            "registry.example.com", "https://auth.docker.io/token", id="another registry's token host"
        ),
    ],
)
def test_realms_that_may_not(registry: str, realm: str) -> None:
    with pytest.raises(RegistryProtocolError):
        check_realm(Url.parse(realm), registry=Origin("https", registry, 443), with_credential=True)


INSECURE = Origin("http", "10.0.0.5", 5000)


def test_a_plain_token_server_is_asked_where_the_user_says_so() -> None:
    realm = Url.parse("http://10.0.0.6:5001/token")
    with pytest.raises(RegistryProtocolError, match="not https") as refused:
        check_realm(realm, registry=INSECURE, with_credential=False)
    assert "--insecure-registry 10.0.0.6:5001" in refused.value.hint
    check_realm(realm, registry=INSECURE, with_credential=False, insecure=["10.0.0.6:5001"])
    with pytest.raises(RegistryProtocolError, match="nothing to do with") as refused:
        check_realm(realm, registry=INSECURE, with_credential=True, insecure=["10.0.0.6:5001"])
    assert "ANYARCH_TOKEN_HOSTS=10.0.0.5:5000=10.0.0.6" in refused.value.hint
    hosts = ["10.0.0.6"]
    check_realm(realm, registry=INSECURE, with_credential=True, insecure=["10.0.0.6:5001"], token_hosts=hosts)


@pytest.mark.parametrize(
    ("registry", "target"),
    [
        pytest.param(INSECURE, "http://169.254.169.254/latest", id="from a private registry"),
        pytest.param(LOCAL, "http://169.254.169.254/latest", id="from this machine"),
        pytest.param(LOCAL, "https://169.254.169.254/latest", id="by TLS"),
        pytest.param(LOCAL, "http://[fe80::1]/latest", id="IPv6"),
        pytest.param(LOCAL, "http://[::ffff:169.254.169.254]/latest", id="IPv4 in IPv6"),
        pytest.param(PUBLIC, "http://169.254.169.254/latest", id="from a public registry"),
        pytest.param(PUBLIC, "http://10.0.0.1/latest", id="a private address from a public registry"),
        pytest.param(PUBLIC, "http://bucket.s3.example/x", id="off TLS"),
    ],
)
def test_no_advice_leads_where_nothing_may_lead(registry: Origin, target: str) -> None:
    host = Url.parse(target).origin.host
    with pytest.raises(RegistryProtocolError) as refused:
        check_elsewhere(Url.parse(target), registry=registry, insecure=[host])
    assert "--insecure-registry" not in refused.value.hint


def test_a_strange_realm_may_be_asked_without_a_credential() -> None:
    check_realm(Url.parse("https://tokens.example.net/t"), registry=PUBLIC, with_credential=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.com", "128.0.0.1", "[::2]", "127.example.com"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
