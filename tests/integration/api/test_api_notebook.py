"""A notebook's cells, run by IPython: what is displayed, and what is displayed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

Display = dict[str, Any]
NAME = '<b>bold & "quoted"</b> {{ 7 * 7 }}'


@pytest.fixture
def cell(folder, monkeypatch) -> Iterator[Callable[[str], list[Display]]]:
    """Runs a cell; what it displays, in order."""
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    displayed: list[Display] = []
    # Where a kernel would send them to the page: what is displayed, and what a cell's last line gives.
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, **_: displayed.append(data))
    monkeypatch.setattr(
        shell.displayhook, "write_format_data", lambda data, _=None: displayed.append(data)
    )

    def run(code: str) -> list[Display]:
        displayed.clear()
        shell.run_cell(code, store_history=True).raise_error()
        return [data for data in displayed if data]

    yield run
    InteractiveShell.clear_instance()


def test_waiting_shows_one_table_that_changes_and_a_job_shows_itself(cell):
    cell(
        "import cascade_batch, pandas as pd\n"
        "df = pd.DataFrame({'headline': ['Gold jumps', 'Gold falls'] * 20})\n"
        "job = cascade_batch.submit(df, prompt='{{ headline }}', budget=0.5, seed=1,"
        f" output={{'choices': ['up', 'down', 'none']}}, name={NAME!r})"
    )

    waited = cell("job.wait()")
    shown = cell("job")
    looked = cell("job.progress()")

    assert waited[-1]["text/plain"].startswith(f"{NAME}: finished; 40 of 40 rows answered; $")
    # The last look is the end: the job that the cell returns is not displayed a second time.
    for html in (waited[-1]["text/html"], shown[-1]["text/html"], looked[-1]["text/html"]):
        page = ElementTree.fromstring(html)
        assert "".join(page.find(".//b").itertext()) == NAME
        assert "finished" in "".join(page.itertext())
        assert "40 of 40 answered" in "".join(page.itertext())
        assert [row.findtext("td") for row in page.iter("tr")][1:] == ["small", "large"]
        assert not list(page.iter("script"))
    assert len(shown) == len(looked) == 1
    audited = cell("job.audit()")[0]
    page = ElementTree.fromstring(audited["text/html"])
    assert [bold.text for bold in page.iter("b")] == [NAME, "OK"]
    assert audited["text/plain"].startswith("OK: ")
    frontier = cell("job.frontier()")[0]
    assert "<th>measured</th>" in frontier["text/html"]
    assert "measured" in frontier["text/plain"]
    assert cell("job")[0]["text/plain"].startswith(f"Job    {NAME}: finished\nRows ")
    assert "No row of job" in cell("job.retry()")[0]["text/plain"]
    assert "text/html" in cell("df.join(job.results()[['value']])")[0]
    assert [
        row for row in cell("cascade_batch.jobs()")[0]["text/plain"].splitlines() if NAME in row
    ]


def test_in_a_notebook_progress_can_be_left_out(cell):
    cell(
        "import cascade_batch\n"
        "job = cascade_batch.submit([{'prompt': 'Gold rises'}], budget=0.5, name='silent')"
    )

    assert cell("_ = job.wait(progress=False)") == []
    assert "text/html" in cell("job.wait(progress=False)")[0]
