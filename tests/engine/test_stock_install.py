"""The module under Dagger's stock Python runtime, whose installation is repeated here without an engine.

What it does (sdk/python/runtime/main.go at v0.21.8): mount the module's context, put its SDK into
``dagger/sdk``, and, as there is no uv.lock, run ``uv pip install -e ./sdk -e .`` and ``uv pip check`` in
``dagger/``; then import the main object through its entry point and register the types.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
INSTALL_SECONDS: Final = 300

# The runtime sends every type and function to the engine and gets ids back; here the ids are made up.
REGISTER: Final = """
import anyio, json
from dagger.client._core import Context
from dagger.mod.cli import load_module

sent = []

async def execute(self, return_type=None):
    await self.resolve_ids()
    sent.extend([field.name, field.args] for field in self.selections)
    return return_type(f"id{len(sent)}")

Context.execute = execute
anyio.run(load_module()._typedefs)
print(json.dumps(sent))
"""


def uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = shutil.which("uv") or (str(beside) if beside.exists() else None)
    assert found, "uv is not installed: pip install uv"
    return found


def uploaded(target: Path) -> Path:
    """A copy of what Dagger uploads: the source folder and dagger.json's `include`, without ignored files."""
    module = json.loads((ROOT / "dagger.json").read_text())
    wanted = ["dagger.json", module["source"], *module["include"]]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name, follow_symlinks=False)
    return target / str(module["source"])


def vendor_sdk(folder: Path) -> None:
    """The SDK as the runtime unpacks it: the sources of dagger-io, here from the installed wheel."""
    distribution = importlib.metadata.distribution("dagger-io")
    package = Path(str(distribution.locate_file("dagger")))
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, folder / "src" / "dagger", ignore=ignore)
    requirements = [word for word in distribution.requires or () if "extra ==" not in word]
    (folder / "pyproject.toml").write_text(
        textwrap.dedent(f"""\
            [build-system]
            requires = ["uv_build>=0.8.4,<0.12.0"]
            build-backend = "uv_build"
            [project]
            name = "dagger-io"
            version = "0.0.0"
            requires-python = ">=3.10"
            dependencies = {json.dumps(requirements)}
            [tool.uv.build-backend]
            module-name = "dagger"
            """)
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment into which the module was installed as the stock runtime does it."""
    context = tmp_path_factory.mktemp("context")
    module = uploaded(context)
    vendor_sdk(module / "sdk")
    venv = context.parent / "venv"
    environ = {**os.environ, "VIRTUAL_ENV": str(venv), "UV_LINK_MODE": "copy"}
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(venv)],
        ["pip", "install", "--quiet", "-e", "./sdk", "-e", "."],
        ["pip", "check"],
    ):
        done = subprocess.run(
            [uv(), *command],
            check=False,
            capture_output=True,
            text=True,
            cwd=module,
            env=environ,
            timeout=INSTALL_SECONDS,
        )
        assert done.returncode == 0, done.stderr
    return venv / "bin" / "python"


def run(python: Path, program: str) -> str:
    environ = {"DAGGER_MODULE": "anyarch", "DAGGER_MAIN_OBJECT": "Anyarch", "PATH": os.environ["PATH"]}
    # The runtime derives this from the project's name; only our entry point can make the import right.
    environ["DAGGER_DEFAULT_PYTHON_PACKAGE"] = "anyarch_pipeline"
    done = subprocess.run(
        [python, "-W", "error::ImportWarning", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env=environ,
        cwd="/",
        timeout=INSTALL_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_module_and_the_library_come_from_the_uploaded_sources(installed: Path) -> None:
    said = run(installed, "import anyarch, dagger, pipeline; print(anyarch.__file__, dagger.__file__)")
    context = installed.parents[2]
    library, sdk = said.split()
    assert Path(library).is_relative_to(context)
    assert "/dagger/sdk/src/" in sdk


def test_the_types_are_registered(installed: Path) -> None:
    sent = json.loads(run(installed, REGISTER))
    functions = {args["name"] for name, args in sent if name == "function"} - {""}  # the constructor
    objects = {args["name"] for name, args in sent if name == "withObject" and "name" in args}
    arguments = {args["name"] for name, args in sent if name == "withArg"}
    assert functions == {"build", "merge", "release", "trial", "verify", "container", "layout", "publish"}
    assert {"Anyarch", "Image", "Release"} <= objects
    assert {"source", "platform", "build_arg", "secret_id", "run_attempt"} <= arguments


def test_the_sdk_and_the_library_agree_on_an_http_client(installed: Path) -> None:
    """Both httpx and httpx2 are there; gql must hand the SDK the one that the SDK gives it."""
    program = """
        import dagger, gql.transport.httpx, httpx
        assert gql.transport.httpx.httpx is httpx
        from anyarch.registry.stores import open_store
        open_store("registry.example.com/a")
        """
    run(installed, textwrap.dedent(program))
