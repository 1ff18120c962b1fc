"""Readers that are not ours understand what we publish, and say of it what we say."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyarch.cli.main import run
from anyarch.errors import ContentError, VerifyFailedError
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import Index, Manifest
from anyarch.oci.media_type import MediaType
from anyarch.oci.reference import Tag
from anyarch.release.publish import merge
from anyarch.release.record import record_from_store
from anyarch.release.verify import verify

from tests.builders import an_index, upload
from tests.contract.places import PLACES
from tests.fake_registry import FakeRegistry
from tests.fake_repositories import Repository
from tests.releases import a_build

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anyarch.release.verify import Verification

    from tests.builders import BuiltImage
    from tests.contract.places import AnyStore, Place

NAMES = ("linux/386", "linux/amd64", "linux/arm/v7", "linux/arm64")
BUILDS = [a_build(name) for name in NAMES]
READER_SECONDS = 30
SERVERS = ("docker-registry 2.8", "distribution 3", "olareg")


@dataclass(frozen=True)
class Published:
    reference: str
    said: Verification


@dataclass(frozen=True)
class Reader:
    """Commands with {ref}, {host}, {platform}, {arch}, {variant} and {layout} to be filled in.

    ``index`` prints the index, ``config`` one platform's config, both byte for byte; ``pull`` makes a layout.
    """

    index: str
    config: str
    pull: str


READERS = {
    "skopeo": Reader(
        index="skopeo inspect --raw --tls-verify=false docker://{ref}",
        config="skopeo --override-arch={arch} --override-variant={variant} inspect --config --raw "
        "--tls-verify=false docker://{ref}",
        pull="skopeo --insecure-policy --override-arch={arch} --override-variant={variant} copy "
        "--src-tls-verify=false docker://{ref} oci:{layout}:v1",
    ),
    "crane": Reader(
        index="crane manifest {ref}",
        config="crane config --platform={platform} {ref}",
        pull="crane pull --format=oci --platform={platform} {ref} {layout}",
    ),
    "regctl": Reader(
        index="regctl --host=reg={host},tls=disabled manifest get --format=raw-body {ref}",
        config="regctl --host=reg={host},tls=disabled image inspect --format=raw-body "
        "--platform={platform} {ref}",
        pull="regctl --host=reg={host},tls=disabled image copy --platform={platform} {ref} ocidir://{layout}:v1",
    ),
    "oras": Reader(
        index="oras manifest fetch --plain-http {ref}",
        config="oras manifest fetch-config --plain-http --platform={platform} {ref}",
        pull="oras copy --from-plain-http --platform={platform} {ref} --to-oci-layout {layout}:v1",
    ),
}


async def publish(store: AnyStore) -> Published:
    async with store:
        await upload(store, *BUILDS)
        records = [await record_from_store(store, each.digest, platform=each.platform) for each in BUILDS]
        await merge(store, records, tags=[Tag("1.2.3")])
        said = await verify(store, Tag("1.2.3"), platforms=[each.platform for each in BUILDS])
        return Published(f"{store.name}:1.2.3", said)


@pytest.fixture(scope="module", params=SERVERS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, peers: Path
) -> Iterator[Place]:
    with PLACES[request.param](tmp_path_factory.mktemp("place"), peers) as opened:
        yield opened


@pytest.fixture(scope="module")
def published(place: Place) -> Published:
    return anyio.run(publish, place.open("shop/api"))


def ask(command: str, reference: str, peers: Path, build: BuiltImage, layout: Path) -> bytes:
    """Run a reader's command; it must end well."""
    platform = build.platform
    words: Sequence[str] = [
        word.format(
            ref=reference,
            host=reference.partition("/")[0],
            platform=platform,
            arch=platform.architecture,
            variant=platform.variant or "",
            layout=layout,
        )
        for word in command.split()
    ]
    own = peers / words[0]
    done = subprocess.run(
        [own if own.exists() else words[0], *(word for word in words[1:] if not word.endswith("="))],
        capture_output=True,
        timeout=READER_SECONDS,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(layout.parent)},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_finds_our_index(published: Published, peers: Path, reader: str, tmp_path: Path) -> None:
    raw = ask(READERS[reader].index, published.reference, peers, BUILDS[0], tmp_path)
    index = json.loads(raw)
    found = {(each["digest"], each["size"], each["platform"]["architecture"]) for each in index["manifests"]}
    ours = {(str(each.digest), len(each.manifest.raw), each.platform.architecture) for each in BUILDS}
    assert found == ours
    assert Digest.of(raw) == published.said.digest


@pytest.mark.parametrize("build", BUILDS, ids=NAMES)
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_inspects_and_pulls_each_platform(
    published: Published, peers: Path, reader: str, build: BuiltImage, tmp_path: Path
) -> None:
    config = json.loads(ask(READERS[reader].config, published.reference, peers, build, tmp_path))
    assert config == json.loads(build.blobs[build.manifest.config.digest])
    layout = tmp_path / "pulled"
    ask(READERS[reader].pull, published.reference, peers, build, layout)
    pulled = {path.name: path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()}
    wanted = {**build.blobs, build.digest: build.manifest.raw}
    assert {digest.hex: pulled.get(digest.hex) for digest in wanted} == {
        digest.hex: content for digest, content in wanted.items()
    }
    others = {each.digest.hex for each in BUILDS if each is not build}
    assert not others & set(pulled), "only the platform that was asked for"


def test_crane_finds_nothing_to_object_to(published: Published, peers: Path, tmp_path: Path) -> None:
    ask("crane validate --remote={ref}", published.reference, peers, BUILDS[0], tmp_path)


@pytest.mark.parametrize("build", BUILDS, ids=NAMES)
def test_buildah_pulls_each_platform_and_says_of_it_what_we_say(
    published: Published, peers: Path, build: BuiltImage, tmp_path: Path
) -> None:
    """It unpacks what it pulls, into a storage of its own: digest and config are compared, not blobs."""
    storage = f"buildah --root={tmp_path}/root --runroot={tmp_path}/run --storage-driver=vfs"
    pull = "pull --quiet --tls-verify=false --os=linux --arch={arch} --variant={variant} docker://{ref}"
    image = ask(f"{storage} {pull}", published.reference, peers, build, tmp_path / "x").decode().strip()
    said = json.loads(
        ask(f"{storage} inspect --type=image {image}", published.reference, peers, build, tmp_path / "x")
    )
    assert said["FromImageDigest"] == str(build.digest)
    assert said["Config"].encode() == build.blobs[build.manifest.config.digest]
    assert json.loads(said["Manifest"]) == json.loads(build.manifest.raw)


def plant(registry: FakeRegistry, raw: bytes, *builds: BuiltImage) -> str:
    """Put an index, whatever it is, into a registry that looks at nothing."""
    held = registry.repositories.by_name["shop/api"] = Repository()
    for build in builds:
        held.manifests[str(build.digest)] = (build.manifest.media_type, build.manifest.raw)
        held.blobs |= {str(digest): blob for digest, blob in build.blobs.items()}
    held.manifests[str(Digest.of(raw))] = (MediaType.OCI_INDEX, raw)
    held.tags["v1"] = str(Digest.of(raw))
    return f"{registry.host}/shop/api:v1"


@pytest.mark.parametrize("field", ["Manifests", "MANIFESTS", "manife\u017fts", "Digest", "dige\u017ft"])
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_takes_for_a_field_what_looks_like_it_and_we_refuse_that(
    peers: Path, reader: str, field: str, tmp_path: Path
) -> None:
    """The index lists one image to whoever tells the names apart, and another to everybody else."""
    ours, theirs = a_build("linux/amd64"), a_build("linux/amd64", files={"app": b"another"})
    document: dict[str, Any] = {**an_index(ours).document}
    if field.casefold() == "digest":
        document["manifests"] = [
            {**ours.descriptor.to_oci(), field: str(theirs.digest), "Size": theirs.manifest.size}
        ]
    else:
        document[field] = [theirs.descriptor.to_oci()]
    raw = json.dumps(document).encode()
    with FakeRegistry() as registry:
        reference = plant(registry, raw, ours, theirs)
        ask(READERS[reader].pull, reference, peers, ours, tmp_path / "pulled")
    pulled = {path.name for path in (tmp_path / "pulled" / "blobs" / "sha256").iterdir()}
    assert pulled & {ours.digest.hex, theirs.digest.hex} == {theirs.digest.hex}
    with pytest.raises(ContentError, match="which many readers take for"):
        Manifest.from_bytes(raw)


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        pytest.param({"os": "Linux", "architecture": "ARM64"}, [*READERS], id="upper case"),
        pytest.param({"os": "linux", "architecture": "aarch64"}, ["skopeo", "crane", "oras"], id="a synonym"),
        pytest.param(
            {"os": "linux", "architecture": "arm64", "variant": "8"}, ["skopeo"], id="half a variant"
        ),
        pytest.param(None, ["regctl", "oras", "crane"], id="no platform"),
    ],
)
def test_readers_do_not_find_an_image_by_a_platform_that_we_do_not_let_pass(
    peers: Path, words: dict[str, str] | None, lost: Sequence[str], tmp_path: Path
) -> None:
    amd64, arm64 = a_build("linux/amd64"), a_build("linux/arm64")
    platform = arm64.platform if words else None
    index = Index.build(
        [amd64.descriptor, replace(arm64.descriptor, platform=platform, platform_fields=words)]
    )
    with FakeRegistry() as registry:
        reference = plant(registry, index.raw, amd64, arm64)
        for reader in lost:
            with pytest.raises(AssertionError, match=r"no.*(platform|matching|architecture)|not found"):
                ask(READERS[reader].config, reference, peers, arm64, tmp_path)
        assert run(["verify", reference]) == VerifyFailedError.exit_code
