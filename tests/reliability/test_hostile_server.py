"""Whatever a server sends, it is one line, within bounds of bytes and time."""

import asyncio
import gzip
import json
import threading
import tracemalloc
import zlib

import pytest
from campaign_parts import hostile_server

from iclbayes import InputError
from iclbayes.llm.backends import check_engine, client
from iclbayes.llm.backends.bounded import LEAST, PER_TOKEN, Torn, decoded, most_bytes

STOP = threading.Event()
REPLIES = hostile_server.replies(STOP)
ODD = [name for name in REPLIES if " is " in name]
TIMEOUT = 0.6  # seconds that the client waits for a whole reply
SLOW = ("a body that drips", "headers that drip")


@pytest.fixture(scope="module", autouse=True)
def stop_dripping():
    yield
    STOP.set()


@pytest.mark.parametrize("name", [*(name for name in REPLIES if name not in ODD), *ODD[::4]])
def test_every_reply_is_one_line(name):
    # Replies that end are not to be hurried by a busy machine.
    with hostile_server.serving(REPLIES[name]) as url:
        said = hostile_server.told(url, TIMEOUT if name in SLOW else 30.0)
    assert len(said) == 2
    for line in said:
        assert line or name == "max_model_len is 7"
        assert line.isprintable()
    if name in SLOW:
        assert all("no whole reply within" in line for line in said)
    if name in ("a body without end", "a compressed bomb"):
        assert all("more than any answer has" in line for line in said)


def test_a_bomb_does_not_fill_the_memory():
    tracemalloc.start()
    try:
        with hostile_server.serving(REPLIES["a compressed bomb"]) as url:  # 256 MiB in 256 KiB
            hostile_server.told(url, 30.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LEAST


def test_bounds_grow_with_the_prompt():
    assert most_bytes(None) == LEAST
    assert (
        most_bytes({"prompt": [1] * 1000}) == most_bytes({"prompt": "x" * 1000}) == LEAST + 1000 * PER_TOKEN
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", hostile_server.DEEP, hostile_server.DIGITS])
def test_what_is_no_json_is_torn(content):
    with pytest.raises(Torn):
        decoded(content)
    assert decoded(b'{"a": [1e999, -0.5]}') == {"a": [float("inf"), -0.5]}


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "nix",
            "http://",
            "http://[",
            "ftp://h/v1",
            "file:///etc/passwd",
            "http://h:99999/v1",
            "http://h:x/v1",
        ),
        *("http://h:0/v1", "http://h:-1/v1", "http://\x1b[31m/v1", "http://\udcff/v1"),
    ],
)
def test_addresses_that_are_none_are_refused_before_anything_is_read(url):
    with pytest.raises(InputError, match="address") as caught:
        check_engine("openai", url)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "url", ["http://" + "a" * 300 + "/v1", "http://a b/v1", "http://xn--/v1", "http://127.0.0.1:1/v1"]
)
def test_addresses_where_nobody_is_are_one_line(url):
    for line in hostile_server.told(url, 5.0):
        assert line and line.isprintable()


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(timeout):
    assert all("--timeout" in line for line in hostile_server.told("http://127.0.0.1:1/v1", timeout))


def test_the_compression_that_is_asked_for_is_read():

    content = json.dumps({"data": [{"id": "m", "max_model_len": 100}]}).encode()
    for name, packed in (
        ("gzip", gzip.compress(content)),
        ("deflate", zlib.compress(content)),
        ("identity", content),
    ):
        reply = hostile_server.http(packed, "200 OK", f"Content-Encoding: {name}")
        with hostile_server.serving(reply) as url:
            assert hostile_server.told(url, 30.0)[0] == ""


@pytest.mark.parametrize(
    ("after", "said", "waits"),
    [
        (
            "50",
            r"gave up after 7 tries and 300 s of waiting|gave up after 7 tries and 5 min of waiting",
            [50.0] * 6,
        ),
        ("3600", r"asks to wait 60 min \(status 429: slow\).*run the same command then", []),
        ("inf", r"asks to wait .*run the same command then", []),
    ],
)
def test_waiting_is_bounded_and_said(monkeypatch, capsys, after, said, waits):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    async def ask(url):
        async with client.Client(url, None, "KEY", 30.0, 100, 0.001) as server:
            await server.get("/models")

    monkeypatch.setattr(client.asyncio, "sleep", sleep)
    reply = hostile_server.http(b'{"error": "slow"}', "429 Too Many Requests", f"Retry-After: {after}")
    with hostile_server.serving(reply) as url, pytest.raises(client.Refused, match=said):
        asyncio.run(ask(url))
    assert slept == waits
    told = capsys.readouterr().err.splitlines()
    assert len(told) == bool(waits)
    assert all("asking again in 50 s, for up to 5 min a request" in line for line in told)
