"""anyarch.toml: everything optional, everything checked, every problem in one message."""

from __future__ import annotations

import pytest
from anyarch.errors import ConfigError, UsageError
from anyarch.oci.platforms import Platform
from anyarch.release.config import BuildSettings, Config, parse_config, parse_destination, parse_duration
from hypothesis import given
from hypothesis import strategies as st

FULL = """
image = "registry.example.com/shop/api"
also = ["123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/api", "oci:dist"]

[build]
context = "app"
dockerfile = "docker/Dockerfile"
target = "runtime"
timeout = "1h30m"
args = { VERSION = "1.2.3", EMPTY = "" }
secrets = { npm = "env:NPM_TOKEN" }
labels = { "org.example.team" = "shop" }
annotations = { "org.example.commit" = "{{sha}}" }
oci-labels = false

[platforms."linux/amd64"]
runner = "big"

[platforms."linux/arm64/v8"]
engine = "tcp://arm.example.com:1234"
required = false
fallback = "fail"

[tags]
rules = '''
# a block as it stands in a workflow
type=semver,pattern={{version}}
type=match,pattern=v(\\d+),group=1
'''
flavor = ["latest=false"]
short-sha-length = 12

[registries."localhost:5000"]
insecure = true

[registries."123456789012.dkr.ecr.eu-west-1.amazonaws.com"]
aws-profile = "prod"

[registries."123456789012.dkr.ecr.eu-west-1.amazonaws.com".create]
mutability = "immutable"
exceptions = ["latest", "pr-*"]
scan-on-push = true
encryption = "KMS"
kms-key = "alias/images"
tags = { team = "shop" }
lifecycle-policy = "ecr-lifecycle.json"

[registries."registry.example.com"]
insecure = false
"""


def test_every_key_arrives() -> None:
    config = parse_config(FULL, path="anyarch.toml")
    assert config.destinations == (
        "registry.example.com/shop/api",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/api",
        "oci:dist",
    )
    assert config.build == BuildSettings(
        context="app",
        dockerfile="docker/Dockerfile",
        target="runtime",
        args={"VERSION": "1.2.3", "EMPTY": ""},
        secrets={"npm": "env:NPM_TOKEN"},
        labels={"org.example.team": "shop"},
        annotations={"org.example.commit": "{{sha}}"},
    )
    assert config.oci_labels is False
    assert config.timeout_seconds == 90 * 60
    amd64, arm64 = config.platforms
    assert (amd64.runner, amd64.required, amd64.fallback) == ("big", True, "emulate")
    assert arm64.platform == Platform("linux", "arm64")
    assert (arm64.engine, arm64.required, arm64.fallback) == ("tcp://arm.example.com:1234", False, "fail")
    assert config.tags is not None
    assert [rule.type for rule in config.tags.rules] == ["semver", "match"]
    assert (config.tags.flavor.latest, config.tags.short_sha_length) == ("false", 12)
    assert config.insecure_registries == ("localhost:5000",)


def test_an_empty_file_is_a_configuration() -> None:
    assert parse_config("", path="anyarch.toml") == Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param('imge = "a/b"', "imge: unknown key; did you mean image?", id="misspelt key"),
        pytest.param(
            "[build]\ntaget = 'x'", "build.taget: unknown key; did you mean target?", id="nested key"
        ),
        pytest.param("[platfroms]", "did you mean platforms?", id="misspelt table"),
        pytest.param('also = ["oci:far"]', "need a first one", id="further destinations alone"),
        pytest.param(
            'image = "oci:a"\nalso = ["a b"]', "also: 'a b' is not a repository", id="no destination"
        ),
        pytest.param(
            "zzz = 1", "known here: also, build, image, platforms, registries, tags", id="no near key"
        ),
        pytest.param("image = 3", "image: expected a string, got 3", id="number for a string"),
        pytest.param("image = ''", "image: empty", id="empty value"),
        pytest.param("image = 'oci:'", "names no directory", id="layout without directory"),
        pytest.param("image = 'Shop/API'", "lower case: shop/api", id="upper-case repository"),
        pytest.param("image = 'r.example.com/a:1'", "tags go to --tag", id="repository with a tag"),
        pytest.param("build = 'x'", "build: expected a table, got 'x'", id="string for a table"),
        pytest.param(
            "[build]\nargs = {A = 3}", "build.args.A: expected a string, got 3", id="number argument"
        ),
        pytest.param(
            "[build]\nargs = {'A-B' = 'x'}", "build.args.A-B: not a name", id="argument with a dash"
        ),
        pytest.param('[build]\nargs = {A = "x\\ny"}', "build.args.A: control characters", id="line break"),
        pytest.param('[build]\ndockerfile = "/etc/passwd"', "outside the build context", id="absolute file"),
        pytest.param(
            '[build]\ndockerfile = "../x"', "outside the build context", id="file above the context"
        ),
        pytest.param('[build]\ncontext = "/app"', "is not a relative path", id="absolute context"),
        pytest.param('[build]\ntimeout = "2 hours"', "build.timeout: '2 hours' is not a time", id="odd time"),
        pytest.param('[build]\ntimeout = "0s"', "is not a time", id="no time at all"),
        pytest.param('[build]\ntimeout = "25h"', "is not a time", id="more than a day"),
        pytest.param('[build.secrets]\n"a b" = "env:X"', "not a secret id", id="secret id with a space"),
        pytest.param('[build.secrets]\na = "cmd:x,y"', "no commas or quotes", id="comma in a secret"),
        pytest.param('[platforms."linux/arm46"]', "did you mean", id="misspelt architecture"),
        pytest.param("[platforms.linux]", "'linux' is not a platform", id="half a platform"),
        pytest.param(
            '[platforms."linux/arm64"]\n[platforms."linux/arm64/v8"]', "is there twice", id="twice the same"
        ),
        pytest.param(
            '[platforms."linux/386"]\nengine = "box"', "is not an engine's URL", id="engine, no URL"
        ),
        pytest.param(
            '[platforms."linux/386"]\nrequired = 1', "expected true or false, got 1", id="1 for true"
        ),
        pytest.param(
            '[platforms."linux/386"]\nfallback = "retry"',
            "expected emulate or fail or skip",
            id="odd fallback",
        ),
        pytest.param('[tags]\nraw = ["latest"]', "known here: flavor, rules", id="unknown key for tags"),
        pytest.param("[tags]\nrules = 1", "tags.rules: expected a list, got 1", id="number for rules"),
        pytest.param(
            "[tags]\nrules = [1]", "tags.rules[0]: expected a string, got 1", id="number for a rule"
        ),
        pytest.param(
            '[tags]\nrules = """\n\ntype=semvr"""', "tags.rules line 2 'type=semvr': unknown type", id="rule"
        ),
        pytest.param('[tags]\nrules = "a\\u0000"', "control characters", id="control character in rules"),
        pytest.param(
            '[tags]\nrules = "pattern=\\d"', "blocks of rules in '''", id="backslash in a basic string"
        ),
        pytest.param(
            "[tags]\nshort-sha-length = 3", "expected 4 to 64, got 3", id="commit id of three characters"
        ),
        pytest.param(
            "[build.labels]\na = '{{shaa}}'", 'build.labels."a": {{shaa}}: unknown', id="odd expression"
        ),
        pytest.param(
            "[build.annotations]\n'dev.anyarch.plan' = 'x'", "anyarch itself writes", id="annotation of ours"
        ),
        pytest.param('[registries."http://x"]\n', "not a registry", id="registry with a scheme"),
        pytest.param("\n\nimage = x", "not valid TOML: Invalid value (at line 3, column 9)", id="syntax"),
        pytest.param("a = 1\na = 2\nb = 3\n", "Cannot overwrite a value (at line 2", id="twice a key"),
        pytest.param("x = " + "[" * 5000, "not valid TOML", id="nested too deep"),
        pytest.param("#" * 300_000, "longer than", id="far too long"),
    ],
)
def test_known_bad(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, path="anyarch.toml")
    assert said in str(caught.value)
    assert "anyarch.toml" in str(caught.value)


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("imge = 1\n[build]\ntarget = 2\n[tags]\nraw = ['-']", path="sub/anyarch.toml")
    assert caught.value.what == "sub/anyarch.toml has 3 problems"
    assert [offender.partition(":")[0] for offender in caught.value.offenders] == [
        "build.target",
        "tags.raw",
        "imge",
    ]


def test_a_secret_written_into_the_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config('[build.secrets]\nnpm = "hunter2"', path="anyarch.toml")
    assert "build.secrets.npm: expected where the secret is" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@given(st.text() | st.text(alphabet='[]=."\nbuildtagsplatforms/ 1', max_size=60))
def test_any_text_is_a_configuration_or_one_clear_error(text: str) -> None:
    try:
        parse_config(text, path="anyarch.toml")
    except ConfigError as error:
        assert "anyarch.toml" in error.what  # noqa: PT017  both outcomes are right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("oci:dist", "oci:dist", id="layout"),
        pytest.param("r.example.com:5000/a/b", "r.example.com:5000/a/b", id="repository"),
        pytest.param("shop/api", "docker.io/shop/api", id="Docker Hub"),
    ],
)
def test_a_destination_is_a_layout_or_a_repository(text: str, expected: str) -> None:
    assert parse_destination(text) == expected


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("1h1m1s", 3661), ("24h", 86400)])
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


def test_an_empty_duration_is_none() -> None:
    with pytest.raises(UsageError):
        parse_duration("")
