"""Flower does not listen where strangers are without a password; what it can't show is said."""

import socket
from pathlib import Path

from cascade_batch.cli import flower as command
from cascade_batch.settings import Settings


def test_flower_does_not_listen_to_strangers_without_a_password(run):
    done = run("flower", "--host", "0.0.0.0", env={"FLOWER_BASIC_AUTH": "", "FLOWER_AUTH": ""})

    assert done.exit_code == 2
    assert "FLOWER_BASIC_AUTH" in done.output


def test_it_is_said_that_what_ran_before_is_not_in_the_list(run, folder: Path, monkeypatch):
    class Ended:
        def __init__(self, *_, **__):
            pass

        def wait(self):
            return 0

    monkeypatch.setattr(
        command, "running_settings", lambda: Settings(None, None, home=folder / "home")
    )
    monkeypatch.setattr(command.subprocess, "Popen", Ended)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    done = run("flower", "--port", str(port))

    assert done.exit_code == 0, done.output
    assert f"http://127.0.0.1:{port}\n" in done.output
    assert "from now on" in done.output
    assert "cascade-batch status JOB" in done.output
