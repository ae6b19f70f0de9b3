#!/usr/bin/env python3
"""Makes the Debian package: Muster with what it needs but torch, as a virtual environment in /opt/muster.

What goes in is what `make setup` installed and the tests ran with: nothing is downloaded. The package runs
with Debian's own Python of the same minor version, on machines of the same architecture.

    python scripts/deb.py [--to DIR] [--quick]        dist/muster_VERSION_ARCHITECTURE.deb
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from muster import __version__  # noqa: E402
from muster.node.service.unit import template  # noqa: E402

PLACE = Path("opt/muster")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE = PLACE / "lib" / PYTHON / "site-packages"
LEFT_OUT = {"torch"}  # 750 MB, and not needed to serve models; pip puts it there
ALSO = ("onnxruntime", "pip")
SYSTEMD = 252  # of Debian 12, the oldest one with a Python that Muster runs on
CONTROL = """\
Package: muster
Version: {version}
Architecture: {architecture}
Maintainer: Muster contributors <muster@example.org>
Installed-Size: {size_kib}
Depends: {python}, libc6 (>= 2.28), libstdc++6, passwd
Section: science
Priority: optional
Description: trains one model on many small devices over bad networks
 The daemon, the command line and the server of models, with all that they need but torch, in a virtual
 environment in /opt/muster. To train tasks of torch as well:
 .
   /opt/muster/bin/pip install {torch} --index-url https://download.pytorch.org/whl/cpu
 .
 A node becomes a service with 'muster service install'.
"""


def needed() -> list[str]:
    """Names of the distributions that Muster needs here, and those that these need."""
    found: dict[str, None] = {}
    rest = [*_requirements("muster-fl"), *ALSO]
    while rest:
        name = canonicalize_name(rest.pop())
        if name not in found and name not in LEFT_OUT:
            found[name] = None
            rest += _requirements(name)
    return sorted(found)


def _requirements(name: str) -> Iterator[str]:
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def copy_distribution(name: str, site: Path) -> None:
    """A distribution's files as they are here; its commands are left out."""
    distribution = metadata.distribution(name)
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            to = site / file
            to.parent.mkdir(parents=True, exist_ok=True)
            here = Path(str(distribution.locate_file(file)))
            try:
                to.hardlink_to(here)
            except OSError:  # another file system
                shutil.copyfile(here, to)


def add_muster(site: Path) -> None:
    """Muster itself, as a wheel of this checkout."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            "-w",
            folder,
            ".",
        ]
        subprocess.run([sys.executable, "-m", "pip", *words], cwd=ROOT, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def lay_out(tree: Path, *, compiled: bool) -> None:
    """The files of the package below `tree`; `compiled`: with Python's bytecode."""
    for folder in (tree / SITE, tree / PLACE / "bin", tree / "usr/bin", tree / "usr/lib/systemd/system"):
        folder.mkdir(parents=True)
    for name in needed():
        copy_distribution(name, tree / SITE)
    add_muster(tree / SITE)
    if compiled:
        compile_all(tree)
    binaries = tree / PLACE / "bin"
    (tree / PLACE / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (binaries / "python3").symlink_to(f"/usr/bin/{PYTHON}")
    for name in ("python", PYTHON):
        (binaries / name).symlink_to("python3")
    _command(binaries / "muster", "muster.cli.main", "main()")
    _command(binaries / "pip", "pip._internal.cli.main", "raise SystemExit(main())")
    (tree / "usr/bin/muster").symlink_to(f"/{PLACE}/bin/muster")
    unit = tree / "usr/lib/systemd/system/muster@.service"
    unit.write_text(template(Path("/") / PLACE / "bin/muster", SYSTEMD))
    about = tree / "usr/share/doc/muster"
    about.mkdir(parents=True)
    shutil.copyfile(ROOT / "LICENSE", about / "copyright")


def compile_all(tree: Path) -> None:
    """Compile what Python imports, since a service cannot write beside its code. By hash: the dates of the
    package's files do not matter."""
    by_hash = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(
        tree / SITE, quiet=2, workers=0, stripdir=str(tree), prependdir="/", invalidation_mode=by_hash
    )


def _command(path: Path, module: str, call: str) -> None:
    path.write_text(f"#!/{PLACE}/bin/python\nfrom {module} import main\n\n{call}\n")
    path.chmod(0o755)


def control(tree: Path) -> None:
    """What dpkg reads: the control file and the scripts of scripts/debian."""
    size = sum(file.lstat().st_size for file in tree.rglob("*") if not file.is_dir())
    torch = re.search(r"^torch==\S+", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    told = CONTROL.format(
        version=__version__,
        architecture=architecture(),
        size_kib=size // 1024,
        python=PYTHON,
        torch=torch and torch[0],
    )
    folder = tree / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(told)
    for script in (ROOT / "scripts/debian").iterdir():
        shutil.copyfile(script, folder / script.name)
        (folder / script.name).chmod(0o755)


def architecture() -> str:
    """This machine's, as Debian calls it."""
    return subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()


def build(to: Path, *, quick: bool = False) -> Path:
    """Make the package in the folder `to`; its path. `quick`: neither compiled nor packed tightly."""
    to.mkdir(parents=True, exist_ok=True)
    package = to / f"muster_{__version__}_{architecture()}.deb"
    with tempfile.TemporaryDirectory(prefix="muster-deb-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir(mode=0o755)
        lay_out(tree, compiled=not quick)
        control(tree)
        packing = ["-Zgzip", "-z1"] if quick else ["-Zzstd"]
        command = ["dpkg-deb", "--build", "--root-owner-group", *packing, str(tree), str(package)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return package


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path, default=ROOT / "dist", help="folder for the package; default dist")
    parser.add_argument("--quick", action="store_true", help="for tests: larger, without compiled Python")
    given = parser.parse_args(arguments)
    if shutil.which("dpkg-deb") is None:
        print("deb: this machine has no dpkg-deb: make the package on Debian or Ubuntu", file=sys.stderr)
        return 1
    package = build(given.to, quick=given.quick)
    print(f"{package}: {package.stat().st_size / 1e6:.0f} MB, for {PYTHON} of Debian")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
