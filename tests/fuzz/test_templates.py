"""Templates of strangers: a text of bounded length, or an error that names the prompt and the line."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascade_batch.domain.job import Output
from cascade_batch.domain.tier import Tier
from cascade_batch.errors import CascadeError, UsageError
from cascade_batch.prompts import MAX_PROMPT_CHARS, PromptError, compile_prompt
from cascade_batch.providers import Providers
from tests.fuzz.hostile import FUZZ, VALUES

pytestmark = pytest.mark.filterwarnings("ignore::SyntaxWarning")

MEGABYTE = "x" * 1_000_000
FIELDS: dict[str, Any] = {
    "q": "a text\nof two lines",
    "n": 5,
    "f": 1.5,
    "l": [3, 1, 2],
    "m": {"a": [1, {"b": None}], "items": 3},
    "none": None,
    "big": MEGABYTE,
}
TIER = Tier(name="t", model="m", base_url="http://localhost/v1")

NAMES = st.sampled_from(
    [*FIELDS, "row", "missing", "loop", "self", "range", "dict", "namespace", "x"]
)
LITERALS = st.sampled_from(
    [
        "0",
        "-1",
        "3",
        "10**10",
        "1000000",
        "'a'",
        "''",
        "'%s%d'",
        "'{:>9}{0}'",
        "[]",
        "{}",
        "none",
        "q",
        "big",
    ]
)
FILTERS = st.sampled_from(
    """
    abs attr batch capitalize center count d default dictsort e escape filesizeformat first float
    forceescape format groupby indent int items join last length list lower map max min pprint random
    reject rejectattr replace reverse round safe select selectattr slice sort string striptags sum title
    tojson trim truncate unique upper urlencode urlize wordcount wordwrap xmlattr _counted copied
    concatenated
    """.split()
)
METHODS = st.sampled_from(
    """
    center ljust zfill expandtabs replace join translate format format_map encode split splitlines items
    keys append pop update to_bytes bit_length __class__ __init__ __globals__ __mul__ strip upper
    """.split()
)


def expressions() -> st.SearchStrategy[str]:
    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        args = st.lists(inner | LITERALS, max_size=3).map(", ".join)
        operators = st.sampled_from("+ - * / // % ** ~ == < in and or is".split())
        return st.one_of(
            st.tuples(inner, operators, inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
            st.tuples(inner, FILTERS, args).map(lambda p: f"({p[0]})|{p[1]}({p[2]})"),
            st.tuples(inner, FILTERS).map(lambda p: f"({p[0]})|{p[1]}"),
            st.tuples(inner, FILTERS).map(lambda p: f"({p[0]})|map('{p[1]}')|list"),
            st.tuples(inner, METHODS, args).map(lambda p: f"({p[0]}).{p[1]}({p[2]})"),
            st.tuples(inner, METHODS).map(lambda p: f"({p[0]}).{p[1]}"),
            st.tuples(inner, inner, inner).map(lambda p: f"({p[0]})[{p[1]}:{p[2]}]"),
            st.tuples(inner, inner).map(lambda p: f"({p[0]})[{p[1]}]"),
            st.lists(inner, max_size=3).map(lambda p: f"[{', '.join(p)}]"),
            inner.map(lambda p: f"range({p})"),
        )

    return st.recursive(NAMES | LITERALS, grow, max_leaves=6)


@st.composite
def templates(draw: st.DrawFn, depth: int = 2) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        expression = draw(expressions())
        inner = draw(templates(depth=depth - 1)) if depth else "y"
        forms = [
            "{{ " + expression + " }}",
            "{% for x in " + expression + " %}" + inner + "{% endfor %}",
            "{% for x in " + expression + " recursive %}" + inner + "{{ loop(l) }}{% endfor %}",
            "{% if " + expression + " %}" + inner + "{% endif %}",
            "{% set x = " + expression + " %}",
            "{% set x %}" + inner + "{% endset %}{{ x }}",
            "{% macro k(x=1) %}"
            + inner
            + "{{ k() if x is number else x }}{% endmacro %}{{ k("
            + expression
            + ") }}",
            "{% filter " + draw(FILTERS) + " %}" + inner + "{% endfilter %}",
            "{% set ns = namespace(s='a') %}{% for i in range(30) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "{% include " + expression + " %}",
            "{% block b %}" + inner + "{% endblock %}",
            "{% with x = " + expression + " %}" + inner + "{% endwith %}",
            draw(st.text(max_size=6)),
            draw(
                st.sampled_from(
                    ["{{", "}}", "{%", "%}", "{#", "{% raw %}", "{% endfor %}", "{{ {{ }}"]
                )
            ),
        ]
        parts.append(draw(st.sampled_from(forms)))
    return "".join(parts)


def check(template: str, fields: dict[str, Any]) -> str | None:
    """The property: a text that can be sent, or an error of the project's own."""
    try:
        prompt = compile_prompt(system=None, template=template).prompt_for(fields)
    except CascadeError as error:
        assert "the prompt" in error.message
        assert "MemoryError" not in error.message
        assert len(error.message) < 3000
        return None
    text = prompt.messages[0]["content"]
    assert 0 < len(text) <= MAX_PROMPT_CHARS
    if len(text) < 10_000:
        assert " at 0x" not in text
    try:
        orjson.loads(Providers().request_body(TIER, prompt, Output()))
    except UsageError as error:
        assert "JSON" in error.message  # half a surrogate pair, made by a format
    return str(text)


@settings(FUZZ, max_examples=max(FUZZ.max_examples // 3, 1))  # some take all the steps there are
@given(templates())
def test_templates_at_random(template: str) -> None:
    check(template, FIELDS)


@FUZZ
@given(st.text(st.sampled_from("{}%#-|'\"()[]., qnlm\n\0é0123")))
def test_texts_that_resemble_templates(template: str) -> None:
    check(template, FIELDS)


@FUZZ
@given(expressions(), st.dictionaries(st.sampled_from(["q", "l", "m", "x", "row", "self"]), VALUES))
@example("q|map('upper')|list", {"q": ["\ud800"]})
def test_fields_of_any_kind(expression: str, fields: dict[str, Any]) -> None:
    check("{{ " + expression + " }}", fields)


@pytest.mark.parametrize(
    "expression",
    [
        "'%1000000000d' % 1",
        "'%1000000000d' % n",
        "'%*d' % (1000000000, n)",
        "'%.1000000000f' % 1.5",
        "'{:>1000000000}'.format(n)",
        "'{:>{w}}'.format(n, w=1000000000)",
        "'{:{}}'.format(1, '>1000000000')",
        "'{:.1000000000f}'.format(f)",
        "'%1000000000d'|format(n)",
        "'%999999d'|format(n) * 100",
        "('%s' * 1000) % ([big] * 1000)",
        "'x'.center(10**10)",
        "big|center(10**10)",
        "big.zfill(10**10)",
        "big.rjust(10**10)",
        "'\t'.expandtabs(10**10)",
        "('\t' * 100000).expandtabs(1000)",
        "q|indent(10**10)",
        "('\n' * 100000)|indent(1000)",
        "big|replace('x', 'y' * 100)",
        "big|replace('', 'y' * 100)",
        "big.replace('x', 'y' * 100)",
        "big.join(range(99999)|map('string'))",
        "range(99999)|map('string')|join(big)",
        "([big] * 100000)|join",
        "([big] * 100000)|tojson|length",
        "([big] * 100000)|string|length",
        "([big] * 100000)|pprint|length",
        "([big] * 100000)|sort|length",
        "([big] * 100000)|map('upper')|list|length",
        "[big] * 100000",
        "[big] * 100000 ~ ''",
        "'%s' % ([big] * 100000)",
        "[[[[big] * 100] * 100] * 100]|string|length",
        "{'a': [[[big] * 100] * 100]}",
        "[0] * 10000000",
        "([[0] * 10] * 100000)|sum(start=[])|length",
        "[1]|batch(10**10, 'x')|list|length",
        "[1]|slice(10**10)|list|length",
        "f|round(10**9, 'ceil')",
        "(1).to_bytes(10**10, 'big')",
        "range(99999)|map('center', 1000000)|list|length",
        "big.translate({120: big})",
        "(big * 10)|wordwrap(1, true, big)|length",
        "(big * 10)|wordwrap(1)|length",
        "range(10**9)|list",
        "9 ** 9 ** 9 ** 9 ** 9 ** 9",
        "10 ** 2999",
        "big * big|length",
    ],
)
def test_short_ways_to_fill_memory_are_refused(expression: str) -> None:
    maker = compile_prompt(system=None, template="first\n{{ " + expression + " }}")
    with pytest.raises(PromptError) as raised:
        maker.prompt_for(FIELDS)
    assert "MemoryError" not in raised.value.message
    said = raised.value.message
    assert "more than" in said or "fails" in said or "may not" in said or "too" in said


@pytest.mark.parametrize(
    "template",
    [
        "{% set a = big ~ big %}" + "{% set a = a ~ a %}" * 30 + "{{ a|length }}",
        "{% set a = big + big %}" + "{% set a = a + a %}" * 30 + "{{ a|length }}",
        "{{ " + " ~ ".join(["big"] * 100) + " }}",
        "{% set ns = namespace(s='xx') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% for i in range(99999) %}{% set x = big|upper %}{% endfor %}a",
        "{% for i in range(99999) %}{% set x = big[::-1] %}{% endfor %}a",
        "{% for i in range(99999) %}{% if 'y' in big %}{% endif %}{% endfor %}a",
        "{% set x %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endset %}a",
        "{% macro k() %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endmacro %}{{ k()|length }}",
        "{% filter upper %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endfilter %}",
        "{% for i in l recursive %}{{ loop(l) }}{% endfor %}",
        "{% macro k() %}{{ k() }}{% endmacro %}{{ k() }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}a",
    ],
)
def test_long_ways_to_fill_memory_are_refused(template: str) -> None:
    with pytest.raises(PromptError) as raised:
        compile_prompt(system=None, template=template).prompt_for(FIELDS)
    assert "MemoryError" not in raised.value.message


@pytest.mark.parametrize(
    "template",
    [
        "{{ q.__class__.__mro__ }}",
        "{{ q|attr('__class__') }}",
        "{{ [q]|map(attribute='__class__')|list }}",
        "{{ [q]|map('attr', '__class__')|list }}",
        "{{ [q]|groupby('__class__') }}",
        "{{ [q]|sum(attribute='__class__') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ range.__self__ }}",
        "{{ '{0.__class__}'.format(q) }}",
        "{{ '{0.__class__}'|format(q) }}{{ '{a.__class__}'.format_map({'a': q}) }}",
        "{{ (q.format).__globals__ }}",
        "{{ q|attr('format')|attr('__self__') }}",
        "{% include 'job.yaml' %}",
        "{% import 'os' as os %}",
        "{% extends q %}",
        "{% from q import x %}",
        "{{ l.append(1) }}x",
        "{{ m.update({}) }}x",
        "{{ l.sort() }}x",
    ],
)
def test_internals_files_and_changes_are_out_of_reach(template: str) -> None:
    before = orjson.dumps(FIELDS)
    with pytest.raises(UsageError):
        compile_prompt(system=None, template=template).prompt_for(FIELDS)
    assert orjson.dumps(FIELDS) == before


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "-" * 50_000 + "1 }}",
        "{{ 1" + "+1" * 20_000 + " }}",
        "{{ q" + "|upper" * 5000 + " }}",
        "{% if q %}" * 200 + "x" + "{% endif %}" * 200,
        "{% set x %}" * 500 + "{% endset %}" * 500,
        "{{ q }}" * 20_001,
        "{#" * 1000,
    ],
    ids=lambda template: template[:15],
)
def test_templates_too_large_to_compile(template: str) -> None:
    with pytest.raises(UsageError, match="In the prompt"):
        compile_prompt(system=None, template=template)


def test_a_value_in_an_error_is_cut() -> None:
    maker = compile_prompt(system=None, template="{{ big|filesizeformat }}")
    with pytest.raises(PromptError) as raised:
        maker.prompt_for(FIELDS)
    assert len(raised.value.message) < 1000


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ 'a' ~ n ~ l ~ none }}", "a5[3, 1, 2]None"),
        ("{{ l|map('string')|join(', ') }}", "3, 1, 2"),
        ("{{ [l, l]|sum(start=[]) }}", "[3,1,2,3,1,2]"),
        ("{{ l|select('odd')|map('string')|join }}", "31"),
        ("{{ l|batch(2, 0)|list }}", "[[3,1],[2,0]]"),
        ("{{ l|sort|reverse|list }}", "[3,2,1]"),
        ("{{ '%s is %05.1f' % ('x', f) }}", "x is 001.5"),
        ("{{ '{} {:>4}'.format('x', n) }}", "x    5"),
        ("{{ q|indent(2) }}", "a text\n  of two lines"),
        ("{{ f|round(0, 'ceil')|int }}", "2"),
        ("{{ q|replace('t', 'T')|truncate(6) }}", "a..."),
        ("{{ ['b', 'a']|join('x' * 3) }}", "bxxxa"),
        ("{{ 'y' in big }}{{ 5 in l }}{{ 'a' in m }}", "falsefalsetrue"),
        ("{{ big[:3] }}{{ l[1:] }}", "xxx[1,2]"),
        ("{{ [{'k': 1}]|map(attribute='k')|list }}", "[1]"),
        ("{{ 'a b c'|wordwrap(3) }}", "a b\nc"),
    ],
)
def test_what_templates_are_for_still_works(template: str, expected: str) -> None:
    assert check(template, FIELDS) == expected
