"""A server that sends what no completions server should, and how the client answers: one line, within bounds of bytes and time.

Each reply is the raw bytes after the request, or a function that writes to the connection until it is closed.
"""

import asyncio
import contextlib
import gzip
import itertools
import json
import os
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np

from iclbayes.errors import InputError
from iclbayes.llm.backends.openai import OpenAIBackend
from iclbayes.llm.prompts import Prompt

Reply = bytes | Callable[[socket.socket], None]
TOKENS = 12  # of the prompt that is asked about
DEEP = b"[" * 200_000 + b"]" * 200_000
DIGITS = b"9" * 5000
ESCAPES = "\x1b[2J\x1b]0;title\x07\r\nnext line"


def http(content: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP reply."""
    head = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *headers,
    ]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1") + content


def _endless(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(2**31 // max(len(piece), 1)):
            connection.sendall(piece)

    return send


def _drip(start: bytes, piece: bytes, stop: threading.Event) -> Callable[[socket.socket], None]:
    """A byte now and then: no pause is long, and the whole never ends."""

    def send(connection: socket.socket) -> None:
        connection.sendall(start)
        while not stop.wait(0.05):
            connection.sendall(piece)

    return send


def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"0" * 2**20
    return b"".join([*(packer.compress(zeros) for _ in range(size // len(zeros))), packer.flush()])


def replies(stop: threading.Event) -> dict[str, Reply]:
    """Hostile replies by name. `stop` ends those that would never end."""
    open_end = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    found: dict[str, Reply] = {
        "nothing": b"",
        "no HTTP": b"hello\r\n\r\n",
        "noise": os.urandom(300),
        "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
        "a status of words": b"HTTP/1.1 fine OK\r\n\r\n{}",
        "less than promised": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        "chunks of no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        "headers without end": _endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 1000 + b"\r\n"),
        "a body without end": _endless(open_end, b'{"data": ' + b" " * 2**16),
        "a body that drips": _drip(open_end, b" ", stop),
        "headers that drip": _drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", stop),
        "a redirect to itself": http(b"", "302 Found", "Location: /v1/models"),
        "a redirect to a file": http(b"", "302 Found", "Location: file:///etc/passwd"),
        "a compressed bomb": http(_bomb(2**28), "200 OK", "Content-Encoding: gzip"),
        "damaged compression": http(gzip.compress(b"{}")[:-9] + b"xx", "200 OK", "Content-Encoding: gzip"),
        "no compression": http(b"{}", "200 OK", "Content-Encoding: gzip"),
        "unknown compression": http(b"{}", "200 OK", "Content-Encoding: zstd, br"),
        "deep JSON": http(DEEP),
        "deep JSON in an error": http(DEEP, "400 Bad Request"),
        "a number of 5000 digits": http(b'{"data": [{"max_model_len": ' + DIGITS + b"}]}"),
        "no UTF-8": http(b'{"data": "\xff\xfe"}'),
        "UTF-16": http('{"data": 7}'.encode("utf-16")),
        "waits for a word": http(b"{}", "429 Too Many Requests", "Retry-After: soon"),
        "waits for less than nothing": http(b"{}", "503 Busy", "Retry-After: -5"),
    }
    for status in (
        "400 Bad Request",
        "401 Unauthorized",
        "404 Not Found",
        "418 Teapot",
        "500 Error",
        "999 Beyond",
    ):
        found[f"escapes, status {status[:3]}"] = http(
            json.dumps({"error": {"message": ESCAPES}}).encode(), status
        )
        found[f"escapes as text, status {status[:3]}"] = http(ESCAPES.encode(), status)
    odd = (
        "7",
        '"x"',
        "null",
        "true",
        "[]",
        "[7]",
        '["x"]',
        "{}",
        '{"a": 1}',
        "[null]",
        "1e999",
        "NaN",
        "[[[]]]",
        "-1",
    )
    for value in odd:
        found[f"JSON {value}"] = http(value.encode())
        found[f"data is {value}"] = http(f'{{"data": {value}}}'.encode())
        entry = f'{{"data": [{{"id": "m", "max_model_len": {value}}}]}}'
        found[f"max_model_len is {value}"] = http(entry.encode())
        found[f"error is {value}"] = http(f'{{"error": {value}}}'.encode(), "400 Bad Request")
        for name, shape in SHAPES.items():
            found[f"{name} is {value}"] = http(shape.replace("%s", value).encode())
    return found


SHAPES = {  # parts of a reply to /completions
    "choices": '{"choices": %s}',
    "a choice": '{"choices": [%s]}',
    "prompt_logprobs": '{"choices": [{"text": "x", "prompt_logprobs": %s}]}',
    "each entry": '{"choices": [{"text": "x", "prompt_logprobs": [' + ", ".join(["%s"] * TOKENS) + "]}]}",
    "logprobs": '{"choices": [{"text": "x", "logprobs": %s}]}',
    "tokens": '{"choices": [{"text": "x", "logprobs": {"tokens": %s, "token_logprobs": [], "top_logprobs": []}}]}',
    "top_logprobs": '{"choices": [{"text": "x", "logprobs": {"tokens": [], "token_logprobs": [], "top_logprobs": %s}}]}',
    "usage": '{"choices": [{"text": "x", "prompt_logprobs": null}], "usage": %s}',
}


@contextlib.contextmanager
def serving(reply: Reply) -> Iterator[str]:
    """A server on a free port of loopback that answers every request so; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.recv(2**16)
            if callable(reply):
                reply(connection)
            else:
                connection.sendall(reply)

    def listen() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def backend(url: str, timeout: float) -> OpenAIBackend:
    """A back end with a tokenizer that knows only what is asked of it here."""
    tokenizer = SimpleNamespace(added_tokens_decoder={}, all_special_tokens=[], model_max_length=None)
    return OpenAIBackend(url, "m", tokenizer, retries=1, backoff=0.001, timeout=timeout)


def prompt() -> Prompt:
    """A prompt of twelve tokens, a letter each, with three answers."""
    spans = np.array([[3, 4], [7, 8], [11, 12]], np.int32)
    made = Prompt.plain(list(range(TOKENS)), [tuple(span) for span in spans])
    return Prompt(made.ids, spans, made.swaps, made.shots, made.roles, "abcdefghijkl", spans)


def told(url: str, timeout: float) -> list[str]:
    """What is said of a server when it is asked for its models, and when a prompt is scored: error lines, or "".

    Other exceptions go through: they are what must not happen.
    """
    said = []
    for ask in (
        lambda: asyncio.run(backend(url, timeout).find_window()),
        lambda: list(itertools.islice(backend(url, timeout).score([prompt()]), 2)),
    ):
        try:
            ask()
            said.append("")
        except InputError as error:
            said.append(str(error))
    return said
