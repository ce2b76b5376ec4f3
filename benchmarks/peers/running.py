"""Installing peers and running them, from the benchmark's own environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.rig import ROOT

_ENVIRONMENTS = ROOT / "build" / "peers"
_INSTALL_PATIENCE_S = 900.0
_RUN_PATIENCE_S = 600.0
_LONGEST_REASON = 200


class NotInstalledError(Exception):
    """A peer can't be had here; the message is the first line of why."""


@dataclass(frozen=True)
class Peer:
    """A tool to be measured beside.

    Attributes:
        name: What it is called.
        module: Its script, in this package.
        packages: What pip installs.
    """

    name: str
    module: str
    packages: tuple[str, ...]


PEERS = (
    Peer("openai SDK, asyncio", "openai_sdk", ("openai",)),
    Peer("litellm acompletion", "litellm_acompletion", ("litellm",)),
    Peer("cascadeflow run_batch", "cascadeflow_batch", ("cascadeflow",)),
    Peer("curator", "curator", ("bespokelabs-curator",)),
    Peer("the cookbook's way", "cookbook", ("aiohttp", "tiktoken")),
)


@dataclass(frozen=True)
class Given:
    """What a peer is to do.

    Attributes:
        url: The server's `base_url`.
        rows: How many questions.
        concurrency: Calls in flight, at most.
        size_bytes: Of each question.
        first: Number of the first question.
    """

    url: str
    rows: int
    concurrency: int
    size_bytes: int
    first: int = 0


def environment(peer: Peer) -> str:
    """The peer's interpreter, in an environment that is made if there is none.

    Raises:
        NotInstalledError: It can't be made.
    """
    folder = _ENVIRONMENTS / peer.module
    python, done = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join(peer.packages)
    if done.exists() and done.read_text() == wanted:
        return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for step in ([sys.executable, "-m", "venv", str(folder)], [*pip, *peer.packages]):
        try:
            subprocess.run(
                step, capture_output=True, text=True, timeout=_INSTALL_PATIENCE_S, check=True
            )
        except subprocess.CalledProcessError as error:
            raise NotInstalledError(_first_error(error.stderr or error.stdout)) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotInstalledError(str(error)) from None
    done.write_text(wanted)
    return str(python)


def run_peer(peer: Peer, given: Given) -> dict[str, Any]:
    """What a peer's script prints (see `measured`), or `failed` with the reason."""
    home = tempfile.mkdtemp(prefix="cascade-peer-")
    try:
        done = subprocess.run(
            [environment(peer), "-m", f"benchmarks.peers.{peer.module}", json.dumps(asdict(given))],
            cwd=home, env=_variables(home), capture_output=True, text=True,
            timeout=_RUN_PATIENCE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {_RUN_PATIENCE_S:.0f} s"}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        return {"failed": said[-1][:_LONGEST_REASON]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _variables(home: str) -> Mapping[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "TELEMETRY_ENABLED": "false",
        "CURATOR_VIEWER": "false",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return ((errors or lines or ["no reason was given"])[0])[:_LONGEST_REASON]
