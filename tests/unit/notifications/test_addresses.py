"""Where messages may go, and what is said of addresses that may not be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_batch.engine.spec_files import JobOptions, read_job
from cascade_batch.errors import UsageError
from cascade_batch.notifications.addresses import (
    AllowedHosts,
    ForbiddenAddressError,
    PublicResolver,
)
from cascade_batch.notifications.signing import read_secrets, sign
from cascade_batch.settings import settings

TIERS = """\
tiers: [{name: small, model: gpt-4o-mini, max_output_tokens: 16}]
budget: 1
data: d.jsonl
"""


@pytest.fixture(autouse=True)
def _settings_of_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_NOTIFY_ALLOW", "hooks.corp.example, .internal")
    monkeypatch.delenv("CASCADE_NOTIFY_SECRET", raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


def targets(tmp_path: Path, text: str):
    (tmp_path / "job.yaml").write_text(TIERS + text)
    return read_job(JobOptions(job_file=Path("job.yaml")))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook",
        "http://localhost:8080/hook",
        "http://127.0.0.1/hook",
        "https://[::1]/hook",
        "http://hooks.corp.example/",
        "http://a.internal/x",
        "https://8.8.8.8/",
    ],
)
def test_public_addresses_this_machine_and_allowed_hosts_may_be_told(url):
    AllowedHosts(["hooks.corp.example", ".internal"]).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "http://internal/",
    ],
)
def test_other_addresses_may_not(url):
    with pytest.raises(ForbiddenAddressError, match="CASCADE_NOTIFY_ALLOW"):
        AllowedHosts([".internal"]).check(url)


async def test_a_name_that_is_this_machine_s_under_another_name_is_refused():
    # What `getaddrinfo` makes of it is 127.0.0.1, though it is no number as anybody writes it.
    with pytest.raises(ForbiddenAddressError):
        await PublicResolver(AllowedHosts()).resolve("127.1", 443)
    assert await PublicResolver(AllowedHosts()).resolve("localhost", 443)
    assert await PublicResolver(AllowedHosts(["127.1"])).resolve("127.1", 443)


def test_a_job_file_says_who_is_told_of_what(tmp_path, monkeypatch):
    monkeypatch.setenv("CASCADE_NOTIFY_SECRET", "x" * 32)
    request = targets(
        tmp_path,
        "notify:\n- https://example.com\n- {url: env:HOOK, secret_env: KEY, events: [failed, 5%]}\n",
    )

    first, second = request.spec.notify
    assert (first.url, first.secret_env) == ("https://example.com", "CASCADE_NOTIFY_SECRET")
    assert (first.states, first.percents) == (
        ["finished", "failed", "paused", "cancelled"],
        [50, 80, 100],
    )
    assert (second.shown, second.secret_env) == ("env:HOOK", "KEY")
    assert (second.states, second.percents) == (["failed"], [5])
    assert request.warnings == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("notify: ftp://example.com", r"job.yaml:4.*https://"),
        ("notify: https://user:hunter2@example.com", "holds a password"),
        ("notify: http://example.com/hunter2", "http:// is for this machine only"),
        ("notify: 'env:A B'", "name of an environment variable"),
        ("notify: [{url: https://example.com, secret: hunter2}]", "holds a secret"),
        ("notify: [{url: https://example.com, events: [done]}]", "'done' is none of finished"),
        ("notify: [{url: https://example.com, events: [101%]}]", "'101%' is none of finished"),
        ("notify: 5", "notify holds no addresses"),
    ],
)
def test_what_does_not_fit_is_told_without_its_secrets(tmp_path, given, said):
    with pytest.raises(UsageError, match=said) as raised:
        targets(tmp_path, given + "\n")

    assert "hunter2" not in raised.value.message


def test_an_option_wins_and_a_token_in_an_address_is_warned_of(tmp_path):
    (tmp_path / "job.yaml").write_text(TIERS + "notify: https://example.com\n")
    url = "https://hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnopqrstu1234"
    request = read_job(JobOptions(job_file=Path("job.yaml"), notify=[url]))

    assert [target.url for target in request.spec.notify] == [url]
    (warning,) = request.warnings
    assert "https://hooks.slack.com/…" in warning
    assert "env:NAME" in warning
    assert "abcdefgh" not in warning


def test_the_signature_is_that_of_the_standard_s_own_example():
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'

    assert (
        sign(read_secrets(key, "KEY"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    ("held", "said"), [("whsec_!!!", "no base64"), ("short", "24 at least"), (" ", "no secret")]
)
def test_a_secret_that_can_t_be_used_is_told_and_not_repeated(held, said):
    with pytest.raises(UsageError, match=said) as raised:
        read_secrets(held, "KEY")
    assert "short" not in raised.value.message
