"""Asks a server over keep-alive connections as fast as it answers, with requests that are made beforehand."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass
class Load:
    """What came of it. `wrong`: answers that `check` did not take."""

    answered: int = 0
    failed: int = 0
    wrong: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.latencies_s, 99)) * 1e3


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def oip(task: str, x: np.ndarray, *, binary: bool) -> bytes:
    """A request of the Open Inference Protocol."""
    tensor: dict[str, object] = {"name": "input", "shape": x.shape, "datatype": "FP32"}
    if not binary:
        body = {"inputs": [{**tensor, "data": x.ravel().tolist()}], "outputs": [{"name": "output"}]}
        return post(
            f"/v2/models/{task}/infer", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
    tensor["parameters"] = {"binary_data_size": x.nbytes}
    wanted = [{"name": "output", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [tensor], "outputs": wanted}, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return post(f"/v2/models/{task}/infer", head + x.tobytes(), headers)


def run(
    port: int,
    request: bytes,
    seconds: float,
    connections: int = 2,
    check: Callable[[bytes, bytes], bool] = lambda head, body: True,
) -> Load:
    """Send `request` over and over. `check(head, body)`: whether an answer is right."""
    found, lock, until_s = Load(seconds=seconds), threading.Lock(), time.monotonic() + seconds

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            mine = Load()
            while time.monotonic() < until_s:
                began_s = time.perf_counter()
                sock.sendall(request)
                head, body = answer(sock)
                mine.latencies_s.append(time.perf_counter() - began_s)
                if not head.startswith(b"HTTP/1.1 200"):
                    mine.failed += 1
                elif check(head, body):
                    mine.answered += 1
                else:
                    mine.wrong += 1
        with lock:
            found.answered += mine.answered
            found.failed += mine.failed
            found.wrong += mine.wrong
            found.latencies_s += mine.latencies_s

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def answer(sock: socket.socket) -> tuple[bytes, bytes]:
    """The head and the body of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += sock.recv(65536)
    return head, body


def cpu_s(pid: int) -> float:
    """Of all threads of a process and of its children, to the nanosecond where the kernel counts them."""
    spent = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        spent += int((task / "schedstat").read_text().split()[0]) / 1e9
        for child in (task / "children").read_text().split():
            spent += cpu_s(int(child))
    return spent


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process with its children."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text().split("\n")
    values = {line.split(":")[0]: int(line.split()[1]) for line in text if line.endswith("kB")}
    rss, pss = values["Rss"] / 1e3, values["Pss"] / 1e3
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            more = memory_mb(int(child))
            rss, pss = rss + more[0], pss + more[1]
    return rss, pss


def until_ready(
    port: int, process_began_s: float, path: str = "/v2/health/ready", limit_s: float = 60.0
) -> float:
    """Seconds from the start of a process to its first answer with 200."""
    while time.monotonic() < process_began_s + limit_s:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                if answer(sock)[0].startswith(b"HTTP/1.1 200"):
                    return time.monotonic() - process_began_s
        except (OSError, StopIteration):
            pass
        time.sleep(0.01)
    raise TimeoutError(f"nothing answers on port {port}")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def quiet() -> dict[str, str]:
    """The environment of a server: this tree, one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
