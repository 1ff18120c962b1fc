from __future__ import annotations

import pytest
from anyarch.errors import UsageError
from anyarch.oci.platforms import Platform
from hypothesis import given
from hypothesis import strategies as st

KNOWN = ["linux/amd64", "linux/386", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "linux/riscv64"]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        pytest.param("linux/amd64", "linux/amd64", id="already normal"),
        pytest.param("linux/x86_64", "linux/amd64", id="the kernel's word for amd64"),
        pytest.param("Linux/AMD64", "linux/amd64", id="upper case"),
        pytest.param("linux/amd64/v1", "linux/amd64", id="amd64 baseline"),
        pytest.param("linux/amd64/v3", "linux/amd64/v3", id="amd64 above the baseline"),
        pytest.param("linux/aarch64", "linux/arm64", id="the kernel's word for arm64"),
        pytest.param("linux/arm64/v8", "linux/arm64", id="arm64 baseline"),
        pytest.param("linux/arm64/8", "linux/arm64", id="variant without its v"),
        pytest.param("linux/arm", "linux/arm/v7", id="arm without a variant"),
        pytest.param("linux/armhf", "linux/arm/v7", id="Debian's armhf"),
        pytest.param("linux/armel", "linux/arm/v6", id="Debian's armel"),
        pytest.param("linux/i386", "linux/386", id="Debian's i386"),
        pytest.param("macos/arm64", "darwin/arm64", id="macos"),
    ],
)
def test_synonyms_are_one_platform(text: str, normal: str) -> None:
    assert str(Platform.parse(text)) == normal
    assert Platform.parse(text) == Platform.parse(normal)


@given(st.sampled_from(KNOWN))
def test_text_and_json_round_trip(text: str) -> None:
    platform = Platform.parse(text)
    assert Platform.parse(str(platform)) == platform
    assert Platform.from_oci(platform.to_oci()) == platform


@given(st.text(max_size=40))
def test_any_text_is_a_platform_or_one_clear_error(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except UsageError:
        return
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "expected os/architecture", id="empty"),
        pytest.param("linux", "expected os/architecture", id="no architecture"),
        pytest.param("linux/", "expected os/architecture", id="empty architecture"),
        pytest.param("linux/arm/v7/x", "expected os/architecture", id="four words"),
        pytest.param("linux/amd64\n", "expected os/architecture", id="a newline"),
        pytest.param("linux amd64", "expected os/architecture", id="a blank"),
        pytest.param("linux/amd46", "did you mean amd64?", id="a slip in the architecture"),
        pytest.param("linux/x86_46", "did you mean x86_64?", id="a slip in another name of it"),
        pytest.param("linx/amd64", "did you mean linux?", id="a slip in the system"),
        pytest.param("linux/toaster", "known:", id="an architecture nobody has"),
    ],
)
def test_a_wrong_word_gets_help(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Platform.parse(text)
    assert says in caught.value.hint


def test_known_architectures_are_listed_once_each_without_their_other_names() -> None:
    with pytest.raises(UsageError) as caught:
        Platform.parse("linux/toaster")
    listed = caught.value.hint.removeprefix("known: ").split(", ")
    assert "arm64" in listed
    assert not {"aarch64", "armhf", "x86_64"} & set(listed)


@pytest.mark.parametrize(
    ("engine", "target", "native"),
    [
        pytest.param("linux/amd64", "linux/amd64", True, id="its own"),
        pytest.param("linux/amd64", "linux/386", True, id="32 bit on 64-bit x86"),
        pytest.param("linux/386", "linux/amd64", False, id="64 bit on 32-bit x86"),
        pytest.param("linux/amd64", "linux/arm64", False, id="another family"),
        pytest.param("linux/amd64", "linux/amd64/v3", False, id="a higher level than is known"),
        pytest.param("linux/arm/v7", "linux/arm/v6", True, id="an older ARM"),
        pytest.param("linux/arm/v6", "linux/arm/v7", False, id="a newer ARM"),
        pytest.param("linux/arm64", "linux/arm/v7", False, id="32-bit ARM on 64 bit is not certain"),
        pytest.param("linux/arm64", "windows/arm64", False, id="another system"),
    ],
)
def test_native_is_only_said_where_it_is_certain(engine: str, target: str, native: bool) -> None:
    assert Platform.parse(engine).runs(Platform.parse(target)) is native


def test_a_windows_platform_keeps_its_version_and_features() -> None:
    fields = {
        "architecture": "amd64",
        "os": "windows",
        "os.version": "10.0.20348.1",
        "os.features": ["win32k"],
    }
    assert Platform.from_oci(fields).to_oci() == fields
    assert Platform.from_oci(fields) != Platform.parse("windows/amd64")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"os": "linux"}, id="no architecture"),
        pytest.param({"os": "", "architecture": "amd64"}, id="empty system"),
        pytest.param({"os": 1, "architecture": "amd64"}, id="a number"),
        pytest.param({"os": "linux", "architecture": "amd64", "os.features": "x"}, id="features no list"),
    ],
)
def test_a_broken_platform_object_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Platform.from_oci(fields)


def test_an_attestation_is_recognised() -> None:
    assert Platform.from_oci({"os": "unknown", "architecture": "unknown"}).is_attestation
    assert not Platform.parse("linux/amd64").is_attestation
