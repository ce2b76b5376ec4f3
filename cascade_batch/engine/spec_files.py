"""From a job file, a tiers file and options to the frozen specification of a job.

A job file's keys are the options of `submit`; an option wins over the key. Paths in a job file are
relative to its folder, paths in options to the working folder. Everything that can be known to be
wrong before the data is read is found here, all at once where possible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cascade_batch.domain.job import JobSpec, Output
from cascade_batch.domain.money import usd_to_nanousd
from cascade_batch.domain.notify import NotifyTarget
from cascade_batch.domain.tier import Tier
from cascade_batch.engine.job_file import JobFile
from cascade_batch.engine.notify_files import NotifyOption, make_targets, notify_warnings
from cascade_batch.engine.prompt_warnings import prompt_warnings
from cascade_batch.engine.tier_files import (
    find_tiers_file,
    make_tiers,
    order_warnings,
    prompt_text,
    read_tiers_file,
)
from cascade_batch.engine.yaml_models import refuse_secrets, validate
from cascade_batch.engine.yaml_source import GivenInCode, YamlSource, short_path, user_path
from cascade_batch.errors import UsageError
from cascade_batch.prompts import compile_prompt
from cascade_batch.quality import make_judge
from cascade_batch.words import argument, choose, place

JOB_FILE = "job.yaml"
STDIN = "-"
_DATA_ENDINGS = (".gz", ".zst", ".jsonl", ".ndjson", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What was given beside a job file. None: not given, so the job file or the default decides.

    Attributes:
        data: Path of the data set, `-` for standard input.
        job_file: A job file, or a folder that holds `job.yaml`.
        budget: Dollars, as written.
        tiers_file: A tiers file.
        tiers: The tiers themselves, each with the keys of a tiers file; for programs.
        prompt: A template, or `@FILE`.
        output: What `output:` of a job file takes, as YAML text, as `@FILE`, or as parsed.
        limit: Take this many rows from the start of the data only.
        skip_bad: Leave out records that can't be used, instead of refusing the data set.
        start_early: Begin to draft while the data is still being read.
    """

    data: str | None = None
    job_file: Path | None = None
    budget: str | None = None
    tiers_file: Path | None = None
    tiers: Sequence[Mapping[str, Any]] | None = None
    system: str | None = None
    prompt: str | None = None
    output: str | Mapping[str, Any] | None = None
    gold: str | None = None
    gold_use: str | None = None
    strata: str | None = None
    check: str | None = None
    name: str | None = None
    policy: str | None = None
    seed: int | None = None
    chunk_rows: int | None = None
    limit: int | None = None
    skip_bad: bool | None = None
    start_early: bool | None = None
    cache: bool | None = None
    """False: every row is asked, whatever was answered before."""
    notify: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None = None
    """Who is told of the job: addresses, `env:NAME`, or mappings with the keys of a target."""
    allow_python_checks: bool | None = None
    """Python code that the job file names, in a check or in tiers, may run."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job that is ready to be submitted.

    Attributes:
        spec: The specification; `columns` is still empty, as the data was not read.
        data: Path that can be opened from the working folder, or `-`.
        name_is_explicit: The user chose the name, so a job that has it already is an error; else
            the name was made from the data's and is to be made unique.
        has_budget: A budget was given; False only where it may be left out.
        limit: Rows to take from the start of the data; None: all.
        skip_bad: Leave out records that can't be used.
        start_early: Begin to draft while the data is still being read.
        warnings: What looks wrong but may be meant, a complete sentence each.
    """

    spec: JobSpec
    data: str
    name_is_explicit: bool
    has_budget: bool = True
    limit: int | None = None
    skip_bad: bool = False
    start_early: bool = False
    warnings: tuple[str, ...] = ()


def read_job(
    options: JobOptions, *, cwd: Path | None = None, needs_budget: bool = True
) -> JobRequest:
    """Read the files that the options name and put everything together.

    Args:
        options: What was given on the command line.
        cwd: The working folder; None: the process's.
        needs_budget: Whether a job without a budget is an error (not so for an estimate).

    Raises:
        UsageError: Something is missing or does not fit; the message names file, line, column and
            key or the option, and says what is allowed.
    """
    reader = _Reader(options, cwd or Path.cwd())
    return reader.read(needs_budget=needs_budget)


def read_tiers(
    *, tiers_file: Path | None = None, job_file: Path | None = None, cwd: Path | None = None
) -> tuple[tuple[Tier, ...], list[str]]:
    """The priced tiers that a job with these files would have, and warnings about their order.

    Raises:
        UsageError: There are no tiers, or they don't fit.
    """
    options = JobOptions(tiers_file=tiers_file, job_file=job_file)
    tiers = _Reader(options, cwd or Path.cwd()).tiers()
    return tiers, order_warnings(tiers)


def read_targets(job_file: Path, *, cwd: Path | None = None) -> tuple[NotifyTarget, ...]:
    """Those that a job file says are to be told of the job.

    Raises:
        UsageError: The file can't be read, or they don't fit.
    """
    return _Reader(JobOptions(job_file=job_file), cwd or Path.cwd()).targets()


class _Reader:
    """Holds the parsed job file while a job's parts are looked up in it and in the options."""

    def __init__(self, options: JobOptions, cwd: Path) -> None:
        self.options = options
        self.cwd = cwd
        self.source: YamlSource | None = None
        self.folder = cwd
        self.file = JobFile()
        if options.job_file is not None:
            path = cwd / options.job_file
            is_folder = _is_folder(path)
            self.folder = path if is_folder else path.parent
            self.source = YamlSource.read(path / JOB_FILE if is_folder else path)
            value = {} if self.source.value is None else self.source.value
            refuse_secrets(self.source, value)
            self.file = validate(JobFile, _choices_as_written(value, self.source), self.source)

    def read(self, *, needs_budget: bool) -> JobRequest:
        data = self._data()
        tiers = self.tiers()
        budget = self._budget(needed=needs_budget)
        output = self._output()
        name, name_is_explicit = self._name(data)
        check = self._given("check")
        self._require_leave_for_code(check, tiers)
        gold = self._given("gold")
        spec = self._spec(
            name=name,
            data=self.options.data or self.file.data or data,
            budget_nanousd=budget or 0,
            system=self._system(),
            prompt=self._prompt(),
            output=output,
            gold=gold,
            gold_use=self._given("gold_use"),
            strata=self._given("strata"),
            check=check,
            tiers=tiers,
            policy=self._given("policy"),
            seed=self._given("seed"),
            chunk_rows=self._given("chunk_rows"),
            notify=(notify := self.targets()),
            cache=self._given("cache"),
            check_path=str(self.folder.resolve()) if (check or "").startswith("python:") else None,
        )
        self._judge(spec)
        return JobRequest(
            spec=spec,
            data=data,
            name_is_explicit=name_is_explicit,
            has_budget=budget is not None,
            limit=self._given("limit"),
            skip_bad=self._given("skip_bad"),
            start_early=self._given("start_early"),
            warnings=(
                *order_warnings(tiers),
                *prompt_warnings(spec, self._place("prompt")),
                *self._check_warnings(spec),
                *notify_warnings(notify),
            ),
        )

    def _given(self, key: str) -> Any:
        option = getattr(self.options, key)
        return getattr(self.file, key) if option is None else option

    def _place(self, key: str) -> str:
        """What an error about a key names: the option if it decided, else the place in the file."""
        if getattr(self.options, key, None) is not None or self.source is None:
            return place(key)
        return f"{self.source.where((key,))}: {key}"

    def _data(self) -> str:
        if self.options.data is not None:
            return self.options.data
        if self.file.data is None:
            raise UsageError(
                "No data set is given.",
                hint=choose(
                    command_line="Name a .jsonl, .csv or .parquet file, '-' for standard input,",
                    python="Give a DataFrame, an Arrow table, dicts, the path of a file,",
                )
                + " or a job file that has the key 'data'.",
            )
        if self.file.data == STDIN:
            return STDIN
        return str(short_path(user_path(self.folder, self.file.data, self._place("data"))))

    def _budget(self, *, needed: bool) -> int | None:
        given = self._given("budget")
        if given is None:
            if needed:
                raise UsageError(
                    "No budget is given.",
                    hint=f"Say how many dollars the job may spend, for example {argument('budget', 5)}.",
                )
            return None
        if self.options.budget is None and self.source is not None:
            given = self.source.as_written(("budget",))  # digits as written, not through a float
        try:
            return usd_to_nanousd("" if given is None else given)
        except ValueError as error:
            raise UsageError(
                f"{self._place('budget')}: {error}.", hint="Write dollars, for example 12.50."
            ) from None

    def _output(self) -> Output:
        given = self.options.output
        if given is None:
            return self.file.output
        if not isinstance(given, str):
            return validate(Output, given, GivenInCode(), ("output",))
        text = prompt_text(given, self.cwd, where=place("output"))
        source = YamlSource(text, place("output"))
        if isinstance(source.value, list):
            words = ", ".join(map(str, source.value))
            raise UsageError(
                f"{place('output')}: it must hold keys and values.",
                hint="For answers that are one of these words: "
                + argument("output", f"'{{choices: [{words}]}}'"),
            )
        value = _choices_as_written({"output": source.value}, source, ())["output"]
        return validate(Output, value, source)

    def targets(self) -> tuple[NotifyTarget, ...]:
        if self.options.notify is not None or self.source is None:
            return make_targets(NotifyOption(), self.options.notify)
        return make_targets(self.source, self.file.notify)

    def _prompt(self) -> str | None:
        given = self._given("prompt")
        if given is None:
            return None
        folder = self.folder if self.options.prompt is None else self.cwd
        place = self._place("prompt")
        text = prompt_text(given, folder, where=place)
        _placed(place, lambda: compile_prompt(system=None, template=text))
        return text

    def _system(self) -> str | None:
        system: str | None = self._given("system")
        _placed(self._place("system"), lambda: compile_prompt(system=system, template=None))
        return system

    def tiers(self) -> tuple[Tier, ...]:
        modules = self.folder
        if self.options.tiers_file is not None:
            return read_tiers_file(self.cwd / self.options.tiers_file, python_path=modules)
        if self.options.tiers is not None:
            given_tiers = self.options.tiers
            return make_tiers(GivenInCode(), given_tiers, folder=self.cwd, python_path=modules)
        given = self.file.tiers
        if isinstance(given, list) and self.source is not None:
            return make_tiers(self.source, given, folder=self.folder, python_path=modules)
        if isinstance(given, str):
            path = user_path(self.folder, given, self._place("tiers"))
            return read_tiers_file(path, python_path=modules)
        if given is not None:
            raise UsageError(f"{self._place('tiers')}: must be a list of tiers or a file's path.")
        return read_tiers_file(find_tiers_file(self.cwd), python_path=modules)

    def _require_leave_for_code(self, check: str | None, tiers: tuple[Tier, ...]) -> None:
        """Who submits somebody else's job file did not ask for somebody else's code. What is typed at the
        command line was."""
        if self.options.allow_python_checks or self.source is None:
            return
        hint = f"If you trust who wrote it, add {argument('allow_python_checks', True)}."
        if self.options.check is None and (check or "").startswith("python:"):
            raise UsageError(f"{self._place('check')}: {check} runs code of the job's.", hint=hint)
        of_job = self.options.tiers_file is None and self.options.tiers is None
        for tier in tiers if of_job and self.file.tiers is not None else ():
            if tier.api == "python":
                raise UsageError(
                    f"{self._place('tiers')}: tier {tier.name!r} runs code of the job's"
                    f" ({tier.function or tier.model}).",
                    hint=hint,
                )

    def _name(self, data: str) -> tuple[str, bool]:
        given = self._given("name")
        if given is not None:
            return given, True
        return name_of_data(data), False

    def _spec(self, **values: Any) -> JobSpec:
        try:
            return JobSpec.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            # What concerns no single key is the check, which may name a tier.
            key = str(first["loc"][0]) if first["loc"] else "check"
            text = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            raise UsageError(f"{self._place(key)}: {text}.") from None

    def _check_warnings(self, spec: JobSpec) -> list[str]:
        if spec.check is None or spec.gold is not None or not spec.check_needs_gold:
            return []
        what = f"check {spec.check!r} compares answers with right ones, and no column holds any"
        where = f"{argument('gold')}, or gold: in the job file"
        return [f"{self._place('check')}: {what} ({where}): it will decide nothing."]

    def _judge(self, spec: JobSpec) -> None:
        place = self._place("output" if spec.check is None else "check")
        _placed(place, lambda: make_judge(spec.output, spec.check, check_path=spec.check_path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # no name that a file can have; reading it says so
        return False


def name_of_data(data: str) -> str:
    """A job's name made from its data's: the file's name without endings, cut to 50 bytes."""
    name = Path(data).name
    while name.lower().endswith(_DATA_ENDINGS):
        name = name[: name.rindex(".")]
    name = "".join(c for c in name if c.isprintable()).strip()
    cut = name.encode()[:50].decode(errors="ignore").strip()
    return "job" if cut in {"", STDIN} else cut


def _choices_as_written(
    value: Any, source: YamlSource, prefix: tuple[str, ...] = ("output",)
) -> Any:
    """Choices are texts: `[1, 2]` and `[true, false]` mean the words, as they are written."""
    if not isinstance(value, dict) or not isinstance(output := value.get("output"), dict):
        return value
    if not isinstance(choices := output.get("choices"), list):
        return value
    written = [
        item if (text := source.as_written((*prefix, "choices", place))) is None else text
        for place, item in enumerate(choices)
    ]
    return {**value, "output": {**output, "choices": written}}


def _placed(place: str, make: Callable[[], Any]) -> None:
    try:
        make()
    except UsageError as error:
        raise UsageError(f"{place}: {error.message}", hint=error.hint) from None
