"""A process with two nodes that link: prints the year that its clock shows, and whether they did, within
the seconds that it is given."""

from __future__ import annotations

import asyncio
import datetime
import sys
import tempfile
import time
from pathlib import Path

from muster.network.transport.zenoh.link import ZenohLink
from muster.network.trust.identity import init_fleet, issue, load_bundle


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = init_fleet(Path(folder) / "fleet", "north").directory
        one, other = (load_bundle(issue(fleet, name)) for name in ("alpha", "bravo"))
    alpha = ZenohLink(one, ["127.0.0.1:0"], [], discovery=False)
    await alpha.start()
    bravo = ZenohLink(other, ["127.0.0.1:0"], alpha.listening(), discovery=False)
    await bravo.start()
    end_s = time.monotonic() + float(sys.argv[1])
    while not (alpha.neighbours() and bravo.neighbours()) and time.monotonic() < end_s:
        await asyncio.sleep(0.01)
    linked = alpha.neighbours() and bravo.neighbours()
    print(datetime.datetime.now().year, "linked" if linked else "apart", flush=True)
    await bravo.close()
    await alpha.close()


if __name__ == "__main__":
    asyncio.run(main())
