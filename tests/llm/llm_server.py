"""Completions servers on loopback: one that answers as vLLM or llama.cpp do, and a proxy with faults."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch


class Server:
    """Answers `/v1/models` and `/v1/completions` from a `transformers` model.

    Styles: `vllm` (token ids or text, `prompt_logprobs` or `echo`), `echo` (text and `echo` alone, as
    llama.cpp's), `shifted` (the same with every log probability one place too late), `deaf` (neither).

    Attributes:
      asked: how often each prompt was asked for.
      most: requests under way at one time, at most.
    """

    def __init__(self, model, tokenizer, style="vllm", key=None, delay=0.0, refuse=None, says=None):
        self.model, self.tokenizer, self.style, self.key, self.delay = model, tokenizer, style, key, delay
        self.refuse, self.says = refuse or (lambda body: False), says
        self.asked, self.bodies, self.lock, self.busy, self.most = Counter(), [], threading.Lock(), 0, 0

    def answer(self, method, path, body, headers):
        """(status, JSON object)"""
        if self.key and headers.get("Authorization") != f"Bearer {self.key}":
            return 401, {"error": {"message": f"wrong key {headers.get('Authorization')}", "code": 401}}
        if method == "GET" and path == "/v1/models":
            limit = self.model.config.max_position_embeddings
            return 200, {
                "object": "list",
                "data": [{"id": "tiny", "object": "model", "max_model_len": limit}],
            }
        if path != "/v1/completions":
            return 404, {"detail": "Not Found"}
        with self.lock:
            self.asked[json.dumps(body["prompt"])] += 1
            self.bodies.append(body)
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            time.sleep(self.delay)
            return self.complete(body)
        finally:
            with self.lock:
                self.busy -= 1

    def complete(self, body):
        if self.refuse(body):
            return 400, {"error": {"message": self.says or "this prompt is not welcome", "code": 400}}
        prompt, text_only = body["prompt"], self.style != "vllm"
        if not isinstance(prompt, str) and text_only:
            return 500, {"error": {"message": "validation errors", "type": "internal_server_error"}}
        if body.get("max_tokens") == 0:
            return 400, {"error": {"message": "max_tokens must be at least 1"}}
        ids = self.tokenizer(prompt).input_ids if isinstance(prompt, str) else prompt
        with torch.inference_mode():
            table = torch.log_softmax(self.model(torch.tensor([ids])).logits[0].double(), -1)
        new = int(table[-1].argmax())
        ids = [*ids, new]
        values = [None, *(table[i, t].item() for i, t in enumerate(ids[1:]))]
        tops = [None, *(self.top(row, body.get("logprobs") or 0, t) for row, t in zip(table, ids[1:]))]
        if self.style == "shifted":
            values, tops = [None, *values[:-2], values[-1]], [None, *tops[:-2], tops[-1]]
        words = [self.word(t) for t in ids]
        if text_only and ids[0] == self.tokenizer.bos_token_id:  # llama.cpp does not echo what it adds
            words, values, tops = words[1:], [None, *values[2:]], [None, *tops[2:]]
        offsets = [sum(map(len, words[:i])) for i in range(len(words))]
        echo = body.get("echo") and self.style != "deaf"
        kept = slice(None) if echo else slice(-1, None)
        said = prompt + words[-1] if echo and isinstance(prompt, str) else "".join(words[kept])
        choice = {"index": 0, "text": said, "finish_reason": "length", "logprobs": None}
        if body.get("logprobs"):
            choice["logprobs"] = {
                "tokens": words[kept],
                "text_offset": [offset - (0 if echo else offsets[-1]) for offset in offsets[kept]],
                "token_logprobs": values[kept],
                "top_logprobs": tops[kept],
            }
        if self.style == "vllm":
            choice |= {"stop_reason": None, "prompt_logprobs": None}
            if body.get("prompt_logprobs") is not None:
                rows = zip(table, ids[1:-1])
                choice["prompt_logprobs"] = [
                    None,
                    *(self.entry(row, body["prompt_logprobs"], t) for row, t in rows),
                ]
        usage = {"prompt_tokens": len(ids) - 1, "completion_tokens": 1, "total_tokens": len(ids)}
        return 200, {
            "id": "cmpl-1",
            "object": "text_completion",
            "model": "tiny",
            "choices": [choice],
            "usage": usage,
        }

    def word(self, token):
        """Text of a token; llama.cpp's is empty for special tokens and parts of letters."""
        if self.style != "vllm" and token in self.tokenizer.added_tokens_decoder:
            return ""
        word = self.tokenizer.decode([token])
        return word if self.style == "vllm" else word.replace("\ufffd", "")

    def top(self, row, count, token):
        found = row.topk(count) if count else None
        listed = {self.word(int(t)): v.item() for v, t in zip(*found)} if count else {}
        return {**listed, self.word(token): row[token].item()}

    def entry(self, row, count, token):
        listed = [token, *(int(t) for t in row.topk(count).indices)] if count else [token]
        ranks = row.argsort(descending=True).argsort()
        return {
            str(t): {
                "logprob": row[t].item(),
                "rank": int(ranks[t]) + 1,
                "decoded_token": self.tokenizer.decode([t]),
            }
            for t in listed
        }


class Proxy:
    """Passes requests on, after misbehaving twice on each in different ways. `met` counts the faults."""

    faults = ("drop", "slow", "429", "truncated", "500", "half")

    def __init__(self, target, patience):
        self.target, self.patience = target, patience
        self.met, self.tries, self.lock = Counter(), Counter(), threading.Lock()

    def fault(self, body):
        with self.lock:
            key = json.dumps(body)
            self.tries[key] += 1
            fault = self.faults[self.met.total() % 6] if self.tries[key] <= 2 else "fine"
            if fault == "slow" and self.met["slow"] == 2:  # more would only take time
                fault = "drop"
            self.met[fault] += 1
            return fault


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(*self.server.app.answer("GET", self.path, None, self.headers))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(*self.server.app.answer("POST", self.path, body, self.headers))

    def reply(self, status, found, cut=0, promise=0):
        content = json.dumps(found).encode()
        content = content[: len(content) - cut]
        with contextlib.suppress(ConnectionError):  # the client may be gone
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content) + promise))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *args):
        del args


class ProxyHandler(Handler):
    def do_GET(self):
        with urllib.request.urlopen(self.server.app.target + self.path) as reply:
            self.reply(reply.status, json.load(reply))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        app = self.server.app
        fault = app.fault(body)
        if fault in ("drop", "429", "500"):
            self.close_connection = True
            return None if fault == "drop" else self.reply(int(fault), {"error": {"message": "busy"}})
        if fault == "slow":
            time.sleep(1.3 * app.patience)
        request = urllib.request.Request(
            app.target + self.path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as reply:
                status, found = reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            status, found = error.code, json.load(error)
        self.close_connection = fault != "fine"
        cut = len(json.dumps(found)) // 2 if fault in ("truncated", "half") else 0
        return self.reply(status, found, cut, promise=cut if fault == "half" else 0)


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        del request, client_address


@contextlib.contextmanager
def serve(app):
    """Runs a `Server` or a `Proxy` on a free port of loopback; yields its address."""
    server = Quiet(("127.0.0.1", 0), ProxyHandler if isinstance(app, Proxy) else Handler)
    server.app = app
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
