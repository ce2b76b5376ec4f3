"""The report of a job: one page, complete, harmless, and no more sure than the job's labels allow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
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
    """A shell with a labelled job under a hostile name, one that nobody labelled, one with `little` gold, and
    one that has a tier `alone`; all with a row that every tier refuses."""
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
    for place, line in enumerate(lines):
        line["known"] = line["label"] if place < 8 else None
    (deployed.folder / "little.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = deployed("submit", "little.jsonl", *common[1:], "--gold", "known", "--name", "little")
    assert done.returncode == 0, done.stderr
    tiers = (deployed.folder / "tiers.yaml").read_text()
    (deployed.folder / "one.yaml").write_text(tiers[: tiers.index("  - {name: large")])
    one = ("one.yaml" if word == "tiers.yaml" else word for word in common)
    done = deployed("submit", *one, "--gold", "label", "--name", "alone")
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


def test_only_a_page_is_written(jobs: Shell):
    done = jobs("report", NAME, "-o", "news.pdf")

    assert done.returncode == 2
    assert "a report is a page of HTML" in done.stderr
    assert "news.html" in done.stderr
    assert not (jobs.folder / "news.pdf").exists()
    assert jobs("report", NAME, "-o", "news.HTM").returncode == 0


def test_what_little_gold_does_not_measure_is_not_called_quality(jobs: Shell):
    _, page = _report(jobs, "little")

    assert "The right answers to 8 rows were known: too few to measure quality by" in page.text
    assert "What the planner expects at other budgets (unmeasured)" in page.text
    assert "Expected quality" not in page.text


def test_one_tier_has_no_curve(jobs: Shell):
    _, page = _report(jobs, "alone")

    assert "at other budgets" not in page.text
    assert "90 rows for which the right answer is known were answered right" in page.text
    assert "More money" not in page.text


def test_counts_agree_with_status_and_with_each_other(jobs: Shell):
    status = jobs.json("status", "unlabelled")
    _, page = _report(jobs, "unlabelled")
    in_status = sum(tier["escalated"] for tier in status["tiers"].values())
    sent = re.search(r"sent on to another tier ([\d,]+) time", page.text)
    told = re.search(r"([\d,]+) rows? ha\w+ answers from more than one tier", page.text)
    charted = re.search(r"([\d,]+) rows? with answers from more than one tier", page.text)

    assert sent is not None
    assert told is not None
    assert charted is not None
    assert told.group(1) == charted.group(1)
    assert f" of {sent.group(1)}." in page.text
    # Where the plan gave something up and took it up again, `status` counts it twice, and the page says so.
    assert sent.group(1) == f"{in_status:,}" or f"(`status` says {in_status:,}" in page.text


def test_examples_say_which_answer_is_final_and_whether_it_is_right(jobs: Shell):
    text, _ = _report(jobs, NAME)
    examples = text.split('<div class="example">')[1:]

    assert examples
    for example in examples:
        assert example.count("final answer") == 1
        final = next(line for line in example.splitlines() if "final answer" in line)
        assert _CLAIMS.search(final), final
        # The column that holds the right answer is not shown as part of the question.
        assert "label:" not in example


def test_money_is_never_written_in_powers_of_ten(jobs: Shell):
    for job in (NAME, "unlabelled", "little", "alone"):
        assert re.findall(r"\$[\d.]+e[-+]?\d+", _report(jobs, job)[1].text) == []


def test_a_job_that_has_just_begun(jobs: Shell):
    done = jobs("submit", "hostile.jsonl", "--prompt", "{{ headline }}", "--tiers", "slow.yaml",
                "--budget", "1", "--name", "begun", "--detach")  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, page = _report(jobs, "begun")
    jobs("cancel", "begun")

    assert "of 91 rows were answered" in page.text
    assert "to come" in page.text


@pytest.fixture
def browse(jobs: Shell, tmp_path: Path) -> Callable[..., str]:
    """Opens the labelled job's page in a browser with these options; returns the page as the browser has it.
    Nothing may be complained of on its console."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip(
            "this looks at the report in a browser, and there is none here; install one of these to run it:"
            f" {', '.join(_BROWSERS)}"
        )
    page = tmp_path / "page.html"
    page.write_text(_report(jobs, NAME)[0], encoding="utf-8")

    def browse(*options: str) -> str:
        done = subprocess.run(
            [
                found, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
                f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,2000", *options,
                page.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        return done.stdout

    return browse


def test_a_browser_shows_it_and_has_nothing_to_complain_of(jobs: Shell, browse: Callable[..., str]):
    _, page = _report(jobs, NAME)

    assert _Page(browse("--dump-dom")).tags.count("svg") == page.tags.count("svg")


def test_a_browser_shows_it_by_day_and_in_the_dark(browse: Callable[..., str], tmp_path: Path):
    from matplotlib.image import imread

    margins = []
    # What the reader's system prefers, as Chromium numbers it: 1 is light, 0 is dark.
    for scheme in (1, 0):
        shot = tmp_path / f"{scheme}.png"
        browse(f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}")
        margins.append(imread(shot)[5, 5, :3].max())

    assert margins[0] == 1.0
    assert margins[1] < 0.2


def test_a_browser_prints_it(browse: Callable[..., str], tmp_path: Path):
    pdf = tmp_path / "page.pdf"
    browse("--no-pdf-header-footer", f"--print-to-pdf={pdf}")

    assert pdf.read_bytes().startswith(b"%PDF-")
