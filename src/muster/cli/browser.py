"""Opening the page in the user's browser, where there is one."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser


def has_display() -> bool:
    """Whether a window would be seen: a screen, and not the other end of an SSH connection."""
    if sys.platform == "darwin":
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show(address: str) -> bool:
    """Open the address in a browser if a person sits here; whether it was tried."""
    if not (has_display() and sys.stdout.isatty()):
        return False
    # Some browsers' start-up blocks until they are closed.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    return True
