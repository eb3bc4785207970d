import hashlib
import http.server
import threading
from functools import partial

import pytest

from mogen.cli.main import main
from mogen.dataset import find, listing
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


@pytest.mark.parametrize(
    ("url", "said"),
    [("nonsense", "http://, https://"), ("file:///etc/passwd", "http://, https://"), ("{}.nowhere", "404")],
)
def test_an_address_without_a_file_is_one_sentence(address, capsys, url, said):
    assert main(["data", "get", "web", "--url", url.format(address), "--sha256", "0" * 64]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mogen: error: ") and said in error
    with pytest.raises(DataError, match="mogen data import web FILE"):
        find("web")


def test_a_failed_download_leaves_the_old_file(address, tmp_path):
    (tmp_path / "x.csv").write_text("old\n")
    assert main(["data", "import", "web", str(tmp_path / "x.csv")]) == 0
    assert main(["data", "get", "web", "--url", address, "--sha256", "0" * 64]) == 2
    assert find("web").read_text() == "old\n"


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path):
    for name, content in (("x.csv", "old"), ("y.smi.gz", "new")):
        (tmp_path / name).write_text(content)
        assert main(["data", "import", "mine", str(tmp_path / name)]) == 0
    assert find("mine").name == "mine.smi.gz" and find("mine").read_text() == "new"
    assert [item.sha256 for item in listing() if item.name == "mine"] == [hashlib.sha256(b"new").hexdigest()]


def test_a_lost_checksum_is_no_disaster(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("smiles\n")
    assert main(["data", "import", "mine", str(tmp_path / "x.csv")]) == 0
    (find("mine").parent / "mine.sha256").write_text("")
    assert main(["data", "list"]) == 0
    assert "mine.csv" in capsys.readouterr().out


def test_the_folder_that_is_named_comes_first(tmp_path, monkeypatch):
    (tmp_path / "x.csv").write_text("cache")
    assert main(["data", "import", "mine", str(tmp_path / "x.csv")]) == 0
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("data")
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path / "data"))
    assert find("mine").read_text() == "data"
