"""Asking a completions server, and asking again: back-off on overload, errors of the server and broken
connections.
"""

import asyncio
import json
import math
import random
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ...console import duration, warn
from ...errors import InputError
from . import missing
from .bounded import TooLong, Torn, decoded, most_bytes, read_bounded
from .keys import Hider, shown_variable

try:
    import httpx
except ImportError as error:
    raise missing(error) from None

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
LONGEST_WAIT = 60.0  # seconds between two tries
MOST_WAITING = 300.0  # seconds between the tries of one request, together
TOLD = 10.0  # seconds of a wait that is worth a line
BESIDE = ("/generate",)  # paths that stand beside /v1, not below it


class Refused(Exception):
    """The server said no, or could not be reached, for good. The message is one line and holds no key."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class Reply(NamedTuple):
    """A reply that came whole."""

    status: int
    headers: httpx.Headers
    content: bytes


class Client:
    """One server. `complete` and `get` return decoded JSON objects or raise `Refused`."""

    def __init__(
        self,
        base_url: str,
        key: str | None,
        key_variable: str,
        timeout: float,
        retries: int,
        backoff: float,
        connections: int = 8,
    ):
        self.url, self._key, self._key_variable = base_url.rstrip("/"), key, key_variable
        self.name, self._retries, self._backoff = self.shown(base_url), retries, backoff
        if not 0 < timeout < math.inf:
            raise InputError(f"--timeout {timeout} is no number of seconds; give a finite number above 0")
        self._answered, self._told, self._timeout = False, False, timeout
        parts = urlsplit(self.url)
        self._hider = Hider(key, parts.password, parts.query)
        self._http = httpx.AsyncClient(
            headers={"Accept-Encoding": "gzip, deflate"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(timeout, connect=min(timeout, 30.0)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    @staticmethod
    def shown(url: str) -> str:
        """The URL as it may be printed and stored: without user, password, query and fragment.

        Raises:
          InputError: it is no address of a server.
        """
        try:
            parts = urlsplit(url)
            good = (
                parts.scheme in ("http", "https")
                and bool(parts.hostname)
                and parts.port != 0
                and url.isprintable()
            )
        except ValueError:  # a bad port or bracket
            good = False
        if not good:
            raise InputError("--base-url is not an address of a server; give it as http://HOST:PORT/v1")
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._http.aclose()

    async def get(self, path: str) -> dict:
        return await self._ask("GET", path, None, dict)

    async def complete(
        self,
        body: dict,
        check: Callable[[dict], Any],
        most_errors: int | None = None,
        path: str = "/completions",
        tries: int | None = None,
    ) -> Any:
        """Posts to `/completions` or another path; returns `check(reply)`, whose `Torn` counts as a torn reply.

        `most_errors` replies with status 500 are taken as a no: some servers crash over what they do not know. `tries` is how
        often it is asked at most, where that is less than usual.
        """
        return await self._ask("POST", path, body, check, most_errors, tries)

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict | None,
        check: Callable[[dict], Any],
        most_errors: int | None = None,
        tries: int | None = None,
    ) -> Any:
        last = self._retries if tries is None else min(self._retries, tries - 1)
        status, errors, problem, waited = None, 0, "", 0.0
        for attempt in range(last + 1):
            wait = min(self._backoff * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1.0)
            try:
                reply = await self._reply(method, path, body)
            except httpx.ConnectError as error:
                # Nobody is there at the first contact: a wrong address, not a fault that passes.
                if not self._answered:
                    raise Refused(
                        f"no server answers at {self.name} ({self._clean(error)}); is it running?"
                    ) from None
                problem = self._clean(error)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
                raise Refused(f"{self.name} is not an address of a server ({self._clean(error)})") from None
            except httpx.RequestError as error:
                problem = self._clean(error) or type(error).__name__
            except TimeoutError:
                problem = f"no whole reply within {self._timeout:g} s"
            except TooLong:
                raise Refused(
                    f"{self.name} answers {path} with more than {most_bytes(body) / 2**20:,.0f} MiB, more than any"
                    " answer has; is it a completions server?"
                ) from None
            except Torn as error:
                problem = str(error)
            else:
                self._answered = True
                status = reply.status
                errors += status == 500
                if most_errors is not None and errors >= most_errors:
                    raise Refused(self._refusal(reply, path), status)
                if status in AGAIN:
                    problem = f"status {status}: {self._clean(_message(reply))}"
                    asked = _retry_after(reply)
                    if asked > MOST_WAITING:
                        raise Refused(
                            f"{self.name} asks to wait {duration(asked)} ({problem}); finished prompts are kept, run the same"
                            " command then",
                            status,
                        )
                    wait = max(wait, min(asked, LONGEST_WAIT))
                elif status != 200:
                    raise Refused(self._refusal(reply, path), status)
                else:
                    try:
                        found = decoded(reply.content)
                        if not isinstance(found, dict):
                            raise Torn("the reply is not a JSON object")
                        return check(found)
                    except Torn as error:
                        problem = str(error)
                    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
                        problem = "a reply whose parts are of other types than they should be"
            if attempt == last or waited + wait > MOST_WAITING:
                break
            self._tell(wait, problem)
            await asyncio.sleep(wait)
            waited += wait
        after = f" and {duration(waited)} of waiting" if waited >= TOLD else ""
        raise Refused(
            f"{self.name}: gave up after {attempt + 1} tries{after}, the last: {problem};"
            " finished prompts are kept, run the same command to go on",
            status,
        )

    def _tell(self, wait: float, problem: str) -> None:
        """Says once of a server that it makes us wait, and how long at most."""
        if wait >= TOLD and not self._told:
            self._told = True
            warn(
                f"{self.name}: {problem}; asking again in {duration(wait)}, for up to {duration(MOST_WAITING)} a request"
            )

    async def _reply(self, method: str, path: str, body: dict | None) -> Reply:
        """One whole reply, bounded in bytes, and in time from the request to its last byte."""
        async with (
            asyncio.timeout(self._timeout),
            self._http.stream(method, self._join(path), json=body) as reply,
        ):
            return Reply(reply.status_code, reply.headers, await read_bounded(reply, most_bytes(body)))

    def _join(self, path: str) -> str:
        parts = urlsplit(self.url)
        below = parts.path.rstrip("/")
        below = below.removesuffix("/v1") if path in BESIDE else below
        return parts._replace(path=below + path).geturl()

    def _refusal(self, reply: Reply, path: str) -> str:
        status, said = reply.status, self._clean(_message(reply))
        if status in (401, 403):
            held = "the key in" if self._key else "no key in"
            where = f"{held} {shown_variable(self._key_variable)}"
            return f"{self.name} refuses us (status {status}), with {where}; set the right one"
        if status == 404:
            return (
                f"{self.name} has no {path}, or not this model (status 404: {said}); check --base-url and"
                " --model"
            )
        return f"{self.name} refuses the request (status {status}: {said})"

    def _clean(self, said: object) -> str:
        """One short line of printable letters in which the key and the full URL, should anybody echo them, are hidden."""
        text = " ".join("".join(c if c.isprintable() else " " for c in str(said)).split())
        return self._hider.hide(text.replace(self.url, self.name))[:200]


def _message(reply: Reply) -> str:
    try:
        said = decoded(reply.content)
        for name in ("error", "message", "detail"):
            if isinstance(said, dict) and name in said:
                said = said[name]
        return said if isinstance(said, str) else json.dumps(said)
    except Torn:
        return reply.content[:2000].decode("utf-8", "replace")


def _retry_after(reply: Reply) -> float:
    try:
        return max(0.0, float(reply.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0
