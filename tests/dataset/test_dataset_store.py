import hashlib
import http.server
import threading
from functools import partial

import pytest

from mogen.cli.main import main
from mogen.dataset import find
from mogen.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MOGEN_DATA", raising=False)


@pytest.fixture
def address(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.csv").write_bytes(b"smiles\nC\n")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.csv"
    server.shutdown()
    server.server_close()


def test_an_imported_file_is_found_and_listed(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("smiles\n")
    assert main(["data", "import", "mine", str(tmp_path / "x.csv")]) == 0
    assert find("mine").name == "mine.csv"
    main(["data", "list"])
    assert "mine.csv" in capsys.readouterr().out


def test_a_download_is_kept_only_with_the_right_checksum(address):
    right = hashlib.sha256(b"smiles\nC\n").hexdigest()
    assert main(["data", "get", "web", "--url", address, "--sha256", "0" * 64]) == 2
    with pytest.raises(DataError):
        find("web")
    assert main(["data", "get", "web", "--url", address, "--sha256", right]) == 0
    assert find("web").read_bytes() == b"smiles\nC\n"
