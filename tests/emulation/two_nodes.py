"""An emulation of two linked nodes and one more, and programs that talk across it."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from muster.emulation.emulator import Emulation
from muster.emulation.scenario import Scenario
from muster.emulation.scenario_file import parse
from patience import patient_s

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, sender = s.recvfrom(65536)
    s.sendto(data, sender)
"""

# sends N datagrams of SIZE bytes, one every GAP seconds; prints how many came back and the median round trip
PING = """
import socket, statistics, sys, threading, time
host, count, size, gap, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:6])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.settimeout(patience)
sent, times = {}, []
def send():
    for i in range(count):
        sent[i] = time.monotonic()
        s.sendto(i.to_bytes(4, "big") + bytes(size - 4), (host, int(sys.argv[6])))
        time.sleep(gap)
thread = threading.Thread(target=send)
thread.start()
try:
    while len(times) < count:
        data = s.recv(65536)
        times.append(time.monotonic() - sent[int.from_bytes(data[:4], "big")])
except TimeoutError:
    pass
thread.join()
print(len(times), statistics.median(times or [0]))
"""


def two(link: str = "", seed: int = 3) -> Scenario:
    nodes = 'nodes = [{ name = "alpha" }, { name = "bravo" }, { name = "charlie" }]\n'
    text = f'seed = {seed}\n{nodes}[[links]]\na = "alpha"\nb = "bravo"\n{textwrap.dedent(link)}'
    return parse(text, "two", "two.toml")


async def echo(net: Emulation, node: str, host: str = "", port: int = 5000) -> None:
    server = await net.spawn(node, [sys.executable, "-c", ECHO, host, str(port)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert await server.stdout.readline() == b"ready\n"


async def ping(
    net: Emulation,
    node: str,
    host: str,
    count: int = 1,
    size: int = 100,
    gap_s: float = 0.0,
    patience_s: float = 1.0,
    port: int = 5000,
) -> tuple[int, float]:
    """(answers, median round trip in s)"""
    words = [host, str(count), str(size), str(gap_s), str(patience_s), str(port)]
    client = await net.spawn(node, [sys.executable, "-c", PING, *words], stdout=subprocess.PIPE)
    assert client.stdout is not None
    answers, median_s = (await client.stdout.read()).split()
    assert await client.wait() == 0
    return int(answers), float(median_s)


def wait_for(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end_s = time.monotonic() + patient_s(limit_s)
    while not condition():
        assert time.monotonic() < end_s, "it did not come true"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.bind(("", 0))
        return int(trial.getsockname()[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
