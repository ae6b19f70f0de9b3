"""A Flower app on a node without flwr: one sentence that says what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from muster.learning.faults import TaskFault
from muster.learning.loading import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "flower_quickstart"


@pytest.mark.parametrize(
    ("reference", "options"),
    [(str(EXAMPLE), {}), ("quickstart", {"flower": "quickstart.client_app:app", "name": "quickstart"})],
)
def test_what_to_install_is_said(
    reference: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "flwr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flwr", None)
    with pytest.raises(TaskFault, match=r"pip install 'muster-fl\[flower\]'"):
        load(reference, options)
