"""A program called ``dagger`` that plays outcomes, and an engine's socket that answers a probe.

The program is for what cannot be had from a real engine on demand: a full disk, a client that ignores
SIGTERM, one that says nothing. It leaves a note of each call: arguments, environment, process id.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from anyarch.oci.platforms import Platform

from tests.builders import an_image, an_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.builders import BuiltImage

SETTINGS: Final = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_PROGRAM: Final = """#!{python} -IS
import hashlib, json, os, pathlib, shutil, signal, sys, time
here = pathlib.Path({here!r})
words = dict(word.split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
slug = words.get("--platform", "none").replace("/", "-")
play = json.loads((here / "plays.json").read_text()).get(slug, {{}})
note = {{"argv": sys.argv[1:], "environ": dict(os.environ), "pid": os.getpid(), "pgid": os.getpgid(0)}}
if play.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if play.get("child"):
    import subprocess
    note["child"] = subprocess.Popen(["sleep", "60"]).pid
if "reads" in play:
    folder = pathlib.Path(os.environ[play["reads"]])
    note["read"] = {{"mode": folder.stat().st_mode & 0o777, "names": os.listdir(folder)}}
    note["read"]["config"] = json.loads((folder / "config.json").read_text())
draft = here / ("." + slug)
draft.write_text(json.dumps(note))
draft.rename(here / (slug + ".called"))
for line in play.get("says", []):
    print(line, flush=True)
time.sleep(play.get("sleeps", 0))
if play.get("status", 0) == 0 and "trial" in sys.argv:
    answer = {{"schema": 1, "execution": "native", "exit_code": 0, "seconds": 0.5}}
    answer |= {{"stdout": "", "output": "hello from " + slug + "\\n"}}
    pathlib.Path(words["--path"]).write_text(json.dumps(answer | play.get("trial", {{}})))
    if "--layout" in words:
        note["layout"] = json.loads((pathlib.Path(words["--layout"]) / "index.json").read_text())
        (here / (slug + ".called")).write_text(json.dumps(note))
elif play.get("status", 0) == 0 and "layout" in sys.argv:
    layout = pathlib.Path(words["--path"])
    shutil.copytree(here / "layouts" / slug, layout)
    index = json.loads((layout / "index.json").read_text())
    blobs, (child,) = layout / "blobs" / "sha256", index["manifests"]
    manifest = json.loads((blobs / child["digest"].partition(":")[2]).read_text())
    manifest["annotations"]["dev.anyarch.plan"] = words.get("--plan", "")
    raw = json.dumps(manifest).encode()
    child["digest"], child["size"] = "sha256:" + hashlib.sha256(raw).hexdigest(), len(raw)
    (blobs / child["digest"].partition(":")[2]).write_bytes(raw)
    (layout / "index.json").write_text(json.dumps(index))
elif play.get("status", 0) == 0 and (here / "records" / (slug + ".json")).exists():
    record = json.loads((here / "records" / (slug + ".json")).read_text())
    record["plan"] = words.get("--plan", "")
    pathlib.Path(words["--path"]).write_text(json.dumps(record | play.get("record", {{}})))
sys.exit(play.get("status", 0))
"""


class FakeDagger:
    """The program, in a folder of its own; by default every build succeeds with ``an_image``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "dagger"
        self.images: dict[Platform, BuiltImage] = {}
        folder.mkdir()
        self.program.write_text(_PROGRAM.format(python=sys.executable, here=str(folder)))
        self.program.chmod(0o755)
        self.plays({})

    def plays(self, by_platform: Mapping[str, Mapping[str, Any]]) -> None:
        """What each platform's call does: ``says`` lines, ``sleeps`` seconds, ``reads`` a folder …"""
        plays = {Platform.parse(platform).slug: play for platform, play in by_platform.items()}
        (self.folder / "plays.json").write_text(json.dumps(plays))

    def builds(self, *platforms: str, plan: str = "") -> None:
        """Have an image for each platform, as a layout would be exported; ``plan`` is put on it then."""
        for word in platforms:
            platform = Platform.parse(word)
            image = an_image(
                platform,
                annotations={"dev.anyarch.execution": "native", "dev.anyarch.plan": plan},
            )
            self.images[platform] = image
            layout = self.folder / "layouts" / platform.slug
            blobs = layout / "blobs" / "sha256"
            blobs.mkdir(parents=True, exist_ok=True)
            for digest, raw in {**image.blobs, image.digest: image.manifest.raw}.items():
                (blobs / digest.hex).write_bytes(raw)
            (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
            (layout / "index.json").write_bytes(an_index(image).raw)

    def records(self, repository: str, *platforms: str) -> None:
        """Have a record for each platform, as ``publish`` would hand it over."""
        folder = self.folder / "records"
        folder.mkdir(exist_ok=True)
        for word in platforms:
            image = self.images[Platform.parse(word)]
            record = a_record(image, repository)
            (folder / f"{image.platform.slug}.json").write_text(json.dumps(record))

    def called(self, platform: str) -> dict[str, Any] | None:
        """The note of a platform's last call."""
        path = self.folder / f"{Platform.parse(platform).slug}.called"
        return json.loads(path.read_text()) if path.exists() else None

    def wait_for(self, *platforms: str, deadline_seconds: float = 20.0) -> list[dict[str, Any]]:
        """The notes of these platforms' calls, once all are there."""
        deadline = time.monotonic() + deadline_seconds
        while True:
            notes = [note for platform in platforms if (note := self.called(platform)) is not None]
            if len(notes) == len(platforms):
                return notes
            assert time.monotonic() < deadline, f"dagger was called only for {len(notes)} of {platforms}"
            time.sleep(0.02)


def a_record(image: BuiltImage, repository: str) -> dict[str, object]:
    """A record as JSON; what only a builder knows is unknown."""

    def fields(media_type: str, digest: object, size: int) -> dict[str, object]:
        return {"media_type": media_type, "digest": str(digest), "size": size}

    manifest, config = image.manifest, image.manifest.config
    unknown: Sequence[str] = ("revision", "plan", "content_key", "execution")
    also: Sequence[str] = ("started", "ended", "steps", "cached", "bytes_pushed")
    return {
        "schema": 1,
        "platform": str(image.platform),
        "image": fields(manifest.media_type, manifest.digest, manifest.size),
        "config": fields(config.media_type, config.digest, config.size),
        "repository": repository,
        **dict.fromkeys(unknown),
        "engine": {"platform": None, "version": None},
        **dict.fromkeys(also),
        "seconds": {"build": 1.5},
        "run": {"id": None, "attempt": None},
    }


@contextmanager
def an_engine(path: Path) -> Iterator[str]:
    """Something that answers a probe as an engine does; its URL."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=_answer, args=(server,), daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            connection.sendall(SETTINGS)
            connection.recv(1024)
