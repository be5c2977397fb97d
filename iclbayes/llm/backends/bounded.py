"""Replies of servers that are not trusted: bounded in bytes, also when they are decompressed, and decoded without surprises."""

import json
import zlib
from typing import Any

from . import missing

try:
    import httpx
except ImportError as error:
    raise missing(error) from None

LEAST = 16 * 2**20  # bytes that any reply may have
PER_TOKEN = (
    4096  # further bytes for each token or letter of a prompt: a few alternatives with their names and ranks
)


class Torn(Exception):
    """A reply that came with status 200 and cannot be read; worth another try."""


class TooLong(Exception):
    """A reply of more bytes than any answer to the request has."""


def most_bytes(body: dict | None) -> int:
    """Bytes that a reply to a request with this body may have."""
    prompt = (body or {}).get("prompt", "")
    return LEAST + PER_TOKEN * len(prompt)


async def read_bounded(reply: httpx.Response, most: int) -> bytes:
    """The body of a streamed reply, decompressed (gzip, deflate), never more than `most` bytes of it.

    Raises:
      TooLong: there are more.
      Torn: it is compressed in another way, or not whole.
    """
    encoding = reply.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Torn("a reply in an encoding that was not asked for")
    unpack = (
        zlib.decompressobj(47 if "gzip" in encoding else 15) if encoding not in ("", "identity") else None
    )
    parts: list[bytes] = []
    size = 0
    async for piece in reply.aiter_raw():
        if unpack is not None:
            try:
                piece = unpack.decompress(piece, most - size + 1)
            except zlib.error:
                raise Torn("a reply whose compression is damaged") from None
        size += len(piece)
        if size > most:
            raise TooLong
        parts.append(piece)
    if unpack is not None and not unpack.eof:
        raise Torn("a reply that ends before its compression does")
    return b"".join(parts)


def decoded(content: bytes) -> Any:
    """JSON out of bytes. Raises Torn for what is none: also lists in lists without end, and numbers of thousands of digits."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Torn("a reply that is not whole JSON") from None
