"""What strangers may put into a registry or onto a disk, given to every command that reads it.

Each is one clear error with the exit code that the README names, or is harmless; never a traceback, never
a line that steers the terminal, and nothing is written.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from anyarch import errors
from anyarch.cli.main import run
from anyarch.oci.digest import Digest
from anyarch.oci.manifest import MANIFEST_MAX_BYTES
from anyarch.oci.media_type import MediaType
from anyarch.oci.reference import Tag
from anyarch.release.history import ARTIFACT_TYPE, history_tag
from anyarch.release.prune.note import ARTIFACT_TYPE as NOTE_TYPE
from anyarch.release.prune.note import NOTE_TAG

from tests.builders import OCI_LAYER, an_image, an_index
from tests.fake_dagger import a_record
from tests.fake_registry import FakeRegistry
from tests.fake_repositories import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX: Final = str(MediaType.OCI_INDEX)
MANIFEST: Final = str(MediaType.OCI_MANIFEST)
GOOD: Final = an_image("linux/amd64")
AMD: Final = {"os": "linux", "architecture": "amd64"}
CHILD: Final[dict[str, Any]] = {
    "mediaType": MANIFEST,
    "digest": str(GOOD.digest),
    "size": GOOD.manifest.size,
    "platform": AMD,
}
OTHER: Final = {**CHILD, "digest": str(an_image("linux/arm64").digest)}
CONTENT: Final = errors.ContentError.exit_code
PROTOCOL: Final = errors.RegistryProtocolError.exit_code
NOT_WHOLE: Final = errors.VerifyFailedError.exit_code
DIFFERENT: Final = errors.ImagesDifferError.exit_code
SECONDS_MAX: Final = 10.0  # for a whole command on a busy machine; the worst takes 0.3 s


@dataclass(frozen=True)
class Hostile:
    """What the tag v1 points at.

    Args:
        raw: The manifest.
        code: The exit code of verify.
        announced: Its Content-Type.
        manifests: Other manifests of the repository.
        blobs: Other blobs.
    """

    raw: bytes
    code: int
    announced: str = INDEX
    manifests: tuple[bytes, ...] = ()
    blobs: tuple[bytes, ...] = ()


def descriptor(raw: bytes, media_type: str = MANIFEST, **more: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(raw)), "size": len(raw), **more}


def index(*children: object, **more: object) -> bytes:
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children), **more}
    return json.dumps(document).encode()


def listing(*children: object, code: int, **more: object) -> Hostile:
    return Hostile(index(*children, **more), code)


def image(config: object = AMD, *, code: int, layer: bytes | dict[str, Any] = b"", **more: object) -> Hostile:
    """An index of one image, whose config and layer are as given."""
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    blobs = (raw, layer) if isinstance(layer, bytes) else (raw,)
    layers = [descriptor(layer, OCI_LAYER) if isinstance(layer, bytes) else layer]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(raw, MediaType.OCI_CONFIG)}
    manifest = json.dumps(document | {"layers": layers} | more).encode()
    return Hostile(index(descriptor(manifest, platform=AMD)), code, manifests=(manifest,), blobs=blobs)


def nested(depth: int) -> Hostile:
    levels = [index(CHILD)]
    for _ in range(depth):
        levels.append(index(descriptor(levels[-1], INDEX)))
    return Hostile(levels[-1], NOT_WHOLE, manifests=tuple(levels))


def child(**changes: object) -> dict[str, Any]:
    return {**CHILD, **changes}


EMPTY_TAR: Final = bytes(1024)
EMPTY_LAYER: Final = gzip.compress(EMPTY_TAR, mtime=0)
WHOLE: Final = {**AMD, "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(EMPTY_TAR))]}}
ESCAPE: Final = (
    "\x1b[2J\x9b2J\u202e\n\r\n::error::forged ##[error]forged\nerror: forged\n  - forged\nok forged"
)
FORGED: Final = re.compile(r"^\s*(::|\W*forged|error: forged|ok forged)|##\[", re.MULTILINE)
ABSENT: Final = f"sha256:{'0' * 64}"
TWICE: Final = index(CHILD).replace(b'"schemaVersion": 2', b'"schemaVersion": 2, "schemaVersion": 2')

CORPUS: Final = {
    "no JSON": Hostile(b"<html>", CONTENT),
    "nothing": Hostile(b"", CONTENT),
    "cut off": Hostile(index(CHILD)[:-20], CONTENT),
    "something behind it": Hostile(index(CHILD) + b"{}", CONTENT),
    "byte order mark": Hostile(b"\xef\xbb\xbf" + index(CHILD), CONTENT),
    "UTF-16": Hostile(index(CHILD).decode().encode("utf-16"), CONTENT),
    "not UTF-8": Hostile(index(CHILD).replace(b"linux", b"lin\xff"), CONTENT),
    "NUL": Hostile(b"\0" + index(CHILD), CONTENT),
    "half a surrogate pair": Hostile(index(CHILD).replace(b"linux", b"\\ud800"), CONTENT),
    "a key twice": Hostile(TWICE, CONTENT),
    "a second list in upper case": listing(CHILD, Manifests=[OTHER], code=CONTENT),
    "a second list with a long s": Hostile(
        json.dumps(json.loads(index(CHILD)) | {"manife\u017fts": [OTHER]}).encode(), CONTENT
    ),
    "a second digest in upper case": listing(child(Digest=OTHER["digest"]), code=CONTENT),
    "a second platform in upper case": listing(child(Platform={**AMD, "architecture": "arm"}), code=CONTENT),
    "a second architecture in a platform": listing(
        child(platform={**AMD, "Architecture": "arm"}), code=CONTENT
    ),
    "a second list of layers in upper case": image(WHOLE, layer=EMPTY_LAYER, Layers=[], code=NOT_WHOLE),
    "both manifests and layers": listing(CHILD, layers=[], code=CONTENT),
    "both manifests and config": listing(CHILD, config=descriptor(b"{}"), code=CONTENT),
    "another media type than announced": Hostile(index(CHILD), CONTENT, announced=MANIFEST),
    "a media type of neither": Hostile(b'{"schemaVersion": 2}', CONTENT, announced="text/html"),
    "control characters in the media type": Hostile(index(CHILD, mediaType=ESCAPE), CONTENT),
    "schema 1": Hostile(b'{"schemaVersion": 1}', CONTENT, announced=""),
    "too long": Hostile(b" " * (MANIFEST_MAX_BYTES + 1), PROTOCOL),
    "a million descriptors": Hostile(b'{"schemaVersion":2,"manifests":[' + b"{}," * 10**6 + b"{}]}", CONTENT),
    "1001 descriptors": listing(*[CHILD] * 1001, code=CONTENT),
    "deep": Hostile(b'{"schemaVersion":2,"manifests":' + b"[" * 10**6, CONTENT),
    "deep, and closed": Hostile(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", CONTENT),
    "a huge number": Hostile(index(CHILD).replace(b'"size": ', b'"size": ' + b"9" * 5000), CONTENT),
    "manifests that is an object": Hostile(b'{"schemaVersion":2,"manifests":{"a":1}}', CONTENT),
    "a string for a descriptor": listing("x", code=CONTENT),
    "a negative size": listing(child(size=-1), code=CONTENT),
    "a size of 2 to the 80": listing(child(size=2**80), code=CONTENT),
    "half a byte": listing(child(size=1.5), code=CONTENT),
    "a size in quotes": listing(child(size="1"), code=CONTENT),
    "a path for a digest": listing(child(digest="sha256:../../../etc/passwd"), code=CONTENT),
    "a digest of an unknown algorithm": listing(child(digest="md5:00"), code=CONTENT),
    "control characters in a platform": listing(child(platform={**AMD, "os": ESCAPE}), code=CONTENT),
    "a number for an architecture": listing(child(platform={**AMD, "architecture": 7}), code=CONTENT),
    "a list for annotations": listing(child(annotations=[1]), code=CONTENT),
    "no children": listing(code=NOT_WHOLE),
    "the same child twice": listing(CHILD, CHILD, code=NOT_WHOLE),
    "a child of another size": listing(child(size=GOOD.manifest.size + 1), code=NOT_WHOLE),
    "a child that is not there": listing(child(digest=ABSENT), code=NOT_WHOLE),
    "a child of another media type": listing(child(mediaType=INDEX), code=NOT_WHOLE),
    "control characters in an artifact type": image(
        WHOLE, layer=EMPTY_LAYER, artifactType=ESCAPE, annotations={"dev.anyarch.execution": ESCAPE}, code=0
    ),
    "control characters in a layer's media type": image(
        WHOLE, layer=descriptor(EMPTY_LAYER, ESCAPE), code=NOT_WHOLE
    ),
    "control characters in a child's media type": listing(child(mediaType=ESCAPE), code=NOT_WHOLE),
    "a child of another platform": listing(child(platform={**AMD, "architecture": "s390x"}), code=NOT_WHOLE),
    "an attestation about nothing": listing(
        CHILD,
        child(
            platform={"os": "unknown", "architecture": "unknown"},
            annotations={
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": ESCAPE,
            },
        ),
        code=NOT_WHOLE,
    ),
    "an index in the index": nested(1),
    "indexes six deep": nested(6),
    "control characters in annotations": listing(
        child(annotations={"dev.anyarch.execution": ESCAPE}),
        annotations={"dev.anyarch.missing": ESCAPE, "org.opencontainers.image.revision": ESCAPE},
        code=0,
    ),
    "a config that is a list": image([], code=NOT_WHOLE),
    "a config with a key twice": image(b'{"os":"linux","os":"linux"}', code=NOT_WHOLE),
    "a config with a second architecture in upper case": image(
        {**WHOLE, "Architecture": "arm64"}, layer=EMPTY_LAYER, code=NOT_WHOLE
    ),
    "a config with a setting in lower case": image(
        {**WHOLE, "config": {"User": "nobody", "user": "root"}}, layer=EMPTY_LAYER, code=NOT_WHOLE
    ),
    "a config that does not say its platform": image({}, code=NOT_WHOLE),
    "a config of another platform": image({"os": "linux", "architecture": "arm64"}, code=NOT_WHOLE),
    "a config of wrong types": image(
        {**WHOLE, "config": {"Labels": [1], "Env": "x", "Cmd": {"a": 1}, "User": 3}, "history": 7},
        layer=EMPTY_LAYER,
        code=0,
    ),
    "control characters in a config": image(
        {**WHOLE, "config": {"Labels": {ESCAPE: ESCAPE}, "Env": [ESCAPE]}}, layer=EMPTY_LAYER, code=0
    ),
    "a number for a subject": image(WHOLE, subject=5, layer=EMPTY_LAYER, code=0),
    "a layer that is no descriptor": image(layer={"a": 1}, code=NOT_WHOLE),
    "a layer that is not there": image(layer=descriptor(b"absent", OCI_LAYER), code=NOT_WHOLE),
    "a layer of another size": image(layer={**descriptor(b"x", OCI_LAYER), "size": 7}, code=NOT_WHOLE),
    "a layer that is a page": image(WHOLE, layer=descriptor(b"x", "text/html"), code=NOT_WHOLE),
    "a layer that is elsewhere, and could be here": image(
        WHOLE, layer=descriptor(b"x", OCI_LAYER, urls=["http://169.254.169.254/"]), code=NOT_WHOLE
    ),
    "a layer that is no archive": image(WHOLE, layer=b"no gzip", code=0),
    "a config that lists no layers": image({**AMD, "rootfs": {}}, layer=EMPTY_LAYER, code=NOT_WHOLE),
    "a config that lists too many layers": image(
        {**AMD, "rootfs": {"type": "layers", "diff_ids": [ABSENT] * 2}}, layer=EMPTY_LAYER, code=NOT_WHOLE
    ),
    "a config without a root file system": image(AMD, layer=EMPTY_LAYER, code=NOT_WHOLE),
    "a platform in upper case": listing(
        child(platform={"os": "Linux", "architecture": "AMD64"}), code=NOT_WHOLE
    ),
    "a platform by another name": listing(child(platform={**AMD, "architecture": "x86_64"}), code=NOT_WHOLE),
    "two children of no platform": listing(child(platform=None), child(platform=None), code=NOT_WHOLE),
}
# Its one image is whole; what is around it is left out by a merge, or said as clients look for it.
MADE_ANEW: Final = frozenset(
    {"control characters in annotations", "a platform in upper case", "a platform by another name"}
)
# What diff says where verify, which reads no layer and no setting, sees nothing wrong; else it is an error.
DIFF_FINDS: Final = {
    "control characters in annotations": {0},
    "a config of wrong types": {CONTENT},
    "a layer that is no archive": {CONTENT},
}


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as opened:
        yield opened


def fill(registry: FakeRegistry, case: Hostile) -> None:
    """A repository with the hostile thing as v1 and a good index as good; nothing asks what it may hold."""
    held = registry.repositories.by_name["team/app"] = Repository()
    good = an_index(GOOD)
    for raw, media_type in (
        (case.raw, case.announced),
        (good.raw, INDEX),
        (GOOD.manifest.raw, MANIFEST),
        *((raw, INDEX if b'"manifests"' in raw else MANIFEST) for raw in case.manifests),
    ):
        held.manifests[str(Digest.of(raw))] = (media_type, raw)
    held.blobs |= {str(digest): blob for digest, blob in GOOD.blobs.items()}
    held.blobs |= {str(Digest.of(blob)): blob for blob in case.blobs}
    held.tags |= {"v1": str(Digest.of(case.raw)), "good": str(good.digest)}


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    """Run a command; whatever it was given, it ends in good order."""
    started = time.monotonic()
    code = run(words)
    out, err = capsys.readouterr()
    assert time.monotonic() - started < SECONDS_MAX
    documented = {kind.exit_code for kind in _kinds(errors.AnyarchError)} | {0}
    assert code in documented - {1}, err
    assert "Traceback" not in err
    assert "bug" not in err
    assert len(re.findall(r"^error:", err, re.MULTILINE)) == (code not in {0, DIFFERENT})
    if code not in {0, DIFFERENT}:
        assert "→" in err, "what to do next"
    for text in (out, err):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
        assert not FORGED.search(text), "a stranger wrote a line of ours, or a command to the CI service"
    return Said(code, out, err)


def _kinds(kind: type[errors.AnyarchError]) -> Iterator[type[errors.AnyarchError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


@pytest.mark.parametrize("name", CORPUS)
def test_every_command_meets_it_with_one_clear_error(
    registry: FakeRegistry, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CORPUS[name]
    fill(registry, case)
    ref, good = (f"{registry.host}/team/app:{tag}" for tag in ("v1", "good"))
    written = len(registry.writes)
    said = call(capsys, "verify", ref)
    assert said.code == case.code, said.err
    if case.code:
        assert "v1" in said.err or "sha256:" in said.err, "which of them"
        json.loads(call(capsys, "verify", ref, "--format", "json").out)
    diff = call(capsys, "diff", ref, good).code
    call(capsys, "diff", ref, good, "--format", "json")
    assert diff in DIFF_FINDS.get(name, {DIFFERENT} if case.code == 0 else set(range(2, 99)) | {0}), name
    call(capsys, "history", ref)
    call(capsys, "rollback", ref)
    assert len(registry.writes) == written
    promoted = call(capsys, "promote", ref, "--tag", "next").code
    assert promoted == case.code
    assert ("next" in registry.repositories.by_name["team/app"].tags) == (case.code == 0)


@pytest.mark.parametrize("name", CORPUS)
def test_merge_refuses_it_as_an_image_and_writes_nothing(
    registry: FakeRegistry, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CORPUS[name]
    fill(registry, case)
    record = a_record(GOOD, f"{registry.host}/team/app")
    raw, media_type = (case.manifests[0], MANIFEST) if case.blobs else (case.raw, INDEX)
    record["image"] = {
        "media_type": media_type,
        "digest": str(Digest.of(raw)),
        "size": min(len(raw), MANIFEST_MAX_BYTES) or 1,
    }
    (tmp_path / "linux-amd64.json").write_text(json.dumps(record))
    good = name in MADE_ANEW
    before = dict(registry.repositories.by_name["team/app"].tags)
    words = ("--to", f"{registry.host}/team/app", "--tag", "next", "--platform", "linux/amd64")
    said = call(capsys, "merge", "--records", str(tmp_path), *words)
    assert (said.code == 0) == good, said.err
    assert good or registry.repositories.by_name["team/app"].tags == before


HISTORIES: Final = {
    "no JSON": "<html>",
    "a list": "[]",
    "deep": "[" * 10**5,
    "a million moves": '{"schema":1,"moves":[' + "{}," * 10**6 + "{}]}",
    "escapes": json.dumps({"schema": 1, "moves": [{"when": ESCAPE}]}),
    "half a surrogate pair": '{"schema":1,"moves":[{"when":"\\ud800"}]}',
}


def hold(registry: FakeRegistry, tag: Tag, artifact_type: str, annotations: dict[str, str]) -> None:
    """Put an artifact under a tag, as hostile as its annotations are."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "annotations": annotations,
    }
    raw = json.dumps(document).encode()
    held = registry.repositories.by_name["team/app"]
    held.manifests[str(Digest.of(raw))] = (MANIFEST, raw)
    held.tags[str(tag)] = str(Digest.of(raw))


@pytest.mark.parametrize("name", HISTORIES)
def test_a_hostile_history_is_named_and_keeps_its_tag_where_it_is(
    registry: FakeRegistry, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(registry, Hostile(an_index(GOOD).raw, 0))
    annotations = {"dev.anyarch.history.tag": "v1", "dev.anyarch.history": HISTORIES[name]}
    hold(registry, history_tag(Tag("v1")), ARTIFACT_TYPE, annotations)
    held = registry.repositories.by_name["team/app"]
    before = dict(held.tags)
    said = call(capsys, "history", f"{registry.host}/team/app:v1")
    assert said.code in {CONTENT, PROTOCOL}
    assert "is not the history" not in said.err, "what is in it was looked at"
    assert f"delete the tag {history_tag(Tag('v1'))} to begin its history anew" in said.err
    assert call(capsys, "rollback", f"{registry.host}/team/app:v1").code
    assert held.tags == before


@pytest.mark.parametrize("name", HISTORIES)
def test_a_hostile_note_of_a_prune_is_named_and_nothing_is_deleted(
    registry: FakeRegistry, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(registry, Hostile(an_index(GOOD).raw, 0))
    hold(registry, NOTE_TAG, NOTE_TYPE, {"dev.anyarch.prune": HISTORIES[name].replace("moves", "left")})
    held = registry.repositories.by_name["team/app"]
    before = dict(held.manifests)
    repository = f"{registry.host}/team/app"
    said = call(capsys, "prune", repository, "--older-than", "7d", "--digest", str(GOOD.digest))
    assert said.code == errors.PruneError.exit_code
    assert "_anyarch.prune" in said.err
    assert "is not the note" not in said.err, "what is in it was looked at"
    assert held.manifests == before


PROGRAM: Final = """
import resource, sys
from anyarch.cli.main import run
run(["--version"])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 160 * 2**20,) * 2)
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["a million descriptors", "deep", "too long", "1001 descriptors"])
def test_the_largest_of_them_fit_into_little_memory(registry: FakeRegistry, name: str) -> None:
    """In a process of its own, which gets 160 MiB of addresses beyond what loading takes."""
    fill(registry, CORPUS[name])
    command = [sys.executable, "-c", PROGRAM, "verify", f"{registry.host}/team/app:v1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "MemoryError" in done.stderr) == (CORPUS[name].code, False), done.stderr


@pytest.mark.parametrize(
    "ref",
    [
        pytest.param("", id="nothing"),
        pytest.param("registry.example.com/app", id="no tag"),
        pytest.param(f"registry.example.com/app:{ESCAPE}", id="control characters"),
        pytest.param("registry.example.com/../app:v1", id="a path upwards"),
        pytest.param(f"registry.example.com/app@{ABSENT[:-1]}", id="a short digest"),
        pytest.param("user:password@registry.example.com/app:v1", id="user information"),
        pytest.param("https://registry.example.com/app:v1", id="a URL"),
        pytest.param("registry.example.com:99999/app:v1", id="a port beyond all"),
        pytest.param("registry.example.com/app:" + "x" * 129, id="a long tag"),
        pytest.param("x" * 100_000 + ":v1", id="a very long name"),
        pytest.param("registry.example.com/app:v1\udcff", id="bytes that are no UTF-8"),
        pytest.param("oci:", id="no directory"),
        pytest.param("oci:/dev/null:v1", id="a device for a layout"),
        pytest.param("oci:\udcff:v1", id="a directory of bytes that are no UTF-8"),
    ],
)
def test_references_that_are_none(ref: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("verify", ref), ("diff", ref, ref), ("promote", ref, "--tag", "x"), ("history", ref)):
        said = call(capsys, *words)
        assert said.code or words[0] == "history"
        assert len(said.err) < 2000
