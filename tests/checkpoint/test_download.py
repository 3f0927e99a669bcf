"""Downloads from a server with every kind of fault; the cache never holds a partial file."""

import errno
import hashlib
import http.server
import io
import multiprocessing
import os
import pickle
import socket
import struct
import tempfile
import threading
import time
import zipfile

import pytest
import torch
from filelock import Timeout
from safetensors.torch import save

from mvit_det.checkpoint import download as module
from mvit_det.checkpoint.download import cache_path, download
from mvit_det.errors import UserError

BODY = pickle.dumps(bytes(range(256)) * 400, 4)
OTHER = pickle.dumps(bytes(range(255, -1, -1)) * 400, 4)
LENGTH = len(BODY)
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()[:8]}"


def answer(handler, body=BODY, *, status=200, announced=LENGTH, cut=None) -> None:
    """Send a body; ``announced`` None leaves the length out; ``cut`` bytes end in a reset."""
    handler.send_response(status)
    if announced is not None:
        handler.send_header("Content-Length", str(announced))
    handler.end_headers()
    handler.wfile.write(body[:cut])
    if cut is not None:
        handler.wfile.flush()
        # lingering for 0 seconds: close by a reset, as a broken line does
        reset = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        handler.connection.close()


def silent(handler) -> None:
    """Send a part, then nothing until the client closes the connection."""
    answer(handler, BODY[:1000])
    handler.wfile.flush()
    handler.connection.settimeout(30)  # the client sets a shorter default timeout
    handler.connection.recv(1)


def slow(handler) -> None:
    """Send everything, but only after a second process has asked as well."""
    time.sleep(1)
    answer(handler)


class Server(http.server.ThreadingHTTPServer):
    """Answer each path with its answers in turn, repeating the last; record the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = {}, []
        self.base = f"http://127.0.0.1:{self.server_port}"

    def on(self, path: str, *answers) -> str:
        self.answers[path] = list(answers)
        return self.base + path

    def handle_error(self, *_) -> None:
        """Print no traceback for connections that were reset."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = self.server.answers[self.path]
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_) -> None:
        """Do not log requests."""


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no waiting between attempts."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "RETRY_DELAY", 0.0)
    return tmp_path / "cache"


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def files(folder) -> list[str]:
    """List the files of the cache except the locks, which are empty and remain."""
    found = [name for _, _, names in os.walk(folder) for name in names]
    return sorted(name for name in found if not name.endswith(".lock"))


def message(url: str, checksum: str = "") -> str:
    """Return the error of a download that fails; check that the cache is empty."""
    with pytest.raises(UserError) as caught:
        download(url, checksum)
    assert files(os.environ["FVCORE_CACHE"]) == []
    assert url in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_file_is_fetched_once_and_found_in_the_cache(server, cache, capfd):
    url = server.on("/models/a.pth", answer)
    path = download(url, SHA256)
    assert content(path) == BODY and path == cache_path(url)
    assert os.path.commonpath([path, cache]) == str(cache)
    progress = capfd.readouterr().err
    assert "a.pth: " in progress and "B/s]" in progress
    assert download(url, SHA256) == path and download(url) == path
    assert server.asked == ["/models/a.pth"] and files(cache) == ["a.pth"]


FAULTS = {
    "cut off": (lambda h: answer(h, cut=5000), "reset"),
    "shorter than announced": (lambda h: answer(h, BODY[:5000]), f"after 5000 of {LENGTH} bytes"),
    "another content": (lambda h: answer(h, OTHER), "its sha256 starts with"),
    "empty": (lambda h: answer(h, b"", announced=0), "empty file"),
    "overloaded": (lambda h: answer(h, b"", status=503, announced=0), "HTTP 503"),
    "a page": (lambda h: answer(h, b"\n<!DOCTYPE html><p>Log in", announced=None), "a web page"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_row_32_another_attempt_follows_a_fault(server, cache, fault):
    url = server.on("/b.pth", FAULTS[fault][0], FAULTS[fault][0], answer)
    assert content(download(url, SHA256)) == BODY
    assert len(server.asked) == 3 and files(cache) == ["b.pth"]


@pytest.mark.parametrize("fault", FAULTS)
def test_row_32_a_permanent_fault_ends_in_one_sentence(server, fault):
    faulty, reason = FAULTS[fault]
    url = server.on("/c.pth", faulty)
    assert reason in message(url, SHA256)
    assert len(server.asked) == module.ATTEMPTS


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", BODY)
    return file.getvalue()


WHOLE = {
    "archive": archive(),
    "pickle": BODY,
    "safetensors": save({"w": torch.ones(99)}),
}


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_row_32_a_truncated_file_is_refused_without_an_announced_length(server, whole):
    bad = server.on("/bad.pth", lambda h: answer(h, whole[:-200], announced=None))
    assert "its end is missing" in message(bad)
    good = server.on("/good.pth", lambda h: answer(h, whole, announced=None))
    assert content(download(good)) == whole


@pytest.mark.parametrize(
    "page",
    [b'{"error": "rate limit", "retry": 60}', b'\n[{"message": "log in"}]', b"Not available yet\n"],
)
def test_row_32_a_message_with_status_200_is_not_kept_as_weights(server, page):
    url = server.on("/n.pth", lambda h: answer(h, page, announced=len(page)))
    assert "it is not a weight file, it begins with" in message(url)
    # nor one that is in the cache since before it was checked
    os.makedirs(os.path.dirname(cache_path(url)), exist_ok=True)
    with open(cache_path(url), "wb") as file:
        file.write(page)
    server.on("/n.pth", answer)
    assert content(download(url)) == BODY


def test_a_stalled_connection_is_closed(server, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    url = server.on("/d.pth", silent, answer)
    assert content(download(url)) == BODY


def test_a_silent_server_ends_in_one_sentence(server, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    assert "timed out" in message(server.on("/e.pth", silent))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server, status):
    url = server.on("/f.pth", lambda h: answer(h, b"", status=status, announced=0))
    assert f"HTTP {status}" in message(url)
    assert len(server.asked) == 1


def test_row_35_offline_names_the_url_and_the_place_for_a_copy(cache):
    with socket.socket() as closed:  # bound, but not listening
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/g.pth"
        sentence = message(url)
    place = cache_path(url)
    assert "Connection refused" in sentence and f"put a copy of the file at {place}," in sentence
    with open(place, "wb") as file:
        file.write(BODY)
    assert download(url, SHA256) == place


def test_row_32_a_damaged_file_in_the_cache_is_replaced(server, caplog):
    url = server.on("/h.pth", answer)
    path = download(url)
    with open(path, "wb") as file:
        file.write(BODY[:-1])
    assert content(download(url, SHA256)) == BODY
    assert f"Removing {path}" in caplog.text and len(server.asked) == 2


def test_a_partial_file_of_a_killed_process_does_no_harm(server, cache):
    url = server.on("/i.pth", answer)
    partial = f"{cache_path(url)}.{'0' * 16}.partial"
    os.makedirs(os.path.dirname(partial))
    with open(partial, "wb") as file:
        file.write(BODY + BODY)
    assert content(download(url, SHA256)) == BODY and files(cache) == ["i.pth"]


def test_each_host_and_query_has_a_cache_path():
    urls = ["https://a.org/x.pth", "https://b.org/x.pth", "https://b.org:8/x.pth"]
    urls += ["https://b.org/x.pth?id=1/x.pth", "https://b.org/x.pth?id=2/x.pth"]
    paths = [cache_path(url) for url in urls]
    assert len(set(paths)) == len(urls)
    assert len({os.path.dirname(path) for path in paths}) == 3


def test_the_cache_is_shared_with_detectron2(cache):
    url = "https://dl.fbaipublicfiles.com/detectron2/MViTv2/x/model.pkl"
    assert cache_path(url) == str(cache / "detectron2/MViTv2/x/model.pkl")


@pytest.mark.parametrize(
    "url", ["https://a.org", "https://a.org/", "https:///x.pth", "https://a.org/../../x.pth"]
)
def test_a_url_without_a_file_is_refused(url):
    assert "does not end in a file name" in message(url)


def test_the_temporary_folder_replaces_a_cache_that_cannot_be_written(
    server, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    path = download(server.on("/j.pth", answer))
    assert content(path) == BODY and path.startswith(str(tmp_path / "tmp"))


def test_a_file_in_place_of_the_folder_ends_in_one_sentence(server, cache):
    url = server.on("/folder/k.pth", answer)
    cache.mkdir()
    folder = cache / os.path.basename(os.path.dirname(os.path.dirname(cache_path(url))))
    folder.touch()  # where the host's folder would be
    with pytest.raises(UserError, match="cannot be written to .*set FVCORE_CACHE"):
        download(url)


def test_a_full_disk_ends_in_one_sentence_after_one_attempt(server, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    url = server.on("/l.pth", answer)
    monkeypatch.setattr("mvit_det.files.os.replace", full)
    sentence = message(url)
    assert "No space left on device" in sentence and "free space" in sentence
    assert len(server.asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Timeout("a.lock"), OSError(errno.ENOLCK, "No locks available")])
def test_a_lock_that_cannot_be_had_ends_in_one_sentence(server, monkeypatch, fault):
    def acquire(*_, **__):
        raise fault

    monkeypatch.setattr(module.FileLock, "acquire", acquire)
    with pytest.raises(
        UserError, match=r"cannot be locked .*start again later, or set FVCORE_CACHE"
    ):
        download(server.on("/locked.pkl", answer))


def test_two_processes_download_a_file_once(server, cache):
    url = server.on("/m.pth", slow)
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        paths = pool.starmap(download, [(url, SHA256)] * 2, chunksize=1)
    assert paths == [cache_path(url)] * 2 and content(paths[0]) == BODY
    assert len(server.asked) == 1 and files(cache) == ["m.pth"]
