"""The command `muster`: which subcommands there are, and what becomes of an error.

Subcommands are imported only when they are called, so that `muster --help` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from muster import __version__
from muster.errors import EXIT_CODES, MusterError

# name -> (module under muster.cli, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": (
        "demo.command",
        "demo",
        "Run a whole job of several nodes on an emulated network on this machine.",
    ),
    "node": ("commands.node", "node", "Run a node: the daemon that trains with others."),
    "service": ("commands.service", "service", "Let systemd run a node on this machine."),
    "doctor": ("commands.doctor", "doctor", "Look at what a node needs, and say what to do."),
    "serve": ("commands.serve", "serve", "Answer requests with a task's model."),
    "label": ("commands.label", "label", "Say what samples of a served task are, for its next model."),
    "dashboard": (
        "commands.dashboard",
        "dashboard",
        "Serve the page of a running node: network, training, history.",
    ),
    "train": ("commands.train", "train", "Ask for help with training a task, and follow it to the end."),
    "prune": ("commands.prune", "prune", "Make a finished model smaller, and tune what is left."),
    "plan": ("commands.plan", "plan", "Show what a job would take, without asking anybody."),
    "stop": ("commands.jobs", "stop", "End a job."),
    "nodes": ("commands.jobs", "nodes", "Show who is in reach and what they do."),
    "jobs": ("commands.jobs", "jobs", "Show the jobs that a node knows."),
    "shared": ("commands.shared", "shared", "Show what this node shared of its data, with which job."),
    "log": ("commands.jobs", "log", "Show a job's history: rounds, who gave what, figures."),
    "show": ("commands.commits", "show", "Show a commit: what it counted, what it discarded, its figures."),
    "diff": ("commands.commits", "diff", "Compare two commits: figures, updates, parameters by layer."),
    "track": ("commands.track", "track", "Write a job's rounds to TensorBoard, MLflow, CSV or JSON lines."),
    "export": ("commands.jobs", "export", "Write a job's model as safetensors and ONNX."),
    "use": ("commands.field", "use", "Put a model into use on a node: a commit or a file."),
    "rollback": ("commands.field", "rollback", "Have the former model of a task in use again."),
    "field": (
        "commands.field",
        "field",
        "Show which model is in use where, how good it is, what it waits for.",
    ),
    "adapt": ("commands.field", "adapt", "Ask for a job that adapts a model in use to conditions here."),
    "tasks": ("commands.task", "list_", "Show what can be trained here: the same as 'task list'."),
    "task": ("commands.task", "task", "Write a task, check it, and see which there are."),
    "codec": ("commands.codec", "codec", "Compare the codecs that updates are sent with."),
    "fleet": ("commands.fleet", "fleet", "Make a fleet, let nodes in, put nodes out."),
    "emulate": ("commands.emulate", "emulate", "Run a command on every node of an emulated network."),
    "check": (
        "commands.check",
        "check",
        "Break simulated networks at random and check that nothing is lost.",
    ),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(f"muster.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see 'muster --help'"
            raise MusterError("usage", f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="muster")
def cli() -> None:
    """Small devices re-train one model together over networks that come and go.

    Start here: `muster demo`. Exit codes are in docs/errors.md.
    """


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point: runs the command line and exits with its code."""
    leave(run(sys.argv[1:] if argv is None else argv))


def leave(code: int) -> NoReturn:
    """End the process with `code`, for certain.

    A thread that is still inside the network engine comes back to an interpreter that is being taken down,
    which aborts the process with another code; everything is durable by now, so nothing is left to do.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more
            sys.stdout.flush()
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """The exit code of a command line; an error is one sentence on standard error."""
    as_json = "--json" in argv
    try:
        result = cli.main(args=list(argv), prog_name="muster", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except MusterError as error:
        return _say(error, as_json)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return EXIT_CODES["usage"]
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "muster"
        sentence = error.format_message().rstrip(".")
        return _say(MusterError("usage", f"{sentence} (see '{command} --help')"), as_json)
    except click.ClickException as error:
        return _say(MusterError("usage", error.format_message()), as_json)
    except (KeyboardInterrupt, click.exceptions.Abort):
        return _say(MusterError("interrupted", "interrupted"), as_json)
    except BrokenPipeError:  # `muster log ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("MUSTER_DEBUG"):
            raise
        return _say(
            MusterError(
                "internal",
                f"this is a fault in Muster ({type(error).__name__}: {_first_line(error)}); the trace is in "
                f"{_write_trace()}, please report it",
            ),
            as_json,
        )


def _say(error: MusterError, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({"error": {"code": error.code, "sentence": error.sentence}}), err=True)
    else:
        click.echo(f"{_journal_level()}muster: {error.sentence}", err=True)
    return error.exit_code


def _journal_level() -> str:
    """What marks a line on standard error as an error where it goes to the journal."""
    if "JOURNAL_STREAM" not in os.environ:
        return ""
    from muster.node.log.journal import leads_to_journal

    return "<3>" if leads_to_journal(sys.stderr.fileno(), os.environ) else ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _write_trace() -> Path:
    """The newest trace replaces the last one: a crash loop does not fill a disk."""
    import traceback

    path = Path(tempfile.gettempdir()) / f"muster-{os.getuid()}-crash.log"
    path.write_text(traceback.format_exc(), "utf-8")
    return path


if __name__ == "__main__":
    main()
