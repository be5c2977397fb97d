"""Back end (b): any OpenAI-compatible completions server that returns the log probabilities of a prompt's
tokens.
"""

import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import InputError, check_whole
from ..prompts import Prompt
from . import load_tokenizer, missing, special_texts
from .client import Client, Refused
from .keys import read_key
from .replies import Form, check_server

try:
    import httpx
except ImportError as error:
    raise missing(error) from None


class OpenAIBackend:
    """Scores prompts on a server, one request each, several at a time.

    The first call of `score` asks the server two questions of known answer (`check_server`), by which a
    server that returns no prompt log probabilities, or returns them shifted, is found out.

    Args:
      base_url: up to and including `/v1`.
      model: what the server calls the model.
      tokenizer: the model's tokenizer.
      window: tokens that a prompt may have; by default what the server says (`max_model_len`), else the
        tokenizer.
      concurrency: requests under way at one time.
      retries: further tries of a request after 429, 5xx, a dropped connection, a timeout or a torn reply.
      timeout: seconds to wait for one reply.
      key_variable: the environment variable that holds the key. The key is sent to `base_url` and nowhere
        else; it is never written or printed.
      backoff: seconds before the first further try; doubled each time, up to a minute.
    """

    in_pass = False

    def __init__(
        self,
        base_url: str,
        model: str,
        tokenizer: Any,
        window: int | None = None,
        concurrency: int = 8,
        retries: int = 8,
        timeout: float = 600.0,
        key_variable: str = "OPENAI_API_KEY",
        backoff: float = 0.5,
    ):
        check_whole("concurrency", concurrency, 1, 10_000)
        check_whole("retries", retries, 0, 1000)
        self.model, self.tokenizer, self.window = model, tokenizer, window
        self.concurrency = concurrency
        self._options = (base_url, read_key(key_variable), key_variable, timeout, retries, backoff)
        self._form: Form | None = None
        self.url = Client.shown(base_url)

    @classmethod
    def load(cls, base_url: str, model: str, tokenizer: str | None = None, **options: Any) -> "OpenAIBackend":
        """Loads the tokenizer (by default the model's own) and asks the server for its context window.

        Raises:
          InputError: no server is there, it refuses the key, or the tokenizer cannot be loaded.
        """
        backend = cls(
            base_url, model, None, **options
        )  # refuses a wrong address or key before anything is fetched
        backend.tokenizer = load_tokenizer(tokenizer or model)
        if backend.window is None:
            backend.window = asyncio.run(backend.find_window())
        return backend

    def describe(self) -> dict:
        return {"backend": "openai", "base_url": self.url, "versions": {"httpx": httpx.__version__}}

    def score(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, np.ndarray]]:
        """As `Backend.score`, in the order in which the server answers.

        A prompt that fails for good stops new requests; those under way are still yielded before the error
        is raised.

        Raises:
          InputError: the server is not there, refuses, or its log probabilities cannot be used.
        """
        if not prompts:
            return
        # A thread of its own: a notebook has an event loop running already, and a generator cannot be awaited
        # there.
        found: queue.Queue = queue.Queue()
        stop = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._run(prompts, found, stop)), daemon=True)
        thread.start()
        try:
            while (item := found.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join()

    async def _run(self, prompts: Sequence[Prompt], found: queue.Queue, stop: threading.Event) -> None:
        failure: BaseException | None = None
        try:
            async with Client(*self._options, connections=self.concurrency) as client:
                if self._form is None:
                    self._form = await check_server(
                        client,
                        self.model,
                        max(prompts, key=lambda p: len(p.spans)),
                        special_texts(self.tokenizer),
                        self.tokenizer,
                    )
                form, waiting = self._form, iter(enumerate(prompts))

                async def work() -> None:
                    nonlocal failure
                    for i, prompt in waiting:
                        if stop.is_set() or failure is not None:
                            return
                        try:
                            reply = await client.complete(
                                form.request(self.model, prompt), check=form.reader(prompt), path=form.path
                            )
                            found.put((i, reply))
                        except Exception as error:
                            failure = failure or error
                            return

                workers = [asyncio.ensure_future(work()) for _ in range(min(self.concurrency, len(prompts)))]
                while any(not worker.done() for worker in workers):
                    await asyncio.wait(workers, timeout=0.2)
                    if stop.is_set():
                        for worker in workers:
                            worker.cancel()
        except Exception as error:
            failure = failure or error
        finally:
            if isinstance(failure, Refused):
                failure = InputError(str(failure))
            found.put(failure)

    async def find_window(self) -> int:
        """Tokens of a prompt at most: what the server says of its model, else the tokenizer.

        Raises:
          InputError: neither says it, or the server cannot be asked.
        """
        async with Client(*self._options, connections=1) as client:
            try:
                said = (await client.get("/models")).get("data")
            except Refused as error:
                raise InputError(str(error)) from None
        models = [entry for entry in said if isinstance(entry, dict)] if isinstance(said, list) else []
        for entry in models:
            known = entry.get("max_model_len")
            if not isinstance(known, int) or isinstance(known, bool) or not 2 <= known < 2**31:
                continue
            if entry.get("id") == self.model or len(models) == 1:
                return known - 1  # one token is generated
        length = getattr(self.tokenizer, "model_max_length", None)
        if length and length < 10**9:
            return int(length) - 1
        raise InputError(f"{self.url} does not say how long a prompt may be; give --context-window")
