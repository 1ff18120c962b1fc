"""The Dagger module as its users have it: ``dagger call`` on a native engine, with its own dagger.json."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import CONFIG_MAX_BYTES, Image, Index
from anyarch.oci.platforms import Platform
from anyarch.oci.reference import Tag
from anyarch.registry.stores import open_store
from anyarch.release import publish
from anyarch.release.found import find_image
from anyarch.release.plan import PlannedPlatform
from anyarch.release.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.stack import Stack

ROOT: Final = Path(__file__).parents[2]
CALL_SECONDS: Final = 500
PLAN: Final = str(Digest.of(b"a plan"))

# What each stage finds is written down where the last stage can show it.
DOCKERFILE: Final = """\
FROM --platform=$BUILDPLATFORM debian:bookworm-slim AS tool
ARG BUILDPLATFORM TARGETPLATFORM TARGETARCH
RUN echo "$BUILDPLATFORM builds $TARGETPLATFORM ($TARGETARCH) on $(dpkg --print-architecture)" >/tool
FROM debian:bookworm-slim AS final
ARG GREETING=none
COPY . /context
COPY --from=tool /tool /tool
RUN --mount=type=secret,id=token cd /context && { cat /tool; echo "greeting $GREETING"; \\
    echo "secret has $(cat /run/secrets/token 2>/dev/null | wc -c) bytes"; find . -type f | sort; } >/facts
CMD ["cat", "/facts"]
FROM final AS never
RUN exit 1
"""


@dataclasses.dataclass(frozen=True)
class Client:
    """``dagger`` on one engine, and the registry that this engine reaches."""

    program: Path
    engine: str
    registry: str

    def run(
        self, *words: str, cwd: Path = ROOT, environ: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        given = {"_EXPERIMENTAL_DAGGER_RUNNER_HOST": self.engine, "DAGGER_NO_NAG": "1", "DO_NOT_TRACK": "1"}
        return subprocess.run(
            [self.program, "--progress=plain", *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, **given, "NO_COLOR": "1", **environ},
            timeout=CALL_SECONDS,
        )

    def call(self, *words: str, **environ: str) -> str:
        """What a call prints; it must succeed."""
        done = self.run("call", *words, environ=environ)
        assert done.returncode == 0, done.stderr[-6000:]
        return done.stdout

    def failure(self, *words: str, **environ: str) -> str:
        """The message with which a call ends; it must fail, and show no traceback."""
        done = self.run("call", *words, environ=environ)
        assert done.returncode != 0, done.stdout
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
        assert "Traceback" not in said
        return re.sub(r" \[traceparent:[0-9a-f-]+\]\s*$", "", said.rpartition("\nError: ")[2])

    async def calls(self, *words: str, **environ: str) -> str:
        return await anyio.to_thread.run_sync(partial(self.call, *words, **environ))

    async def fails(self, *words: str, **environ: str) -> str:
        return await anyio.to_thread.run_sync(partial(self.failure, *words, **environ))


@pytest.fixture(scope="module")
def client(one_engine: Stack) -> Client:
    engine = next(iter(one_engine.engines.values()))
    return Client(engine.dagger, engine.url, one_engine.registry)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A context whose Dockerfile writes down what it was given."""
    folder = tmp_path / "app"
    files = {
        "Dockerfile": DOCKERFILE,
        ".dockerignore": "ignored\nDockerfile\n",
        "kept": "",
        "ignored": "",
        "left-out": "",
    }
    for name, text in {**files, ".anyarch/logs/linux-386.log": "of an earlier run"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def build(application: Path, *more: str) -> list[str]:
    return ["build", f"--source={application}", "--platform=linux/386", "--target=final", *more]


def test_the_functions_are_listed_with_what_they_do(client: Client) -> None:
    done = client.run("functions")
    assert done.returncode == 0, done.stderr[-4000:]
    listed = dict(re.findall(r"(?m)^(build|merge|release|trial|verify) +(\S.*)$", done.stdout))
    assert listed.keys() == {"build", "merge", "release", "trial", "verify"}
    assert listed["build"].startswith("Build one platform's image")


def test_a_build_honours_arguments_target_secret_label_and_what_is_left_out(
    client: Client, application: Path
) -> None:
    words = build(application, '--build-arg="GREETING=one, two=2"', "--exclude=left-out", "--label=a.b=c=d")
    words += ["--secret=env:TOKEN_OF_TEST", "--secret-id=token"]
    said = client.call(*words, "container", "file", "--path=/facts", "contents", TOKEN_OF_TEST="12345")
    assert said.splitlines() == [
        "linux/amd64 builds linux/386 (386) on amd64",
        "greeting one, two=2",
        "secret has 5 bytes",
        "./.dockerignore",
        "./kept",
    ]
    assert client.call(*words, "container", "label", "--name=a.b", TOKEN_OF_TEST="12345") == "c=d"


def readme(*words: str) -> list[str]:
    """The one `dagger call …` of the README that has these words, as it is printed there."""
    lines = re.findall(r"(?m)^\$ (dagger call .*?)(?: +#.*)?$", (ROOT / "README.md").read_text())
    (found,) = (line for line in map(shlex.split, lines) if {*words} <= {*line})
    return found[1:]


def test_the_readmes_example_in_the_checkout_runs_as_a_32_bit_program(client: Client) -> None:
    done = client.run(*readme("container"))
    assert done.returncode == 0, done.stderr[-6000:]
    assert "32-bit" in done.stdout


def test_the_readmes_example_in_an_applications_folder_leaves_a_record(
    client: Client, tmp_path: Path
) -> None:
    (tmp_path / "anyarch").symlink_to(ROOT)
    application = shutil.copytree(ROOT / "examples" / "static", tmp_path / "static")
    repository = f"{client.registry}/test/readme"
    words = [word.replace("--repository=R", f"--repository={repository}") for word in readme("publish")]
    words.insert(words.index("publish") + 1, "--insecure")  # this registry has no TLS
    done = client.run(*words, cwd=application)
    assert done.returncode == 0, done.stderr[-6000:]
    (written,) = (application / "records").iterdir()
    record = Record.from_json(written.read_bytes(), subject=written.name)
    assert (str(record.platform), record.repository) == ("linux/arm64", repository)


def test_every_call_of_the_readme_is_run_here() -> None:
    assert (ROOT / "README.md").read_text().count("$ dagger call ") == 2


def test_a_foreign_platform_is_cross_compiled_on_the_engines_own(client: Client, tmp_path: Path) -> None:
    words = ["build", "--source=examples/static", "--platform=linux/arm64"]
    client.call(*words, "container", "rootfs", "export", f"--path={tmp_path}/root")
    program = (tmp_path / "root" / "count").read_bytes()
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == 183  # EM_AARCH64
    assert client.call(*words, "execution") == "emulated"


@pytest.mark.anyio
async def test_publishing_leaves_a_record_of_what_the_registry_holds_and_no_tag(
    client: Client, application: Path, tmp_path: Path
) -> None:
    repository = f"{client.registry}/test/module"
    words = build(application, f"--plan={PLAN}", "--revision=abc123", "--label=a=b")
    words += ['--annotation="a.b=c=d, e"']
    words += ["publish", f"--repository={repository}", "--insecure", "--run-id=7", "--run-attempt=2"]

    async def published_as(name: str) -> Record:
        await client.calls(*words, "export", f"--path={tmp_path / name}")
        return Record.from_json((tmp_path / name).read_bytes(), subject=name)

    record = await published_as("first.json")
    assert (record.platform, record.repository) == (Platform("linux", "386"), repository)
    assert (str(record.plan), record.revision) == (PLAN, "abc123")
    assert (record.execution, record.engine_version) == ("native", "v0.21.8")
    assert (record.run_id, record.run_attempt) == ("7", 2)
    assert record.seconds.keys() == {"build", "push", "read_back"}
    async with open_store(repository, insecure=[client.registry]) as store:
        manifest = await store.get(record.image.digest)
        assert isinstance(manifest, Image)
        assert manifest.annotations == {
            "a.b": "c=d, e",
            "dev.anyarch.plan": PLAN,
            "dev.anyarch.execution": "native",
            "org.opencontainers.image.revision": "abc123",
        }
        config = await store.get_blob(manifest.config, max_bytes=CONFIG_MAX_BYTES)
        assert json.loads(config)["config"]["Labels"]["a"] == "b"
        assert await store.tags() == []
    again = await published_as("second.json")
    assert again.image == record.image
    assert again.started != record.started or again.seconds != record.seconds  # run, not remembered


@pytest.mark.anyio
async def test_merge_by_the_module_and_by_the_library_write_the_same_index(
    client: Client, tmp_path: Path
) -> None:
    repository, records = f"{client.registry}/test/merged", tmp_path / "records"

    for platform in ("linux/386", "linux/amd64"):
        words = ["build", "--source=examples/static", f"--platform={platform}", "publish", "--insecure"]
        path = records / f"{Platform.parse(platform).slug}.json"
        await client.calls(*words, f"--repository={repository}", "export", f"--path={path}")
    merge = ["merge", f"--records={records}", f"--to={repository}", "--insecure", "--tag=1.0"]
    merge += ["--platform=linux/amd64", "--platform=linux/386"]
    digest = await client.calls(*merge, "digest")
    read = [Record.from_json(path.read_bytes(), subject=path.name) for path in sorted(records.iterdir())]
    async with open_store(repository, insecure=[client.registry]) as store:
        expected = [PlannedPlatform(platform=each.platform) for each in reversed(read)]
        release = await publish.merge(store, read, expected=expected, tags=[Tag("1.0")])
        assert (str(release.digest), release.writes) == (digest, 0)
        assert isinstance(await store.get(Tag("1.0")), Index)

    elsewhere = ["merge", f"--reference={repository}:1.0", f"--to={client.registry}/test/elsewhere"]
    assert await client.calls(*elsewhere, f"--from={repository}", "--force", "--insecure", "digest") == digest

    verify = ["verify", f"--ref={repository}:1.0", "--insecure", "--platform=linux/amd64"]
    failure = await client.fails(*verify)
    assert failure.startswith("anyarch.VerifyFailedError: ")
    assert "linux/386" in failure
    said = await client.calls(*verify, "--platform=linux/386")
    assert said.startswith(f"ok {repository}:1.0 is {digest}\n")
    refused = await client.fails(*merge, "--platform=linux/arm64", "digest")
    assert refused.startswith("anyarch.MergeRefusedError: ")
    assert "linux/arm64" in refused


@pytest.mark.anyio
async def test_release_builds_and_tags_everything_on_one_engine(client: Client) -> None:
    repository = f"{client.registry}/test/released"
    words = ["release", "--source=examples/static", "--platform=linux/386", "--platform=linux/arm64"]
    words += [f"--repository={repository}", "--insecure", "--tag=1.0", "--tag=latest"]
    words += ["--annotation=com.example.team=shop"]
    report = await client.calls(*words, "report")
    async with open_store(repository, insecure=[client.registry]) as store:
        index = await store.get(Tag("latest"))
        assert isinstance(index, Index)
        assert {str(child.platform) for child in index.images} == {"linux/386", "linux/arm64"}
        children = [await store.get(child.digest) for child in index.images]
        assert all(each.annotations["com.example.team"] == "shop" for each in (index, *children))
        assert {"1.0", "latest"} <= {*await store.tags()}
    assert str(index.digest) in report


@pytest.mark.anyio
async def test_a_layout_holds_exactly_the_one_image(
    client: Client, application: Path, tmp_path: Path
) -> None:
    words = [*build(application), "layout", "export", f"--path={tmp_path}/layout"]
    await client.calls(*words)
    index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
    (descriptor,) = index["manifests"]
    async with open_store(f"oci:{tmp_path}/layout") as store:
        found = await find_image(store, Digest.parse(descriptor["digest"]))
        assert found.platform == Platform("linux", "386")
        for layer in found.manifest.layers:
            assert await store.has_blob(layer)
    blobs = {path.name for path in (tmp_path / "layout/blobs/sha256").iterdir()}
    named = [
        found.root.digest,
        found.manifest.config.digest,
        *(layer.digest for layer in found.manifest.layers),
    ]
    assert blobs == {digest.hex for digest in named}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ["build", "--source=examples/web", "--platform=linux/arm46", "execution"],
            "anyarch.UsageError: platform 'linux/arm46': no architecture is called 'arm46'\n"
            "  → did you mean arm64?",
            id="a platform nobody has",
        ),
        pytest.param(
            ["build", "--source=examples/web", "--platform=linux/386", "--build-arg=A", "execution"],
            "anyarch.UsageError: --build-arg 'A' is not NAME=VALUE",
            id="an argument without a value",
        ),
        pytest.param(
            ["build", "--source=examples/web", "--platform=linux/386", "--dockerfile=None", "layout"],
            'anyarch.BuildFailedError: linux/386: failed to read Dockerfile "None": '
            "open /None: no such file or directory",
            id="no such Dockerfile",
        ),
        pytest.param(
            ["build", "--source=examples/web", "--platform=linux/386", "--target=nope", "layout"],
            "anyarch.BuildFailedError: linux/386: failed to convert Dockerfile to LLB: "
            'target stage "nope" could not be found',
            id="no such target",
        ),
        pytest.param(
            [
                *("build", "--source=examples/web", "--platform=linux/386"),
                *("publish", "--repository=Example.com/App", "sync"),
            ],
            "anyarch.UsageError: 'Example.com/App' is not a repository\n"
            "  → repository names are lower case: example.com/app",
            id="a repository in capitals",
        ),
    ],
)
def test_a_mistake_is_one_message_with_its_class(client: Client, words: list[str], message: str) -> None:
    assert client.failure(*words) == message


def test_a_failing_instruction_is_shown_with_its_last_lines(client: Client, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM debian:bookworm-slim\nRUN echo compiling; echo 'no such header' >&2; exit 3\n"
    )
    words = ["build", f"--source={tmp_path}", "--platform=linux/386", "publish"]
    failure = client.failure(*words, f"--repository={client.registry}/test/failing", "--insecure", "sync")
    command = "echo compiling; echo 'no such header' >&2; exit 3"
    assert failure.splitlines() == [
        f"anyarch.BuildFailedError: linux/386: RUN {command} ended with 3",
        "    compiling",
        "    no such header",
    ]


def test_a_wrong_password_shows_before_a_long_build(
    client: Client, registry_with_password: str, tmp_path: Path
) -> None:
    # Longer than a call may take here.
    (tmp_path / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN sleep 1000\n")
    words = ["build", f"--source={tmp_path}", "--platform=linux/386", "publish", "--insecure"]
    words += [f"--repository={registry_with_password}/app", "--username=robot", "--password=env:WRONG"]
    failure = client.failure(*words, "sync", WRONG="canary-4711")
    assert failure.startswith("anyarch.AuthenticationError: ")
    assert "canary-4711" not in failure


def test_a_registry_that_is_down_is_named_within_seconds(client: Client) -> None:
    host = client.registry.partition(":")[0]
    words = ["build", "--source=examples/static", "--platform=linux/386", "publish", "--insecure"]
    failure = client.failure(*words, f"--repository={host}:5999/app", "sync")
    assert failure.startswith("anyarch.RegistryUnavailableError: ")
    assert f"{host}:5999" in failure


def test_editing_the_library_is_seen_by_the_next_call(client: Client, tmp_path: Path) -> None:
    """Sessions share the module's types; a changed source must not get those of the old one."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("LICENSE", "README.md", "dagger.json", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, copy)
    for name in ("ci", "dagger"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    main = copy / "dagger/src/pipeline/main.py"
    main.write_text(main.read_text().replace("Build one platform's image", "Bake one platform's image"))
    assert "Bake one platform's image" in client.run("functions", "-m", str(copy)).stdout


def test_httpx2_beside_the_sdk_does_not_break_it() -> None:
    """gql takes httpx2 where it is installed, from 4.4 on, and dagger-io gives it httpx's objects."""
    lock = (ROOT / "requirements.lock").read_text()
    found = re.search(r"(?m)^gql==(\d+)\.(\d+)", lock)
    assert found is not None
    assert (int(found[1]), int(found[2])) < (4, 4)
