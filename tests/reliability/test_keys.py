"""A key is checked before it is used, and hidden in all that is said, in every form in which it may come back."""

import base64
import binascii
import html
import json
import urllib.parse

import pytest

from iclbayes import InputError
from iclbayes.llm.backends.client import Client
from iclbayes.llm.backends.keys import Hider, read_key

KEY = "sk-Proj_9f/3+Xq==\"\\'&<7b2"


def forms(key):
    raw = key.encode()
    yield from (
        key,
        repr(key),
        json.dumps(key),
        html.escape(key),
        ascii(key),
        key.encode("unicode_escape").decode(),
    )
    yield from (urllib.parse.quote(key), urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key))
    yield from (raw.hex(), binascii.hexlify(raw, " ").decode(), raw.hex().upper())
    for before in range(5):
        for after in range(5):
            text = b"Bearer "[:before] + raw + b"\r\nabc"[:after]
            yield base64.b64encode(text).decode()
            yield base64.urlsafe_b64encode(text).decode()


def pieces(text, size=10):
    return {text[i : i + size] for i in range(len(text) - size + 1)}


@pytest.mark.parametrize("key", ["sk-very-secret-0123456789", KEY, "a" * 40, "short"])
def test_no_form_of_a_key_is_left(key):
    hide = Hider(key).hide
    for form in forms(key):
        if form in (binascii.hexlify(key.encode(), " ").decode(),):
            continue
        left = hide(f"the server got {form}, sorry")
        assert key not in left
        if len(key) > 20:
            inside = set().union(
                *(pieces(f) for f in (key, key.encode().hex(), base64.b64encode(key.encode()).decode()))
            )
            assert not inside & pieces(left), (form, left)
        assert left.startswith("the server got ") and left.endswith("sorry")


def test_a_part_of_a_key_is_hidden_too():
    hide = Hider("sk-very-secret-0123456789").hide
    assert hide("key sk-very-secr…") == "key <key>…"
    assert hide("nothing of it here: sk-ve") == "nothing of it here: sk-ve"


def test_keys_are_stripped_and_checked(monkeypatch):
    monkeypatch.setenv("MY_KEY", "  sk-abc\n")
    assert read_key("MY_KEY") == "sk-abc"
    monkeypatch.setenv("MY_KEY", " \n")
    assert read_key("MY_KEY") is None
    monkeypatch.delenv("MY_KEY")
    assert read_key("MY_KEY") is None
    for bad in ("sk-first\nsk-second", "sk-first sk-second", "sk-fürst-0123456789", "sk-first\x1b[2J"):
        monkeypatch.setenv("MY_KEY", bad)
        with pytest.raises(InputError, match=r"\$MY_KEY holds a line break") as caught:
            read_key("MY_KEY")
        assert "sk-" not in str(caught.value) and caught.value.__suppress_context__ is not None
    with pytest.raises(InputError, match="no name of an environment variable") as caught:
        read_key("sk-a-key-itself")
    assert "sk-" not in str(caught.value)


def test_a_key_given_as_the_name_of_its_variable_is_not_printed(monkeypatch):
    monkeypatch.setenv("sk_live_0123456789", "a b")
    with pytest.raises(InputError) as caught:
        read_key("sk_live_0123456789")
    assert "sk_live" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://host/v1",
        "http://",
        "http://[::1",
        "http://host:99999/v1",
        "http://host:port/v1",
        "http://h\x1b[2J/v1",
    ],
)
def test_addresses_are_checked(url):
    with pytest.raises(InputError, match="is not an address of a server") as caught:
        Client.shown(url)
    assert "\x1b" not in str(caught.value)


def test_what_an_address_holds_besides_is_not_shown():
    assert Client.shown("http://me:secret-word@host:8000/v1?api_key=hidden-word#x") == "http://host:8000/v1"
