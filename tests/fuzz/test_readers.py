"""Whatever stands in a data set: usable records, or an error that names the file and the line."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.datasets import MAX_DEPTH, read_records
from cascade_batch.errors import CascadeError, DataError
from cascade_batch.prompts import FormGuard, PromptError, compile_prompt
from cascade_batch.providers.scripted.recording import load_recording
from cascade_batch.replay.recorded import read_set
from tests.fuzz.hostile import FUZZ, spoilt_bytes, spoilt_tree

ROWS = [
    {"custom_id": "a-1", "prompt": "what?", "label": "up", "n": 1.5, "tags": ["x", {"y": None}]},
    {"custom_id": "a-2", "prompt": "wär' es\n“so”?", "label": "down", "n": -3, "tags": []},
    {"id": 7, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    {"body": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}},
]
JSON_LINES = b"".join(orjson.dumps(row) + b"\n" for row in ROWS)
CSV = 'id,prompt,label\r\n1,"what, ""really""?",up\r\n2,"two\nlines",down\r\n3,é,\r\n'.encode()
RECORDED = b"".join(
    orjson.dumps(
        {
            "id": f"r{no}",
            "task": "t",
            "prompt": "p",
            "system": None,
            "outcomes": {
                tier: {
                    "text": "The answer is (B)",
                    "score": 1,
                    "input_tokens": 3,
                    "output_tokens": 2,
                    "logprob": -0.1,
                }
                for tier in ("a", "b")
            },
        }
    )
    + b"\n"
    for no in range(3)
)
PRICES: dict[str, Any] = {
    "name": "s",
    "tiers": [
        {"name": tier, "input_usd_per_mtok": 1, "output_usd_per_mtok": 2.5} for tier in ("a", "b")
    ],
}


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


PARQUET = parquet(
    id=["a", "b"],
    prompt=["x", None],
    when=[datetime(2026, 1, 1, tzinfo=UTC)] * 2,
    deep=[[{"k": [1]}], []],
)


def read(folder: Path, name: str, content: bytes) -> list[DataError]:
    """Read a file and ask what each record would be asked; returns what was left out.

    The property itself: nothing but the project's own errors comes out, each with its file.
    """
    path = folder / name
    path.write_bytes(content)
    guard = FormGuard(maker := compile_prompt(system=None, template=None))
    bad: list[DataError] = []
    try:
        for record in read_records(str(path), on_bad=bad.append):
            assert orjson.loads(orjson.dumps(record.fields)) == record.fields
            assert "\0" not in json.dumps(record.fields, ensure_ascii=False)
            try:
                guard.check(record)
                maker.prompt_for(record.fields)
            except PromptError as error:
                assert error.message
    except CascadeError as error:
        assert name in error.message
        assert "\n" not in error.message
    for fault in bad:
        assert fault.line_no is not None
        assert f"{name}:{fault.line_no}: " in fault.message
        assert "\n" not in fault.message
        assert len(fault.message) < 1000 + len(str(path))
    return bad


@FUZZ
@given(spoilt_bytes(JSON_LINES))
def test_json_lines(folder: Path, content: bytes) -> None:
    read(folder, "d.jsonl", content)


@FUZZ
@given(st.lists(st.sampled_from(ROWS).flatmap(spoilt_tree), min_size=1, max_size=4))
def test_records_of_other_kinds(folder: Path, rows: list[Any]) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows)
    read(folder, "d.jsonl", content.encode())


@FUZZ
@given(spoilt_bytes(CSV))
def test_csv(folder: Path, content: bytes) -> None:
    read(folder, "d.csv", content)


@FUZZ
@given(spoilt_bytes(PARQUET))
def test_parquet(folder: Path, content: bytes) -> None:
    read(folder, "d.parquet", content)


@FUZZ
@given(st.sampled_from([JSON_LINES, CSV]).flatmap(spoilt_bytes), st.data())
def test_packed(folder: Path, content: bytes, data: st.DataObject) -> None:
    ending = data.draw(st.sampled_from([".jsonl", ".csv"]))
    if data.draw(st.booleans()):
        name, packed = f"d{ending}.gz", gzip.compress(content, mtime=0)
    else:
        name, packed = f"d{ending}.zst", pa.compress(content, "zstd", asbytes=True)
    if data.draw(st.booleans()):
        packed = data.draw(spoilt_bytes(packed))
    read(folder, name, packed)


@FUZZ
@given(
    st.sampled_from([JSON_LINES, CSV]),
    st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp500", "utf-7"]),
    st.sampled_from(["d.jsonl", "d.csv"]),
)
def test_other_encodings(folder: Path, content: bytes, encoding: str, name: str) -> None:
    read(folder, name, content.decode().encode(encoding, "replace"))


@FUZZ
@given(spoilt_bytes(RECORDED), spoilt_tree(PRICES) | st.just(PRICES))
def test_recorded_sets(folder: Path, rows: bytes, prices: Any) -> None:
    (folder / "s.jsonl").write_bytes(rows)
    (folder / "s.json").write_text(json.dumps(prices))
    for take in (
        lambda: read_set(folder / "s.jsonl"),
        lambda: load_recording(folder / "s.jsonl", ["a"]),
    ):
        try:
            take()
        except CascadeError as error:
            assert "s.json" in error.message or "two different tiers" in error.message


@FUZZ
@given(spoilt_tree(orjson.loads(RECORDED.splitlines()[0])))
def test_recorded_rows_of_other_kinds(folder: Path, row: Any) -> None:
    (folder / "k.json").write_text(json.dumps(PRICES))
    (folder / "k.jsonl").write_text(json.dumps(row) + "\n")
    for take in (
        lambda: read_set(folder / "k.jsonl"),
        lambda: load_recording(folder / "k.jsonl", ["a"]),
    ):
        try:
            take()
        except CascadeError as error:
            assert "k.json" in error.message


@pytest.mark.parametrize("zone", ["Nowhere/Nope", "+99:99", "../../etc/passwd"])
def test_times_in_a_zone_that_there_is_not(folder: Path, zone: str) -> None:
    times = pa.array([datetime(2026, 1, 1)], pa.timestamp("us", zone))
    (fault,) = read(folder, "zone.parquet", parquet(when=times))
    assert f"time zone that is not known: {zone!r}" in fault.message


@pytest.mark.parametrize("times", [[2**62], [-(2**62)]])
def test_times_beyond_all_calendars(folder: Path, times: list[int]) -> None:
    (fault,) = read(folder, "far.parquet", parquet(age=pa.array(times, pa.duration("s"))))
    assert "no JSON form" in fault.message


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1000, 100_000])
def test_lines_nested_deep(folder: Path, depth: int) -> None:
    (fault,) = read(folder, "d.jsonl", b'{"a":' + b"[" * depth + b"]" * depth + b"}\n{}\n")
    assert fault.line_no == 1


def test_an_amount_of_true_is_no_price(folder: Path) -> None:
    tiers = [{"name": "a", "input_usd_per_mtok": True, "output_usd_per_mtok": 1}]
    (folder / "p.json").write_text(json.dumps({"tiers": tiers}))
    (folder / "p.jsonl").write_bytes(RECORDED)
    with pytest.raises(CascadeError, match=r"p\.json holds no prices: True is no price"):
        read_set(folder / "p.jsonl")


@pytest.mark.parametrize("key", ["input_tokens", "output_tokens", "logprob"])
def test_recordings_with_texts_for_numbers(folder: Path, key: str) -> None:
    row = json.loads(RECORDED.splitlines()[0])
    row["outcomes"]["a"][key] = ""
    (folder / "r.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"r\.jsonl:1: not a recorded question"):
        load_recording(folder / "r.jsonl", ["a"])
