"""The hub's protocol over a folder, for tests: what huggingface_hub and Dynamo's own client ask for, and ways to fail.

    python hub.py --repo ORG/NAME=FOLDER [--repo ...] [--token TOKEN] [--bytes-per-second N] [--cut-after BYTES --cuts N] [--status CODE]

Prints its port, then one line for each request: method, path, range or -, and who asks: `token`, `wrong` or `nobody`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".gguf")
_REVISION = re.compile(r"^/api/models/(?P<repo>[^/]+/[^/]+)(/(?P<call>revision|tree)/(?P<revision>[^/]+)(/(?P<folder>.+))?)?$")
_FILE = re.compile(r"^/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)$")
_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")
_PIECE = 16 << 10


class Hub(ThreadingHTTPServer):
    """Serves until `shutdown`. Its settings may be changed while it runs."""

    daemon_threads = True

    def __init__(self, repos: dict[str, Path], *, token: str | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.repos = repos
        self.token = token
        self.gated = False
        self.bytes_per_second: int | None = None
        self.cut_after: int | None = None
        self.cuts = 0
        self.status: int | None = None
        self.requests: list[str] = []
        self.echo = False
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> "Hub":
        threading.Thread(target=self.serve_forever, name="hub", daemon=True).start()
        return self

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def note(self, line: str) -> None:
        with self.lock:
            self.requests.append(line)
            if self.echo:
                print(line, flush=True)

    def takes_a_cut(self) -> bool:
        with self.lock:
            if self.cut_after is None or self.cuts <= 0:
                return False
            self.cuts -= 1
            return True


def commit_of(folder: Path) -> str:
    """As good as a commit: it changes with the names and sizes of the files."""
    listing = "\n".join(f"{name} {path.stat().st_size}" for name, path in files_of(folder))
    return hashlib.sha1(listing.encode()).hexdigest()


def files_of(folder: Path) -> list[tuple[str, Path]]:
    return sorted((str(path.relative_to(folder)), path) for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.name.endswith(_WEIGHTS):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are noted by the server instead."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.note(f"{self.command} {path} {self.headers.get('Range', '-')} {self._who()}")
        if self.server.status is not None:
            self._refuse(self.server.status, "", "the hub is unwell", with_body)
            return
        match = _REVISION.match(path) or _FILE.match(path)
        folder = self.server.repos.get(match["repo"]) if match else None
        if match is None or folder is None:
            # The hub does not tell strangers what exists.
            self._refuse(401 if self._who() == "nobody" else 404, "RepoNotFound", "Repository not found", with_body)
            return
        if self.server.token is not None and self._who() != "token":
            if self.server.gated:
                self._refuse(403, "GatedRepo", "Access to model is restricted", with_body)
            else:
                self._refuse(401, "RepoNotFound", "Invalid username or password.", with_body)
            return
        commit = commit_of(folder)
        groups = match.groupdict()
        if groups.get("revision") not in (None, "main", commit):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {groups['revision']}", with_body)
        elif "file" in groups:
            self._send_file(folder / groups["file"], commit, with_body)
        elif groups["call"] == "tree":
            self._send_tree(folder, groups["folder"], "recursive=true" in self.path.lower(), commit, with_body)
        else:
            names = [{"rfilename": name} for name, _ in files_of(folder)]
            self._send_json({"id": groups["repo"], "modelId": groups["repo"], "sha": commit, "siblings": names, "tags": []}, with_body)

    def _who(self) -> str:
        header = self.headers.get("Authorization")
        if header is None:
            return "nobody"
        return "token" if self.server.token is not None and header == f"Bearer {self.server.token}" else "wrong"

    @staticmethod
    def _entry(name: str, path: Path) -> dict[str, Any]:
        size, digest = path.stat().st_size, _digest(path)
        entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": digest[:40]}
        if path.name.endswith(_WEIGHTS):
            entry["lfs"] = {"oid": digest, "size": size, "pointerSize": 134}
        return entry

    def _send_tree(self, root: Path, inside: str | None, recursive: bool, commit: str, with_body: bool) -> None:
        prefix = f"{inside}/" if inside else ""
        entries = [self._entry(name, file) for name, file in files_of(root) if name.startswith(prefix)]
        if not entries:
            self._refuse(404, "EntryNotFound", f"{inside} does not exist", with_body, {"X-Repo-Commit": commit})
            return
        self._send_json([entry for entry in entries if recursive or "/" not in entry["path"][len(prefix) :]], with_body)

    def _send_file(self, path: Path, commit: str, with_body: bool) -> None:
        if not path.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found", with_body, {"X-Repo-Commit": commit})
            return
        content = path.read_bytes()
        total, digest = len(content), _digest(path)
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if path.name.endswith(_WEIGHTS):
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(total)}
        status, match = 200, _RANGE.match(self.headers.get("Range", ""))
        if match is not None:
            start, end = int(match[1]), min(int(match[2] or total - 1), total - 1)
            if start >= total:
                self._refuse(416, "", "no such range", with_body)
                return
            status, content = 206, content[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{end}/{total}"
        self._head(status, len(content), headers)
        if with_body:
            self._send_slowly(content)

    def _send_slowly(self, content: bytes) -> None:
        hub = self.server
        if hub.cut_after is not None and len(content) > hub.cut_after and hub.takes_a_cut():
            self.wfile.write(content[: hub.cut_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        for start in range(0, len(content), _PIECE):
            piece = content[start : start + _PIECE]
            self.wfile.write(piece)
            if hub.bytes_per_second:
                time.sleep(len(piece) / hub.bytes_per_second)

    def _send_json(self, value: Any, with_body: bool) -> None:
        body = json.dumps(value).encode()
        self._head(200, len(body), {"Content-Type": "application/json"})
        if with_body:
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str, with_body: bool, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        said = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self._head(status, len(body), said | (headers or {}))
        if with_body:
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repo", action="append", required=True, help="ORG/NAME=FOLDER")
    parser.add_argument("--token")
    parser.add_argument("--bytes-per-second", type=int)
    parser.add_argument("--cut-after", type=int)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--status", type=int)
    options = parser.parse_args()
    hub = Hub({name: Path(folder) for name, _, folder in (repo.partition("=") for repo in options.repo)}, token=options.token)
    hub.echo = True
    hub.bytes_per_second, hub.cut_after, hub.cuts, hub.status = options.bytes_per_second, options.cut_after, options.cuts, options.status
    print(hub.server_port, flush=True)
    try:
        hub.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
