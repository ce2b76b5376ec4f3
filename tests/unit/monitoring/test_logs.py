"""One format for everybody's lines, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from cascade_batch.errors import UsageError
from cascade_batch.monitoring.logs import bound, context_with, formatter
from cascade_batch.settings import load_settings

KEY = 'canary-"7f3e9a51'
_LEAKS = (
    "connecting to postgresql://user:hunter2hunter2@db/cascade",
    "redis://:hunter2hunter2@10.0.0.1:6379/0 is away",
    'headers: {"Authorization": "Bearer hunter2hunter2"}',
    "{'x-api-key': 'hunter2hunter2'}",
    "api_key=hunter2hunter2",
    "Incorrect API key provided: sk-hunter2hunter2",
)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a logger writes, in the format that is set with `use`."""
    return io.StringIO()


def logger(stream: io.StringIO, log_format: str) -> logging.Logger:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(log_format, secrets=[KEY, "x"]))
    made = logging.Logger("sqlalchemy.pool")
    made.addHandler(handler)
    return made


@pytest.mark.parametrize("log_format", ["json", "plain", "pretty"])
@pytest.mark.parametrize("leak", _LEAKS)
def test_what_looks_like_a_secret_is_masked(written, log_format, leak):
    log = logger(written, log_format)
    log.warning("%s", leak)
    log.warning("said", extra={"reply": leak})
    try:
        raise ValueError(leak)
    except ValueError:
        log.exception("stumbled")
    text = written.getvalue()

    assert "hunter2" not in text
    assert text.count("***") >= 3
    assert "ValueError" in text


@pytest.mark.parametrize("log_format", ["json", "plain"])
def test_a_known_secret_is_masked_whatever_it_looks_like(written, log_format):
    log = logger(written, log_format)
    log.warning("the server said %s", KEY, extra={"body": {"nested": [KEY]}})

    assert "7f3e9a51" not in written.getvalue()
    assert "the server said" in written.getvalue()


def test_a_json_line_holds_everything(written):
    log = logger(written, "json")
    with bound(job="news"):
        context = context_with(chunk=7)
        context.run(log.warning, "lost %d", 3, extra={"rows": 200})
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("two\nlines")
    log.info("outside")
    first, second, third = (json.loads(line) for line in written.getvalue().splitlines())

    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "warning", "message": "lost 3", "logger": "sqlalchemy.pool",
        "job": "news", "chunk": 7, "rows": 200,
    }  # fmt: skip
    assert (second["job"], "chunk" in second) == ("news", False)
    assert second["exception"].endswith("ValueError: no")
    assert "job" not in third


def test_plain_lines_have_no_colour_and_pretty_ones_do(written):
    logger(written, "plain").warning("a")
    assert "\x1b" not in written.getvalue()
    logger(written, "pretty").warning("b")
    assert "\x1b" in written.getvalue()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CASCADE_LOG_FORMAT", "xml"),
        ("CASCADE_METRICS_PORT", "0"),
        ("CASCADE_METRICS_PORT", "http"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    with pytest.raises(UsageError, match=name):
        load_settings()
