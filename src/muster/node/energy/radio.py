"""What a node's radio uses: by the bytes that it moves, and by how long it stays awake after them."""

from __future__ import annotations

from muster.node.energy.presets import Radio


class RadioModel:
    """Counts joules of the application's bytes: what the engine adds around them is not among them.

    Exchanges that follow one another within the tail share it.
    """

    def __init__(self, radio: Radio, now_s: float) -> None:
        self.radio = radio
        self._sent = self._received = 0
        self._looked_s = self._awake_until_s = now_s

    def used_j(self, now_s: float, sent: int, received: int) -> float:
        """Joules since the last question, given all bytes sent and received so far."""
        radio = self.radio
        awake_s = max(0.0, min(now_s, self._awake_until_s) - self._looked_s)
        moved = sent - self._sent, received - self._received
        self._sent, self._received, self._looked_s = sent, received, now_s
        if any(moved):
            self._awake_until_s = now_s + radio.tail_s
        tail_j = radio.exchange_j / radio.tail_s * awake_s
        return tail_j + radio.sent_j_byte * moved[0] + radio.received_j_byte * moved[1]
