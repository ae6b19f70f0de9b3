"""The Debian package: made from this environment, installed into an empty root, and run from there.

The root has nothing but the package; Python is the machine's own, as the package wants it.  Debian's scripts
run, but for what they do to a live machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from muster import __version__
from patience import patient_s

ROOT = Path(__file__).parents[1]
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
needs_debian = pytest.mark.skipif(
    shutil.which("dpkg") is None or not Path(f"/usr/bin/{PYTHON}").exists() or os.geteuid() != 0,
    reason=f"to install a Debian package takes dpkg, Debian's own {PYTHON} and root",
)


def ran(*words: str | Path, **more: object) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(  # type: ignore[call-overload]
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        timeout=patient_s(240.0),
        **more,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@needs_debian
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_package_runs_in_an_empty_root_and_leaves_it_empty(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ran(sys.executable, ROOT / "scripts" / "deb.py", "--quick", "--to", tmp_path, cwd=ROOT)
    (package,) = tmp_path.glob(f"muster_{__version__}_*.deb")
    control = ran("dpkg-deb", "--field", package)
    assert f"Depends: {PYTHON}, " in control
    assert "pip install torch==" in control

    root = tmp_path / "root"
    home = tmp_path_factory.getbasetemp() / "h"  # the path of a socket in it must be short
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/updates").mkdir()
    (root / "var/lib/dpkg/status").touch()
    home.mkdir()
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless", "--force-depends", "--force-unsafe-io"]
    ran(*dpkg, "--install", package)
    package.unlink()

    place = root / "opt/muster"
    clean = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    muster = [place / "bin/python", "-m", "muster.cli.main"]
    assert __version__ in ran(*muster, "--version", env=clean, cwd=home)
    assert "digits" in ran(*muster, "tasks", env=clean, cwd=home)
    told = ran(*muster, "doctor", "--no-tasks", env=clean, cwd=home)
    assert "torch       not installed" in told
    assert f"{place}/bin/pip install torch" in told
    assert "onnxruntime 1." in told
    found = ran(
        place / "bin/python", "-c", "import numpy, sys; print(numpy.__file__, *sys.path)", env=clean, cwd=home
    )
    assert str(place) in found
    assert str(Path(sys.prefix)) not in found  # nothing of this environment is used
    assert os.readlink(root / "usr/bin/muster") == "/opt/muster/bin/muster"
    assert (place / "bin/muster").read_text().startswith("#!/opt/muster/bin/python\n")
    unit = (root / "usr/lib/systemd/system/muster@.service").read_text()
    assert "ExecStart=/opt/muster/bin/muster node --config /etc/muster/%i.toml" in unit

    (place / "lib" / PYTHON / "site-packages" / "torch").mkdir()  # what pip put there goes as well
    ran(*dpkg, "--remove", "muster")
    assert not place.exists()
    assert not (root / "usr/lib/systemd/system/muster@.service").exists()
