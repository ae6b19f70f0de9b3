"""Says when this machine's interfaces or addresses change.

The kernel rings by netlink, then they are looked at.  What its messages say is not read; each means "look
again". Where netlink is refused (some containers), the look is taken every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

from muster.network.supervisor import Pulse
from muster.network.transport.lan.interfaces import Interface, interfaces

LOOK_S = 10.0  # without netlink ...
LOOK_RARELY_S = 60.0  # ... and with it
SETTLE_S = 0.5  # changes come in bursts: an interface, then its addresses
_LINK, _IPV4_ADDRESS, _IPV6_ADDRESS = 0x1, 0x10, 0x100  # RTMGRP_*
_MESSAGE_BYTES_MAX = 65536

Changed = Callable[[tuple[Interface, ...], tuple[Interface, ...]], None]


def netlink() -> socket.socket | None:
    """A socket that has something to read whenever the kernel says that links or addresses changed."""
    try:
        bell = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)  # NETLINK_ROUTE
    except (OSError, AttributeError):  # refused, or no Linux
        return None
    try:
        bell.bind((0, _LINK | _IPV4_ADDRESS | _IPV6_ADDRESS))
    except OSError:
        bell.close()
        return None
    return bell


class InterfaceWatch:
    """Calls `changed(before, after)` on the loop whenever the interfaces are not what they were.

    `now` is what was seen last; the first look is taken when this is made.
    """

    def __init__(
        self,
        changed: Changed,
        look: Callable[[], tuple[Interface, ...]] = interfaces,
        open_bell: Callable[[], socket.socket | None] = netlink,
    ) -> None:
        self._changed, self._look, self._open_bell = changed, look, open_bell
        self.now = look()

    async def run(self, pulse: Pulse) -> None:
        """For ever; cancel to stop."""
        rung = asyncio.Event()
        bell = self._open_bell()
        with _ringing(bell, rung) if bell is not None else contextlib.nullcontext():
            while True:
                within_s = LOOK_S if bell is None else LOOK_RARELY_S
                pulse.renew(within_s + SETTLE_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(within_s):
                        await rung.wait()
                    await asyncio.sleep(SETTLE_S)
                rung.clear()
                before, self.now = self.now, self._look()
                if before != self.now:
                    self._changed(before, self.now)


@contextlib.contextmanager
def _ringing(bell: socket.socket, rung: asyncio.Event) -> Iterator[None]:
    """Set `rung` at each message of the kernel."""
    loop = asyncio.get_running_loop()

    def ring() -> None:
        with contextlib.suppress(OSError):  # nothing more; or messages were lost, and the look sees it all
            while bell.recv(_MESSAGE_BYTES_MAX):
                pass
        rung.set()

    with bell:
        loop.add_reader(bell, ring)
        try:
            yield
        finally:
            loop.remove_reader(bell)
