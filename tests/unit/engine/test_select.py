from __future__ import annotations

import pytest
from anyarch.engine.select import RUNNER_HOST, choose
from anyarch.errors import UsageError
from anyarch.oci.platforms import Platform

ARM = Platform.parse("linux/arm64")
AMD = Platform.parse("linux/amd64")
EVERYTHING = {
    "flag": {ARM: "tcp://flag:1"},
    "configured": "tcp://file:1",
    "environ": {RUNNER_HOST: "tcp://environment:1"},
    "docker_available": True,
    "native": "unix:///run/native.sock",
}
NOTHING: dict[str, object] = {
    "flag": {},
    "configured": None,
    "environ": {},
    "docker_available": False,
    "native": None,
}


@pytest.mark.parametrize(
    ("taken_away", "url", "why"),
    [
        pytest.param((), "tcp://flag:1", "--engine", id="the flag wins"),
        pytest.param(("flag",), "tcp://file:1", "anyarch.toml", id="then the file"),
        pytest.param(("flag", "configured"), "tcp://environment:1", RUNNER_HOST, id="then the environment"),
        pytest.param(
            ("flag", "configured", "environ"), None, "Docker or Podman is running", id="then Docker"
        ),
        pytest.param(
            ("flag", "configured", "environ", "docker_available"),
            "unix:///run/native.sock",
            "nothing else configured",
            id="last the native one",
        ),
    ],
)
def test_each_source_yields_to_the_one_before(taken_away: tuple[str, ...], url: str | None, why: str) -> None:
    facts = EVERYTHING | {name: NOTHING[name] for name in taken_away}
    choice = choose(ARM, **facts)  # type: ignore[arg-type]  # a table of arguments
    assert (None if choice.url is None else str(choice.url), choice.why) == (url, why)
    assert choice.native == (len(taken_away) == 4)


def test_a_flag_for_one_platform_says_nothing_about_another() -> None:
    choice = choose(
        AMD,
        flag={ARM: "tcp://flag:1"},
        configured=None,
        environ={},
        docker_available=False,
        native="unix:///n",
    )
    assert choice.native


def test_without_anything_the_native_engine_must_be_started() -> None:
    choice = choose(ARM, flag={}, configured=None, environ={}, docker_available=False, native=None)
    assert (choice.url, choice.native, str(choice)) == (None, True, "native")


def test_an_empty_variable_is_no_engine() -> None:
    choice = choose(
        ARM, flag={}, configured=None, environ={RUNNER_HOST: ""}, docker_available=True, native=None
    )
    assert (choice.url, choice.native, str(choice)) == (None, False, "Docker")


def test_a_url_that_cannot_be_one_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(UsageError, match="tpc"):
        choose(ARM, flag={}, configured="tpc://x:1", environ={}, docker_available=True, native=None)
