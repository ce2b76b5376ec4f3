"""What all commands share: help, environment variables, errors, exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from cascade_batch import __version__
from cascade_batch.cli import frame
from cascade_batch.cli.frame import Lazy, LazyGroup
from cascade_batch.cli.main import COMMANDS, cli
from cascade_batch.errors import CascadeError, JobNotFoundError, ServiceUnreachableError

ROOT = Path(__file__).parents[3]


def all_commands() -> dict[str, click.Command]:
    """Every command by its path, those of groups included."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": c for sub, c in command.commands.items()}
        else:
            found[name] = command
    return found


PATHS = sorted(all_commands())


def test_the_help_lists_every_command(run):
    result = run("--help")

    assert result.exit_code == 0
    for name, entry in COMMANDS.items():
        assert f"\n  {name} " in result.stdout
        assert entry.summary in result.stdout


@pytest.mark.parametrize("entry", COMMANDS.values(), ids=COMMANDS)
def test_every_command_of_the_table_is_there(entry):
    module, name = entry.place.split(":")

    assert isinstance(getattr(import_module(module), name), click.Command)


@pytest.mark.parametrize("path", PATHS)
def test_every_option_says_what_it_does_and_which_variable_gives_it(run, path):
    command = all_commands()[path]
    text = " ".join(run(*path.split(), "--help").stdout.split())

    assert command.help
    assert command.help.split("\n")[0].rstrip().endswith((".", "?"))
    for option in command.params:
        if isinstance(option, click.Option):
            name = re.sub("[ -]", "_", f"CASCADE_{path}_{option.name}").upper()
            assert f"env var: {name}" in text
            assert option.help
            assert option.help.endswith((".", ")"))


READING = ["estimate", "status", "watch", "results", "errors", "frontier", "audit", "tiers check", "doctor",
           "sql"]  # fmt: skip


@pytest.mark.parametrize("path", READING)
def test_every_reading_command_can_print_json(path):
    options = {name for option in all_commands()[path].params for name in option.opts}

    assert "--json" in options


def test_a_variable_stands_for_an_option(run, folder):
    (folder / "data.jsonl").write_text('{"prompt": "hi"}\n')
    tiers = folder / "of-variable.yaml"
    tiers.write_text("tiers: [{name: a, model: m, price: {input: 1, output: 1}}]\n")

    result = run(
        "estimate", "data.jsonl", "--json", env={"CASCADE_ESTIMATE_TIERS_FILE": str(tiers)}
    )

    assert result.exit_code == 0
    assert '"rows": 1' in result.stdout


def test_the_version_is_shown(run):
    assert run("--version").stdout == f"cascade-batch {__version__}\n"


def test_a_misspelt_command_is_understood(run):
    result = run("sumbit")

    assert result.exit_code == 2
    assert "There is no command 'sumbit'. Did you mean 'submit'?" in result.stderr
    assert result.stdout == ""


@pytest.fixture
def run_failing(run, monkeypatch):
    """Run a command that does nothing but raise what is given."""

    def run_failing(error: BaseException, *options: str, env: dict[str, str] | None = None):
        @click.command
        def failing() -> None:
            click.echo("some data")
            raise error

        monkeypatch.setattr(LazyGroup, "get_command", lambda *_: failing)
        monkeypatch.setitem(COMMANDS, "failing", Lazy("nowhere:failing", ""))
        return run(*options, "failing", env=env)

    return run_failing


@pytest.mark.parametrize(
    ("error", "code", "more"),
    [
        (CascadeError("It is broken.", hint="Mend it."), 1, ""),
        (JobNotFoundError("It is broken.", hint="Mend it."), 2, ""),
        (
            ServiceUnreachableError("It is broken.", hint="Mend it."),
            4,
            "`cascade-batch doctor` looks at every part that a job needs.\n",
        ),
    ],
)
def test_an_error_is_told_in_words_and_by_its_exit_code(run_failing, error, code, more):
    result = run_failing(error)

    assert result.exit_code == code
    assert result.stderr == "Error: It is broken.\nMend it.\n" + more
    assert result.stdout == "some data\n"


def test_markup_and_control_characters_in_an_error_do_nothing(run_failing):
    result = run_failing(CascadeError("row [bold]x[/bold] \x1b[31mred\x07"))

    assert result.stderr == "Error: row [bold]x[/bold] \N{REPLACEMENT CHARACTER}[31mred\ufffd\n"


def test_a_fault_of_our_own_shows_no_traceback(run_failing):
    result = run_failing(KeyError("colour"))

    assert result.exit_code == 1
    assert "KeyError: 'colour'" in result.stderr
    assert "CASCADE_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("options", "env"), [(["--debug"], {}), ([], {"CASCADE_DEBUG": "1"})], ids=["option", "env"]
)
def test_debugging_lets_the_traceback_through(run_failing, options, env):
    result = run_failing(KeyError("colour"), *options, env=env)

    assert isinstance(result.exception, KeyError)


def test_ctrl_c_exits_with_130(run_failing):
    result = run_failing(KeyboardInterrupt())

    assert result.exit_code == 130
    assert "Interrupted." in result.stderr


def test_a_reader_that_goes_away_is_no_error():
    """As in `cascade-batch --help | head -1`, with more to print than a pipe holds."""
    program = (
        "import click\n"
        "from cascade_batch.cli.main import COMMANDS, cli\n"
        "from cascade_batch.cli.frame import Lazy, LazyGroup\n"
        "@click.command\n"
        "def talk():\n"
        "    for _ in range(100_000): click.echo('a line of data')\n"
        "COMMANDS['talk'] = Lazy('x:talk', '')\n"
        "LazyGroup.get_command = lambda *_: talk\n"
        "cli(['talk'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"a line of data\n"
    process.stdout.close()

    assert process.wait(60) == 0
    assert process.stderr.read() == b""


@pytest.mark.parametrize("ending", ["leave(3)", "leave('said at the end')"])
def test_a_process_that_leaves_loses_nothing_that_was_to_be_done(ending):
    program = (
        "import atexit, sys, threading\n"
        "from cascade_batch.cli.frame import leave\n"
        "atexit.register(print, 'registered')\n"
        "print('data')\n"
        f"{ending}\n"
        "sys.exit(3)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert (done.returncode, done.stdout, done.stderr) == (3, "data\nregistered\n", "")


@pytest.mark.parametrize(("command", "code"), [("--version", 0), ("no-such-command", 2)])
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_a_command_started_without_its_streams_ends_as_it_would_with_them(command, code, closed):
    done = subprocess.run(
        f"{sys.executable} -m cascade_batch {command} {closed}", shell=True, capture_output=True,
        text=True, check=False, cwd=ROOT,
    )  # fmt: skip

    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def test_a_process_with_work_under_way_waits_for_it():
    program = (
        "import threading\n"
        "from cascade_batch.cli.frame import leave\n"
        "may_end = threading.Event()\n"
        "def work():\n"
        "    may_end.wait(60)\n"
        "    print('worked')\n"
        "threading.Thread(target=work).start()\n"
        "leave(0)\n"
        "may_end.set()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert (done.returncode, done.stdout) == (0, "worked\n"), done.stderr


HEAVY = {"sqlalchemy", "psycopg", "celery", "kombu", "redis", "aiohttp", "numpy", "pandas",
         "pyarrow", "jinja2", "jsonschema", "genai_prices", "alembic"}  # fmt: skip


def test_help_loads_nothing_heavy():
    program = (
        "import sys\n"
        "from cascade_batch.cli.main import cli\n"
        "for path in sys.argv[1:]:\n"
        "    cli([*path.split(), '--help'], standalone_mode=False)\n"
        f"    heavy = {HEAVY} & set(sys.modules)\n"
        "    assert not heavy, (path, heavy)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, "", *PATHS],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == 1 + len(PATHS)


def test_bounding_rows_loads_only_what_the_job_asks_for(tmp_path):
    """A job of one tier behind HTTP needs no client to be submitted, and without a schema no validator."""
    (tmp_path / "tiers.yaml").write_text(
        "tiers: [{name: t, model: m, base_url: 'http://localhost/v1', price: {input: 1, output: 1}}]"
    )
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from cascade_batch.domain.row import Record\n"
        "from cascade_batch.engine.row_bounds import RowBounds\n"
        "from cascade_batch.engine.spec_files import JobOptions, read_job\n"
        "given = JobOptions(data='d.jsonl', tiers_file=Path('tiers.yaml'), prompt='{{ a }}', budget='1')\n"
        "bounds = RowBounds(read_job(given).spec)\n"
        "bounds.check(Record(None, 1, {'a': 'text'}))\n"
        "assert bounds.worst_nanousd > (0,)\n"
        "needless = {'asyncio', 'httptools', 'jsonschema', 'regex', 'sqlalchemy', 'redis', 'yarl'}\n"
        "assert not needless & set(sys.modules), needless & set(sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert done.returncode == 0, done.stderr


def test_printable_keeps_line_breaks():
    assert frame.printable("a\n\tb\r") == "a\n\tb\ufffd"
