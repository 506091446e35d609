"""A hub of models on this machine: what huggingface_hub asks for, answered by http.server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

from gsasr_plugin.checkpoints.official import hub
from tests.checkpoints.official.test_sources import SMALL_EDSR, SMALL_ENHANCED, other, released_state

COMMIT = 'c' * 40


class HubServer:
    """Serves files of one repository at its only revision, main.

    Attributes:
        files: path in the repository -> content.
        requests: 'METHOD path' of each request for a file.
        refusal: status with which every request is answered instead, or None.
        cut: whether the connection breaks in the middle of each file.
        endpoint: its address.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[str] = []
        self.refusal: int | None = None
        self.cut = False
        self.endpoint = ''

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        prefix = f'/{hub.REPOSITORY}/resolve/main/'
        if not request.path.startswith(prefix):  # not about a file: which tools are known, and the like
            self._refuse(request, 404)
            return
        path = request.path.removeprefix(prefix)
        self.requests.append(f'{request.command} {path}')
        content = self.files.get(path)
        if self.refusal is not None or content is None:
            self._refuse(request, self.refusal or 404)
            return
        start = int(request.headers.get('Range', 'bytes=0-').removeprefix('bytes=').split('-')[0])
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        request.send_header('Content-Length', str(len(body)))
        request.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header('X-Repo-Commit', COMMIT)
        request.end_headers()
        if request.command == 'GET':
            request.wfile.write(body[: len(body) // 2] if self.cut else body)
            request.close_connection = True

    def _refuse(self, request: BaseHTTPRequestHandler, status: int) -> None:
        request.send_response(status)
        if status == 404:
            request.send_header('X-Error-Code', 'EntryNotFound')
        request.send_header('Content-Length', '0')
        request.end_headers()


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[HubServer]:
    """Runs a server in a thread."""
    served = HubServer(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def do_HEAD(self) -> None:
            served.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    served.endpoint = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_small_model(folder: Path) -> list[Path]:
    """The authors' two files, of a small enhanced model with weights beside the averages; encoder first."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file for file in hub.FILES]
    for path, layout in zip(paths, (SMALL_EDSR, SMALL_ENHANCED), strict=True):
        state = released_state(layout)
        torch.save({'params': other(state), 'params_ema': state}, path)
    return paths
