"""How a run ended, told from what engine v0.21.8 answers; the words of runc are copied from real runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import dagger
import gql
import pytest
from anyarch.errors import AuthenticationError, CannotRunError, NotFoundError, UsageError
from anyarch.oci.platforms import Platform
from dagger._exceptions import QueryErrorValue
from pipeline import trial
from pipeline.failures import pull_failure
from pipeline.trial import found, tried

if TYPE_CHECKING:
    from anyarch.release.trial import Trial

pytestmark = pytest.mark.anyio

AMD, ARM = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
NOT_FOUND = (
    'runc run failed: unable to start container process: exec: "nope": executable file not found in $PATH\n'
)
FOREIGN = "exec /usr/bin/uname: exec format error\n"


class Image:
    """A container of which only the command matters."""

    def __init__(self, *, code: int = 0, stdout: str = "", stderr: str = "", fails: bool = False) -> None:
        self.code, self.out, self.err, self.fails = code, stdout, stderr, fails
        self.labels: list[str] = []
        self.line: list[str] = []

    async def entrypoint(self) -> list[str]:
        return ["/app"]

    async def default_args(self) -> list[str]:
        return ["serve"]

    def with_label(self, _: str, value: str) -> Image:
        self.labels.append(value)
        return self

    def with_exec(self, line: list[str], **_: object) -> Image:
        self.line = line
        return self

    async def exit_code(self) -> int:
        if not self.fails:
            return self.code
        fields = {"_type": "EXEC_ERROR", "cmd": self.line, "exitCode": self.code}
        error = QueryErrorValue(
            f"exit code: {self.code}", extensions={**fields, "stdout": self.out, "stderr": self.err}
        )
        raise dagger.QueryError([error], gql.gql("{ version }"))

    async def stdout(self) -> str:
        return self.out

    async def combined_output(self) -> str:
        return self.out + self.err


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine:
        async def default_platform(self) -> str:
            return "linux/amd64"

    monkeypatch.setattr(trial, "dag", Engine())


async def run(image: Image, *, platform: Platform = AMD, command: str = "") -> Trial:
    return await tried(cast("dagger.Container", image), platform, command=command, entrypoint=None)


async def test_what_it_said_and_how_it_was_run() -> None:
    image = Image(code=3, stdout="out\n", stderr="err\n")
    result = await run(image, platform=ARM, command="-v 'a b'")
    assert image.line == ["/app", "-v", "a b"]
    assert (result.execution, result.exit_code) == ("emulated", 3)
    assert (result.stdout, result.output) == ("out\n", "out\nerr\n")


async def test_death_by_a_signal_which_the_engine_takes_for_its_own_failure() -> None:
    result = await run(Image(code=139, stdout="out\n", stderr="err\n", fails=True))
    assert (result.exit_code, result.output) == (139, "out\nerr\n")


async def test_no_two_trials_look_alike_to_the_engines_cache() -> None:
    image = Image()
    await run(image)
    await run(image)
    assert len(set(image.labels)) == 2


@pytest.mark.parametrize(
    ("platform", "words", "said"),
    [
        pytest.param(AMD, NOT_FOUND, 'exec: "nope": executable file not found', id="no such program"),
        pytest.param(ARM, FOREIGN, "this engine is linux/amd64 and has no emulator", id="no emulator"),
        pytest.param(AMD, FOREIGN, "/app cannot be started", id="a damaged program"),
    ],
)
async def test_a_program_that_did_not_start_is_told_from_one_that_failed(
    platform: Platform, words: str, said: str
) -> None:
    with pytest.raises(CannotRunError, match=said):
        await run(Image(code=1, stderr=words), platform=platform)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image(code=1, stderr="sh: 1: x: Exec format error\n"), id="a shell's words"),
        pytest.param(Image(code=1, stdout="working\n", stderr=FOREIGN), id="it had said something"),
        pytest.param(Image(code=127, stderr=NOT_FOUND), id="another exit code"),
        pytest.param(Image(code=1, stderr=f"begin\n{FOREIGN}"), id="more lines"),
    ],
)
async def test_a_program_that_talks_of_such_things_has_been_started(image: Image) -> None:
    assert (await run(image)).exit_code == image.code


@pytest.mark.parametrize("ref", ["", "r.example.com/a:1"])
async def test_the_image_is_named_once(ref: str) -> None:
    layout = cast("dagger.Directory", object()) if ref else None
    with pytest.raises(UsageError, match="either --ref or --layout"):
        _ = await found(ref, layout, AMD, username="", password=None)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        pytest.param(
            'failed to resolve image "r/a:1" (platform: "linux/386"): r/a:1: not found',
            NotFoundError,
            id="gone",
        ),
        pytest.param(
            "pull access denied, repository does not exist or may require authorization: "
            "authorization failed: no basic auth credentials",
            AuthenticationError,
            id="no credentials",
        ),
    ],
)
async def test_a_pull_that_is_refused_has_its_class(words: str, kind: type[Exception]) -> None:
    error = dagger.QueryError([QueryErrorValue(words)], gql.gql("{ version }"))
    failure = pull_failure(error, repository="r/a")
    assert isinstance(failure, kind)
    assert "could not pull from r/a" in str(failure)
