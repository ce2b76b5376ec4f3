from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_batch.errors import CascadeError, UsageError
from cascade_batch.prompts import MAX_PROMPT_CHARS, PromptError, compile_prompt


def text(template: str, **fields: Any) -> str:
    prompt = compile_prompt(system=None, template=template).prompt_for(fields)
    assert prompt.text_only
    (message,) = prompt.messages
    assert message["role"] == "user"
    content = message["content"]
    assert isinstance(content, str)
    return content


def failure(template: str, **fields: Any) -> PromptError:
    maker = compile_prompt(system=None, template=template)
    with pytest.raises(PromptError) as raised:
        maker.prompt_for(fields)
    return raised.value


@pytest.mark.parametrize(
    ("template", "fields", "expected"),
    [
        ("Q: {{ q }}", {"q": "why?"}, "Q: why?"),
        ("{{ q }}", {"q": "<b>&\"'</b>"}, "<b>&\"'</b>"),
        ("a\n{{ q }}\n", {"q": "x"}, "a\nx"),
        ("a\n{{ q }}\n\n", {"q": "x"}, "a\nx\n"),
        ("{{ q }}", {"q": " x\n"}, " x\n"),
        ("a\n  {% if q %}\nb\n  {% endif %}\nc", {"q": 1}, "a\nb\nc"),
        ("{{ a }}|{{ b }}|{{ c }}|{{ d }}", {"a": 1, "b": 1.5, "c": True, "d": None}, "1|1.5|true|"),
        ("{{ a }} {{ b }}", {"a": [1, "é"], "b": {"k": None}}, '[1,"é"] {"k":null}'),
        ("{{ a | tojson }}", {"a": "<é'>"}, "\"<é'>\""),
        ("{% for t in tags %}{{ loop.index }}/{{ loop.length }}{{ t }};{% endfor %}",
         {"tags": ["a", "b"]}, "1/2a;2/2b;"),
        ("{% for t in tags %}{% else %}none{% endfor %}", {"tags": []}, "none"),
        ("{% for k, v in m.items() %}{{ k }}{{ v }}{% endfor %}", {"m": {"a": 1}}, "a1"),
        ("{{ m.items }} {{ m.a }}", {"m": {"items": 3, "a": 1}}, "3 1"),
        ("{{ x | default('none') }}", {}, "none"),
        ("{% if x is defined %}y{% else %}n{% endif %}", {}, "n"),
        ('{{ row["Review Text"] }} {{ row | length }}', {"Review Text": "good"}, "good 1"),
        ("{{ row }}", {"row": "a column of that name"}, "a column of that name"),
        ("{{ range }} {{ row.self }}", {"range": "5 km", "self": "me"}, "5 km me"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", {}, "012"),
        ("{% macro b(x) %}[{{ x }}]{% endmacro %}{{ b(q) }}", {"q": 1}, "[1]"),
        ("{% set n = namespace(s=0) %}{% for i in v %}{% set n.s = n.s + i %}{% endfor %}{{ n.s }}",
         {"v": [1, 2]}, "3"),
        ("{% block b %}{{ q }}{% endblock %}", {"q": "x"}, "x"),
        ("{% for n in t recursive %}{{ n.v }}{{ loop(n.c) }}{% endfor %}",
         {"t": [{"v": 1, "c": [{"v": 2, "c": []}]}]}, "12"),
        ("{{ q[:3] }} {{ q | upper }} {{ q.split('b') | join('-') }}", {"q": "abcd"},
         "abc ABCD a-cd"),
        ("{{ 2 * 3 }} {{ 'ab' * 2 }} {{ 2 ** 10 }}", {}, "6 abab 1024"),
    ],
)  # fmt: skip
def test_columns_make_text(template: str, fields: dict[str, Any], expected: str) -> None:
    assert text(template, **fields) == expected


def test_record_is_left_as_it_is() -> None:
    fields = {"tags": ["a"], "m": {"k": 1}}
    maker = compile_prompt(system=None, template="{% set m = 3 %}{{ m }}{{ row }}{{ tags }}")
    maker.prompt_for(fields)
    assert fields == {"tags": ["a"], "m": {"k": 1}}
    error = failure("{{ tags.append(1) }}x", **fields)
    assert "append" in error.reason
    assert fields == {"tags": ["a"], "m": {"k": 1}}


def test_one_record_does_not_show_in_the_next() -> None:
    maker = compile_prompt(
        system=None, template="{% if a is defined %}{% set b = a %}{% endif %}x{{ b }}"
    )
    assert maker.prompt_for({"a": 1}).messages[0]["content"] == "x1"
    with pytest.raises(PromptError):
        maker.prompt_for({"c": 1})


@pytest.mark.parametrize(
    "template",
    [
        "{{ headlin }}",
        "{{ headlin | upper }}",
        "{{ headlin.x }}",
        "{% for h in headlin %}{{ h }}{% endfor %}",
        "{% if headlin %}x{% endif %}",
        "{{ headlin | tojson }}",
        "{{ headlin + 1 }}",
        "{{ [headlin] | join }}",
    ],
)
def test_missing_column_lists_those_there_are(template: str) -> None:
    error = failure("first line\n" + template, headline="x", label="y")
    assert "the prompt, line 2: there is no column 'headlin'" in error.reason
    assert "the columns 'headline', 'label'" in error.reason
    assert "default" in (error.hint or "")


def test_many_columns_are_not_all_listed() -> None:
    error = failure("{{ x }}", **{f"c{i}": i for i in range(1000)})
    assert "'c19' and 980 more" in error.reason


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("a\n{{ n + 'x' }}", "the prompt, line 2 fails: unsupported operand"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ m.nothing }}", "nothing"),
        ("{{ m.keys }}", "no value but a builtin_function_or_method"),
        ("{{ q | map('upper') }}", "no value but a generator"),
        ("{{ self }}", "no value but a TemplateReference"),
        ("{{ n() }}", "not callable"),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "calls itself without end"),
    ],
)
def test_templates_that_fail(template: str, reason: str) -> None:
    assert reason in failure(template, n=1, q="x", m={"a": 1}).reason


@pytest.mark.parametrize("template", ["", "  \n ", "{{ q }}", "{% if q %}x{% endif %}"])
def test_empty_prompt(template: str) -> None:
    maker = compile_prompt(system=None, template=template, where="the prompt of tier small")
    with pytest.raises(PromptError, match="the prompt of tier small is empty"):
        maker.prompt_for({"q": ""})


@pytest.mark.parametrize(
    ("template", "line", "reason"),
    [
        ("a\nb {{ q", 2, "unexpected end"),
        ("a\n\n{% if q %}", 3, "endif"),
        ("{{ q | nosuchfilter }}", 1, "nosuchfilter"),
        ("x\n{% nosuchtag %}", 2, "nosuchtag"),
        ("x\n{% include 'other' %}", 2, "other files"),
        ("{% extends 'other' %}", 1, "other files"),
        ("{% import 'other' as o %}", 1, "other files"),
        ("{% from 'other' import o %}", 1, "other files"),
        ("{{ [1, 2] | random }}", 1, "random"),
        ("x\n\0", 1, "NUL"),
        ("{{ '\\x00' }}", 1, "NUL"),
        ("x \udce9", 1, "UTF-8"),
        ("{{ '\\ud800' }}", 1, "UTF-8"),
    ],
)
def test_templates_that_are_none(template: str, line: int, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        compile_prompt(system=None, template=template, where="the prompt of tier small")
    assert str(raised.value).startswith(f"In the prompt of tier small, line {line}: ")
    assert reason in str(raised.value)
    with pytest.raises(UsageError) as raised:
        compile_prompt(system=template, template=None)
    assert str(raised.value).startswith(f"In the system prompt, line {line}: ")


def test_nesting_beyond_pythons_own() -> None:
    deep = "{% for a in b %}" * 40 + "{% endfor %}" * 40
    with pytest.raises(UsageError, match="nested too deep"):
        compile_prompt(system=None, template=deep)
    with pytest.raises(UsageError):
        compile_prompt(system=None, template="{{ " + "(" * 5000 + ")" * 5000 + " }}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ q.__class__ }}",
        "{{ q['__class__'] }}",
        "{{ q | attr('__class__') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ '{0.__class__}'.format(q) }}",
        "{{ '{0.__class__}' | format(q) | length and cycler.__init__.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ namespace._x }}",
        "{{ lipsum() }}",
        "{{ range.__self__ }}",
        "{{ (q.format).__self__ }}",
    ],
)
def test_sandbox_keeps_python_out(template: str) -> None:
    failure(template, q="x")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "steps"),
        ("{% for a in range(100000) %}{% for b in big %}{{ b }}{% endfor %}{% endfor %}", "steps"),
        ("{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
         "steps"),
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ range(10**9) | list }}", "Range too big"),
        ("{% for a in range(1000) %}{{ text }}{% endfor %}", "16 Mi characters"),
        ("{{ 'x' * 10**9 }}", "16 Mi characters"),
        ("{{ 10**9 * 'x' }}", "16 Mi characters"),
        ("{{ [1] * 10**9 }}", "16 Mi characters"),
        ("{{ 9 ** 99999 }}", "a number becomes too large"),
        ("{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
         "a number becomes too large"),
    ],
)  # fmt: skip
def test_templates_without_end_are_stopped(template: str, reason: str) -> None:
    assert reason in failure(template, text="x" * 100_000, big=["x"] * 10).reason


def test_steps_are_counted_for_each_row_anew() -> None:
    maker = compile_prompt(system=None, template="{% for a in range(60000) %}{{ 'x' }}{% endfor %}")
    for _ in range(3):
        assert maker.prompt_for({}).messages[0]["content"] == "x" * 60_000


def test_longest_prompt() -> None:
    assert len(text("{{ q }}", q="x" * MAX_PROMPT_CHARS)) == MAX_PROMPT_CHARS
    assert "16 Mi" in failure("{{ q }}!", q="x" * MAX_PROMPT_CHARS).reason


pieces = st.lists(
    st.sampled_from(
        ["{{ q }}", "{{ row }}", "{% for a in q %}", "{% endfor %}", "{% if q %}", "{% endif %}"]
    )
    | st.sampled_from(["{#", "#}", " q ", " for ", " in ", " if ", " endfor ", " endif "])
    | st.sampled_from(["(", ")", "[", "]", ".", "'", "|", "upper", "~", "*", "9", ",", "\n", "{%"])
    | st.sampled_from(["{{", "}}", "%}", "set a = ", "macro f()", "endmacro", "loop", "_", "-%}"])
    | st.text(max_size=3),
    max_size=12,
).map("".join)


@given(pieces, st.one_of(st.text(), st.lists(st.integers()), st.none()))
def test_whatever_the_template_errors_are_for_users(template: str, value: object) -> None:
    try:
        prompt = compile_prompt(system=None, template=template).prompt_for({"q": value})
    except CascadeError:
        return
    content = prompt.messages[0]["content"]
    assert isinstance(content, str)
    assert content.strip()


_LITERALS = st.text(st.sampled_from("ab{ \n\té}#"), max_size=6).filter(
    lambda text: (
        not {"{{", "{#", "{%"} & {text[i : i + 2] for i in range(len(text))}
        and not text.endswith("{")
    )
)
_COLUMNS = ("q", "range", "self", "row", "loop", "none")
_VALUES = st.one_of(
    st.text(max_size=5),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.booleans(),
    st.lists(st.integers(), max_size=2),
)


@given(
    st.lists(st.tuples(_LITERALS, st.sampled_from(_COLUMNS)), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(_COLUMNS), _VALUES, max_size=5),
)
def test_a_template_of_texts_and_columns_alone_gives_what_it_gives_among_other_things(
    parts: list[tuple[str, str]], fields: dict[str, Any]
):
    template = "x" + "".join(f"{literal}{{{{ {column} }}}}" for literal, column in parts)

    def made(template: str) -> str | None:
        try:
            return text(template, **fields)
        except PromptError:
            return None

    assert made(template) == made("{{ '' }}" + template)
