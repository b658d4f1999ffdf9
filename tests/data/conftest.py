import functools
import http.server
import threading

import pytest
from made_sets import NOWHERE, NUM_TEST, NUM_TRAIN, write

from jvae.data.known import KNOWN_SETS, KnownSet


@pytest.fixture
def home(tmp_path, monkeypatch, request):
    """Set up an empty home without network, where the known sets are small and their checksums unknown.

    A test of the real MNIST keeps the user's home.
    """
    if request.node.get_closest_marker("mnist"):
        return
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("JVAE_CACHE_DIR", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, known in list(KNOWN_SETS.items()):
        monkeypatch.setitem(KNOWN_SETS, name, KnownSet(name, NOWHERE, known.folder, NUM_TRAIN, NUM_TEST))


@pytest.fixture
def change(monkeypatch):
    """Change fields of a known set for one test."""

    def change(name, **fields):
        monkeypatch.setitem(KNOWN_SETS, name, KNOWN_SETS[name]._replace(**fields))
        return KNOWN_SETS[name]

    return change


@pytest.fixture
def server(tmp_path):
    """Start a local web server; yield its URL and the folder it serves."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(write(tmp_path / "www")))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", tmp_path / "www"
        server.shutdown()
