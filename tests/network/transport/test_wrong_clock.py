"""A board without a clock boots in 1970, and an empty battery says 2101: links come about all the same."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from muster.network.trust.identity import Identity
from patience import patient_s

PAIR = Path(__file__).with_name("linked_pair.py")
LIBRARIES = ("x86_64-linux-gnu", "aarch64-linux-gnu", "arm-linux-gnueabihf")


def faketime() -> str:
    """The library that shows a process another date, as Debian's package faketime installs it."""
    for machine in LIBRARIES:
        library = Path("/usr/lib", machine, "faketime/libfaketimeMT.so.1")
        if library.exists():
            return str(library)
    pytest.skip("no faketime on this machine: apt-get install faketime (as .ci/run does)")


@pytest.mark.parametrize("year", [1970, 2026, 2039, 2101, 9999])
def test_certificates_are_valid_in_every_year(members: dict[str, Identity], year: int) -> None:
    now = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
    for der in (members["alpha"].certificate, members["alpha"].ca_certificate):
        certificate = x509.load_der_x509_certificate(der)
        assert certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


@pytest.mark.e2e
@pytest.mark.parametrize("date", ["1970-01-01 00:00:00", "1970-01-01 00:05:00", "2101-06-01 00:00:00"])
def test_two_nodes_link_at_any_date(date: str) -> None:
    """Both ends check each other's certificate by this date; monotonic time goes as it does."""
    env = os.environ | {
        "LD_PRELOAD": faketime(),
        "FAKETIME": f"@{date}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }
    command = [sys.executable, str(PAIR), str(patient_s(20.0))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=patient_s(60.0))
    assert done.stdout.split() == [date[:4], "linked"], done.stderr
