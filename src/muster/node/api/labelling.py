"""`muster.label`: labelled samples of a served task from a program on the node's machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muster.errors import MusterError
from muster.node.api.client import choose


def label(task: str, x: Any, label: Any, *, home: str | Path | None = None, key: str | None = None) -> int:
    """Keep a labelled sample of a task on the node of this machine; on the disk when this returns.

    `x`: one sample, as the model in use takes it (an array); `label`: the name or the number of its class,
    or a value.  `home`: the node's, where several run here or none.  `key`: a name of yours for the sample;
    one that is there already gets the label instead.  Returns the sample's number.

    Samples and labels never leave the node: it learns from them in its jobs.  Raises MusterError: no_node,
    no_result (no model is in use that says what its samples are), usage, bad_data, disk_full, home.
    """
    from muster.local.local_set import LocalSet
    from muster.serving.labelling import form_in_use
    from muster.serving.paths import local_set_of

    where = choose().home if home is None else Path(home).expanduser()
    form = form_in_use(where, task)
    if form is None:
        raise MusterError("no_result", f"no model of {task} is in use here that says what its samples are")
    with LocalSet.open(local_set_of(where, task)) as local:
        return local.add_labelled(form.sample(x), form.label(label), key)
