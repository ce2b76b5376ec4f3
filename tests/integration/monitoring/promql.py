"""What a PromQL expression asks for, by a parser of the language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

from cascade_batch.monitoring.catalogue import METRICS, Metric

_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


@dataclass(frozen=True)
class Asked:
    """Metrics as they stand in an expression, and the labels of what comes out."""

    names: frozenset[str]
    labels: frozenset[str]


def read(expression: str) -> Asked:
    """Raises ValueError where the expression is none, or has a label or metric that there is not."""
    for name in ("$__rate_interval", "$__interval", "$__range"):
        expression = expression.replace(name, "5m")
    root = promql.parse(expression)
    return Asked(frozenset(_names(root)), frozenset(_labels(root)))


def names_of(metric: Metric) -> list[str]:
    """Of the series that a metric is shown as."""
    return [metric.name + end for end in (_OF_HISTOGRAMS if metric.kind == "histogram" else ("",))]


def labels_of(name: str) -> set[str]:
    """Of a series by this name."""
    for metric in METRICS:
        if name in names_of(metric):
            return {*metric.labels, *(["le"] if name.endswith("_bucket") else [])}
    raise ValueError(f"there is no metric {name}")


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, promql.VectorSelector):
        yield node.name
    for child in _children(node):
        yield from _names(child)


def _children(node: Any) -> list[Any]:
    match node:
        case promql.MatrixSelector():
            return [node.vector_selector]
        case promql.Call():
            return list(node.args)
        case promql.BinaryExpr():
            return [node.lhs, node.rhs]
        case (
            promql.AggregateExpr() | promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr()
        ):
            return [node.expr]
        case _:
            return []


def _labels(node: Any) -> set[str]:
    if isinstance(node, promql.VectorSelector):
        known = labels_of(node.name)
        _require({one.name for one in node.matchers.matchers}, known, node)
        return known
    below = [_labels(child) for child in _children(node)]
    if isinstance(node, promql.AggregateExpr):
        chosen = set(node.modifier.labels) if node.modifier else set()
        _require(chosen, below[0], node)
        return chosen
    if isinstance(node, promql.Call) and node.func.name == "histogram_quantile":
        _require({"le"}, below[-1], node)
        return below[-1] - {"le"}
    if isinstance(node, promql.BinaryExpr) and all(below):
        on = node.modifier.matching.labels if node.modifier and node.modifier.matching else None
        if on is None and below[0] != below[1]:
            raise ValueError(f"{node.prettify()}: {below[0]} and {below[1]} match nothing")
        _require(set(on or ()), below[0] & below[1], node)
    return set().union(*below)


def _require(used: set[str], known: set[str], node: Any) -> None:
    if used - known:
        raise ValueError(f"{node.prettify()}: no label {', '.join(sorted(used - known))}")
