"""What every command shares: how options are shown, and how failures become words and exit codes."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from cascade_batch.errors import CascadeError, ServiceUnreachableError

DEBUG_VARIABLE = "CASCADE_DEBUG"

EXIT_FAILED = 1
EXIT_OUT_OF_MONEY = 3
EXIT_INTERRUPTED = 130


class Command(click.Command):
    """A command whose help names the environment variable of every option."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if isinstance(parameter, click.Option):
                parameter.show_envvar = True


class Group(click.Group):
    """A small group that imports its commands at once."""

    command_class = Command


class Lazy(NamedTuple):
    """Where a command is (`module:name`), and what help shows without importing it: its line, and under
    which heading."""

    place: str
    summary: str
    section: str = "Commands"


class LazyGroup(click.Group):
    """A group that imports a command only when it is called, so that `--help` stays fast."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # from click
        """Names in the order of the table, which is the order of use."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command; None where there is none of this name."""
        entry = self.lazy.get(cmd_name)
        if entry is None:
            return None
        module, name = entry.place.split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may be meant."""
        name = args[0]
        if ctx.resilient_parsing:  # what is being completed may well be wrong so far
            return super().resolve_command(ctx, args)
        if name not in self.lazy and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, self.lazy, n=1)
            meant = f" Did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"There is no command '{name}'.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table under their headings, importing none of them."""
        width = max(map(len, self.lazy))
        for section in dict.fromkeys(entry.section for entry in self.lazy.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (name.ljust(width), entry.summary)
                        for name, entry in self.lazy.items()
                        if entry.section == section
                    ]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands from the table, importing none of them; this group's own options."""
        found = [
            CompletionItem(name, help=entry.summary)
            for name, entry in self.lazy.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; failures become a few words on stderr and an exit code."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except CascadeError as error:
            show_error(error)
            if ctx.params.get("debug"):
                raise
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # The reader (`| head`) has what it wanted. Nothing may be flushed into the pipe at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            first_line = str(error).strip().partition("\n")[0]
            say(
                f"cascade-batch stopped at a fault of its own: {type(error).__name__}: {first_line}"
            )
            say(f"Run the command again with {DEBUG_VARIABLE}=1 to see where, and report it.")
            ctx.exit(EXIT_FAILED)
        else:
            return result


def show_error(error: CascadeError) -> None:
    """Show what is wrong and what to do next on stderr."""
    click.echo(_coloured("Error: ", "red") + printable(error.message), err=True)
    if error.hint:
        click.echo(printable(error.hint), err=True)
    if isinstance(error, ServiceUnreachableError):
        click.echo("`cascade-batch doctor` looks at every part that a job needs.", err=True)


def say(text: str) -> None:
    """Say something beside the data: on stderr, without control characters."""
    click.echo(printable(text), err=True)


def warn(text: str) -> None:
    """Say on stderr what looks wrong but stops nothing."""
    click.echo(_coloured("Warning: ", "magenta") + printable(text), err=True)


def _coloured(text: str, colour: str) -> str:
    """In colour where colours are wanted; `click.echo` drops it where there is no terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return click.style(text, fg=colour, bold=True)


def printable(text: str) -> str:
    """The text without control characters: data must not be able to drive a terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def calculate_on_one_thread() -> None:
    """Have numpy, which must not be imported yet, use one thread, here and in processes started from here.

    A planner's products are small: several threads wait for each other longer than they calculate, and
    change the last digits, and with them decisions. A variable that the user has set wins.
    """
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def look_for_cycles_rarely() -> None:
    """Have the garbage collector wait for 20,000 new objects, not for 700.

    Rows that are read and calls that are made are freed as they end; only what refers to itself waits for the
    collector. Looking for that took a worker 0.3 s of the 4.6 s of CPU that 50,000 calls cost.
    """
    # Nothing that a start brings becomes free again: it is looked at once, if the process lives that long.
    gc.set_threshold(200_000, 20, 50)
    gc.callbacks.append(_look_for_cycles_from_now_on)


def _look_for_cycles_from_now_on(*_: object) -> None:
    gc.callbacks.remove(_look_for_cycles_from_now_on)
    gc.set_threshold(20_000, 20, 50)


def leave(code: object) -> None:
    """End the process with this exit code at once: the system takes all memory back faster than Python, which
    would take it apart object by object. What was registered to be done at the end is done.

    Returns where that is not safe: the interpreter has something to show or to wait for.
    """
    waits_for = [t for t in threading.enumerate() if t is not threading.main_thread()]
    if not isinstance(code, int | None) or not all(thread.daemon for thread in waits_for):
        return
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            # None where the command was started without it.
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code or 0)


def load_redis_alone() -> None:
    """Import redis-py without OpenTelemetry's metrics, for a command that ends soon.

    Where the SDK is installed, redis-py loads all of it in case a program wants metrics of its connections,
    which takes longer than loading redis-py. Only for a process that is ours from start to end.
    """
    metrics = "opentelemetry.sdk.metrics"
    if metrics in sys.modules:
        return
    # None is how Python is told that there is no such module.
    sys.modules[metrics] = None  # type: ignore[assignment]
    try:
        import_module("redis")
    finally:
        del sys.modules[metrics]


def set_up_logging(*, debug: bool) -> None:
    """Log to stderr: warnings, or everything of this package when debugging."""
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    if debug:
        logging.getLogger("cascade_batch").setLevel(logging.DEBUG)
