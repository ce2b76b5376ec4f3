"""The embedded stack tells of jobs, at addresses that it learns with the job."""

from __future__ import annotations

import subprocess
import sys

import cascade_batch
from tests.integration.receiver import serve

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="


def test_a_job_of_the_embedded_stack_tells_whom_it_should(folder, monkeypatch):
    with serve() as receivers:
        receiver = receivers()
        # By now the stack may run already: it knows neither variable from its own start.
        monkeypatch.setenv("HOOK_URL", receiver.url)
        monkeypatch.setenv("HOOK_KEY", SECRET)
        job = cascade_batch.submit(
            [{"headline": "Gold jumps"}, {"headline": "Gold falls"}],
            prompt="{{ headline }}",
            output={"choices": ["up", "down", "none"]},
            budget=1,
            notify={"url": "env:HOOK_URL", "secret_env": "HOOK_KEY", "events": ["finished"]},
        )
        job.wait(progress=False)

        got = receiver.arrivals.get(timeout=60)

    assert got.message["type"] == "job.finished"
    assert got.message["data"]["job"] == job.name
    assert got.message["data"]["rows"]["answered"] == 2
    assert got.headers["webhook-signature"].startswith("v1,")


def test_a_receiver_can_be_tried(folder):
    def tried(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cascade_batch", "notify-test", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with serve() as receivers:
        receiver = receivers()
        (folder / "job.yaml").write_text(f"notify: {{url: {receiver.url}, events: [failed]}}\n")
        assert tried("--job", "job.yaml").returncode == 0
        assert receiver.types() == ["job.test"]
        receiver.answers.append((404, {}))
        refused = tried(receiver.url)
    assert refused.returncode == 1
    assert "answered 404" in refused.stdout
    assert "a-token" not in refused.stdout
