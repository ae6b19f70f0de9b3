"""`codec = "auto"` against dense fp32 over a slow network: whole demos to one target, both timed in one run.

    python bench/fleet/auto_against_dense.py --data MNIST.npz

`muster demo --task mnist` over field-8 (two classes a node, two nodes away 40 % of the time, a bridge of
128 kbit/s), for each seed once with `auto` and once with dense fp32 both ways, the same recipe and
target; the seed says who holds which classes. And MNIST i.i.d. to 95 % over field-8-all with `auto`,
with a recipe for data of that kind, from the moment of asking: a server-and-clients system of today
needs 1,698 s there. Times are the job's age when the first commit at or above the target was made;
`trainers` is what passed before the first round closed, most of it imports of torch by eight processes.
Each demo has a limit of `--limit` seconds; dense that does not arrive in it gives a lower bound. Dense
goes last: the processor has little to do meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from small_fleet import machine, write

SERVER_AND_CLIENTS_S = 1698.0
GRACE_S = 240.0  # beyond the limit: starting, ending, exporting


@dataclass(frozen=True)
class Row:
    what: str
    codec: str
    target: float
    to_target_s: float | None
    first_round_s: float | None
    rounds: int
    accuracy: float
    wall_s: float
    payload_kilobytes: float  # a node's updates, mean
    air_megabytes: float  # all links, headers and what was lost included


def run(data: Path, what: str, codec: str, target: float, words: list[str], limit_s: float) -> Row:
    """One demo. Raises SystemExit with its output when it fails."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        report = Path(folder) / "report.json"
        argv = [sys.executable, "-m", "muster.cli.main", "demo", "--plain", "--no-compare", "--task", "mnist"]
        argv += ["--data", str(data), "--report", str(report), "--keep", f"{folder}/run", "--codec", codec]
        argv += ["--target", str(target), "--seconds", str(limit_s), *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s + GRACE_S, check=False)
        if done.returncode:
            raise SystemExit(
                f"{what}, {codec}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr}"
            )
        found = json.loads(report.read_text())
    by_time = found["accuracy_by_time"]
    sent = [node["sent_bytes"] for node in found["nodes"].values()]
    return Row(
        what,
        codec,
        target,
        min((s for s, accuracy in by_time if accuracy >= target), default=None),
        min((s for s, _ in by_time if s > 0), default=None),
        found["rounds"],
        found["accuracy"],
        found["wall_s"],
        sum(sent) / max(1, len(sent)) / 1e3,
        sum(found["bytes_by_link"].values()) / 1e6,
    )


def ratio(auto: Row, dense: Row) -> str:
    """How many times sooner, in words."""
    if auto.to_target_s is None:
        return "auto did not get to the target"
    if dense.to_target_s is None:
        return f"more than {dense.wall_s / auto.to_target_s:.1f} times sooner: dense was too slow"
    return f"{dense.to_target_s / auto.to_target_s:.1f} times sooner"


def table(rows: list[Row]) -> str:
    lines = [
        "| what | codec | target | to it | trainers | rounds | accuracy | updates a node | on the air |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = (
            r.what, r.codec, f"{r.target:.0%}", _seconds(r.to_target_s), _seconds(r.first_round_s),
            str(r.rounds), f"{r.accuracy:.1%}", f"{r.payload_kilobytes:.0f} kB", f"{r.air_megabytes:.1f} MB",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="MNIST as .npz")
    parser.add_argument("--target", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds a demo may take")
    parser.add_argument("--only", choices=("auto", "dense", "iid"), help="one of the three kinds of demo")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    quick = ["--lr", "0.05", "--steps", "50", "--server-momentum", "0.6"]  # the default is for two classes
    field = ["--scenario", "field-8", "--split", "classes:2"]
    all_here = ["--scenario", "field-8-all", "--split", "iid", *quick]
    kinds = {
        "auto": ("mnist, classes:2, field-8", field, "auto", given.target),
        "iid": ("mnist, iid, field-8-all", all_here, "auto", 0.95),
        "dense": ("mnist, classes:2, field-8", field, "dense32", given.target),
    }
    rows: dict[tuple[str, int], Row] = {}
    for kind, (what, words, codec, target) in kinds.items():
        for seed in given.seeds if given.only in (None, kind) else ():
            told = [*words, "--seed", str(seed)]
            rows[kind, seed] = row = run(
                given.data.resolve(), f"{what}, seed {seed}", codec, target, told, given.limit
            )
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
    print(f"on {machine()}\n\n{table(list(rows.values()))}\n")
    for seed in given.seeds:
        if ("auto", seed) in rows and ("dense", seed) in rows:
            print(f"seed {seed}: auto against dense: {ratio(rows['auto', seed], rows['dense', seed])}")
        if ("iid", seed) in rows and (took_s := rows["iid", seed].to_target_s) is not None:
            print(f"i.i.d. to 95 %: {took_s:.0f} s; server and clients {SERVER_AND_CLIENTS_S:.0f} s")
    write(given.json, {"machine": machine(), "rows": [asdict(row) for row in rows.values()]})


if __name__ == "__main__":
    main()
