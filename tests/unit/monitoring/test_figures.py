"""From the process where a figure arises to the page that Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from cascade_batch.monitoring.catalogue import (
    BREAKER,
    CALLS,
    IN_FLIGHT,
    METRICS,
    PREFIX,
    TURN_SECONDS,
)
from cascade_batch.monitoring.channel import Channel, Shipper
from cascade_batch.monitoring.figures import GAUGES_STAY_S, JOBS_STAY_S, Figures
from cascade_batch.monitoring.meter import Meter


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def page(figures: Figures) -> str:
    registry = CollectorRegistry()
    registry.register(figures)
    return generate_latest(registry).decode()


def one_call(job: str = "news") -> Meter:
    meter = Meter()
    meter.add(CALLS, 1, job, "small", "answered")
    return meter


def everybody_lives(_: int) -> bool:
    return True


def test_children_are_added_up():
    figures = Figures(is_alive=everybody_lives)
    for pid, in_flight, breaker in ((1, 3, 0), (2, 4, 2)):
        meter = one_call()
        meter.show(IN_FLIGHT, in_flight, "small")
        meter.show(BREAKER, breaker, "small")
        meter.measure(TURN_SECONDS, 0.004)
        figures.add(pid, meter.take())
    text = page(figures)

    assert 'cascade_batch_calls_total{job="news",outcome="answered",tier="small"} 2.0' in text
    assert 'cascade_batch_calls_in_flight{tier="small"} 7.0' in text
    assert 'cascade_batch_breaker_state{tier="small"} 2.0' in text
    assert 'cascade_batch_turn_seconds_bucket{le="0.002"} 0.0' in text
    assert 'cascade_batch_turn_seconds_bucket{le="0.005"} 2.0' in text
    assert 'cascade_batch_turn_seconds_bucket{le="+Inf"} 2.0' in text
    assert "cascade_batch_turn_seconds_sum 0.008" in text


def test_a_child_that_was_replaced_counts_no_call_twice_and_none_in_flight():
    living = {1, 2}
    figures = Figures(is_alive=living.__contains__)
    for pid in (1, 2):
        meter = one_call()
        meter.show(IN_FLIGHT, 3, "small")
        figures.add(pid, meter.take())
    living ^= {2, 3}
    meter = one_call()
    meter.show(IN_FLIGHT, 5, "small")
    figures.add(3, meter.take())
    text = page(figures)

    assert 'cascade_batch_calls_total{job="news",outcome="answered",tier="small"} 3.0' in text
    assert 'cascade_batch_calls_in_flight{tier="small"} 8.0' in text


def test_a_job_that_is_over_and_a_child_that_is_silent_disappear():
    clock = Clock()
    figures = Figures(clock, everybody_lives)
    meter = one_call()
    meter.show(IN_FLIGHT, 3, "small")
    figures.add(1, meter.take())

    clock.now += GAUGES_STAY_S + 1
    text = page(figures)
    assert "cascade_batch_calls_in_flight{" not in text
    assert 'job="news"' in text

    clock.now += JOBS_STAY_S
    figures.add(1, one_call("other").take())
    text = page(figures)
    assert 'job="news"' not in text
    assert 'job="other"' in text


def test_nothing_is_lost_while_nobody_reads():
    channel = Channel()
    shipper = Shipper(Meter(), channel)
    sent = 600
    for _ in range(sent):
        shipper.meter.add(CALLS, 1, "news", "small", "answered")
        shipper.ship(now=True)
    figures = Figures()
    assert shipper.is_behind
    while (received := channel.receive(0.0)) is not None:
        figures.add(*received)
        shipper.ship(now=True)
    channel.close()

    assert f'outcome="answered",tier="small"}} {sent}.0' in page(figures)


def test_a_job_of_any_name_and_many_of_them_fit():
    channel = Channel()
    shipper = Shipper(Meter(), channel)
    names = [f'"quoted"\n{n} ' + "long " * 20 for n in range(1200)]
    for name in names:
        shipper.meter.add(CALLS, 1, name, "small", "answered")
    shipper.ship(now=True)
    figures = Figures()
    while (received := channel.receive(0.0)) is not None:
        figures.add(*received)
        shipper.ship(now=True)
    channel.close()

    assert page(figures).count("cascade_batch_calls_total{") == len(names)


def test_names_follow_the_conventions():
    for metric in METRICS:
        assert metric.name.startswith(PREFIX)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.bounds) == (metric.kind == "histogram")
    assert len({metric.name for metric in METRICS}) == len(METRICS)
