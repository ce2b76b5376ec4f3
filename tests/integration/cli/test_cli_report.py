"""The report of a job: one page, complete, harmless, and no more sure than the job's labels allow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from .conftest import Shell

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"
NAME = '<b>"news"</b> & more'
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CLAIMS = re.compile(r"\b(right|wrong|accura\w+)\b", re.IGNORECASE)


class _Page(HTMLParser):
    """What a page shows, and what it would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.shown: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in_style = tag == "style"
        for name, value in attrs:
            is_own = (value or "").startswith("#")
            if (name in ("src", "href", "xlink:href", "data", "action") and not is_own) or name[
                :2
            ] == "on":
                self.loaded.append(f"{name}={value}")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())


@pytest.fixture(scope="module")
def jobs(deployed: Shell) -> Shell:
    """A shell with a labelled job under a hostile name, and one that nobody labelled; both with a row that
    every tier refuses."""
    labels = ("up", "down", "none")
    lines = [
        {"headline": f"gold {i} #{labels[i % 3]} {HOSTILE}", "label": labels[i % 3]}
        for i in range(90)
    ]
    lines.append({"headline": "poison #up", "label": "up"})
    (deployed.folder / "hostile.jsonl").write_text("\n".join(map(json.dumps, lines)))
    common = (
        "hostile.jsonl", "--prompt", "{{ headline }}", "--tiers", "tiers.yaml",
        "--output", "{choices: [up, down, none]}", "--budget", "0.006",
    )  # fmt: skip
    for name, more in ((NAME, ("--gold", "label")), ("unlabelled", ())):
        done = deployed("submit", *common, "--name", name, *more)
        assert done.returncode == 0, done.stderr
    return deployed


def _report(shell: Shell, job: str) -> tuple[str, _Page]:
    done = shell("report", job, "-o", "-")
    assert done.returncode == 0, done.stderr
    return done.stdout, _Page(done.stdout)


def test_a_page_with_the_jobs_figures_and_charts(jobs: Shell):
    status = jobs.json("status", NAME)
    _, page = _report(jobs, NAME)

    assert "90 of 91 rows were answered" in page.text
    assert f"{sum(t['calls'] for t in status['tiers'].values()):,}" in page.text
    for title in ("What the money bought", "Where the answers came from", "What was asked again, and why",
                  "Money", "Latency", "What failed"):  # fmt: skip
        assert title in page.text
    assert page.tags.count("svg") >= 5
    assert "poison" not in page.text
    assert "HTTP 400" in page.text
    assert "More money" in page.text or "The next" in page.text


def test_nothing_that_a_row_or_a_name_says_becomes_markup(jobs: Shell):
    text, page = _report(jobs, NAME)

    assert HOSTILE not in text
    assert NAME not in text
    assert "alert('x')" in page.text
    assert NAME in page.text
    assert not {"script", "img", "iframe", "object", "embed", "link", "b", "form"} & set(page.tags)
    assert page.loaded == []
    assert "default-src 'none'" in text


def test_a_job_that_nobody_labelled_is_told_of_without_claims(jobs: Shell):
    _, page = _report(jobs, "unlabelled")

    assert "Nobody labelled this job" in page.text
    assert _CLAIMS.findall(page.text) == []
    assert "unmeasured" in page.text


def test_the_file_is_named_after_the_job_and_appears_whole(jobs: Shell):
    done = jobs("report", NAME)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "b-news-b-more.html" in done.stderr
    assert (jobs.folder / "b-news-b-more.html").read_text().rstrip().endswith("</html>")

    done = jobs("report", NAME, "-o", "missing/page.html")
    assert done.returncode == 2
    assert "missing: there is no such folder" in done.stderr

    done = jobs("report", "nobody")
    assert done.returncode == 2
    assert "no job called 'nobody'" in done.stderr


def test_a_job_that_has_just_begun(jobs: Shell):
    done = jobs("submit", "hostile.jsonl", "--prompt", "{{ headline }}", "--tiers", "slow.yaml",
                "--budget", "1", "--name", "begun", "--detach")  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, page = _report(jobs, "begun")
    jobs("cancel", "begun")

    assert "of 91 rows were answered" in page.text
    assert "to come" in page.text


def test_a_browser_shows_it_and_has_nothing_to_complain_of(jobs: Shell, tmp_path: Path):
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(_BROWSERS)}")
    text, page = _report(jobs, NAME)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            found, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,2000", "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip

    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert _Page(done.stdout).tags.count("svg") == page.tags.count("svg")
