"""The catalogue of errors that a person can meet, each with its exit code (docs/errors.md explains them).

Any layer raises `MusterError(code, sentence)`: the sentence says what is wrong and what to do.  The command
line prints it without a traceback and exits with the number; the daemon sends it to its caller as JSON.
"""

from __future__ import annotations

EXIT_CODES: dict[str, int] = {
    "internal": 1,  # a fault in Muster itself
    "usage": 2,  # the command line is off
    "config": 3,  # a TOML file is malformed or holds an unknown key
    "scenario": 4,  # a scenario is inconsistent
    "no_node": 5,  # no daemon answers
    "unknown_task": 6,
    "task_fault": 7,  # the task's own code fails
    "bad_data": 8,  # a data file is missing or malformed
    "fingerprint": 9,  # the task differs between nodes
    "fleet": 10,  # certificates: wrong fleet, missing bundle, revoked
    "port_in_use": 11,
    "home": 12,  # the home directory cannot be used, or another daemon uses it
    "disk_full": 13,
    "unknown_job": 14,
    "no_result": 15,  # nothing to export yet
    "no_namespaces": 16,  # this machine cannot emulate a network
    "timeout": 17,  # the job did not end within the time that the user gave
    "refused": 18,  # the node's policy says no, or a model is no better than the one in use
    "failed": 19,  # a job ended without a model
    "unknown_commit": 20,
    "tracker": 21,  # a tracker does not take what is written to it
    "service": 22,  # systemd is not there, or does not do what it is asked
    "interrupted": 130,
}


class MusterError(Exception):
    """A mistake or a circumstance that a person can do something about."""

    def __init__(self, code: str, sentence: str) -> None:
        assert code in EXIT_CODES, code
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.code]
