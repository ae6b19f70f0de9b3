"""A process that looks at the way to an endpoint, and prints the reason: KIND, and the sentence."""

from __future__ import annotations

import sys

from muster.network.transport.endpoints import endpoint
from muster.network.transport.reaching.probing import gather
from muster.network.transport.reaching.why import why_unreachable

if __name__ == "__main__":
    reason = why_unreachable(gather(endpoint(sys.argv[1])))
    print(f"{reason.kind}\n{reason.sentence}")
