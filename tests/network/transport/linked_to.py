"""A process with one node: prints whether it got a link. BUNDLE LISTEN [CONNECT]"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from muster.network.transport.zenoh.link import ZenohLink
from muster.network.trust.identity import load_bundle
from patience import patient_s

WITHIN_S = patient_s(30.0)


async def main(bundle: str, listen: str, *connect: str) -> None:
    link = ZenohLink(load_bundle(Path(bundle)), [listen], list(connect), discovery=False)
    await link.start()
    end_s = time.monotonic() + WITHIN_S
    while not link.neighbours() and time.monotonic() < end_s:
        await asyncio.sleep(0.05)
    missing = await link.unlinked.unlinked()
    print("linked" if link.neighbours() and not missing else f"apart, no link to {missing}", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the other end has seen it, too
    await link.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
