"""Commands and services: right answers, and one sentence for each wrong one."""

import http.server
import json
import math
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, ObjectiveError
from mogen.objective import CommandObjective, HttpObjective, ObjectiveSet, check_objective, load_set

SOME = [Molecule.from_smiles(smiles) for smiles in ("CCO", "c1ccccc1")]
ANSWER = 'import sys, json; print(json.dumps({"version": 1, "payload": {"predictions": [%s]}}))'
LENGTHS = 'import sys, json; lines = sys.stdin.read().split(); print(json.dumps({"payload": {"size": [len(s) for s in lines]}}))'  # noqa: E501


def of_python(code: str, **options) -> CommandObjective:
    return CommandObjective([sys.executable, "-c", code], name="outside", worst=0, best=9, **options)


def test_a_command_keeps_its_promise():
    made = of_python(LENGTHS, prediction="size")
    assert made.evaluate(SOME).tolist() == [3, 8]
    assert made.evaluate([]).shape == (0,)
    check_objective(made, SOME)


def test_a_command_may_leave_values_open():
    values = of_python(ANSWER % "0.5, None").evaluate(SOME)
    assert values[0] == 0.5 and math.isnan(values[1])
    assert not ObjectiveSet([of_python(ANSWER % "0.5, None")])(SOME).is_valid[1]


def test_a_command_as_one_text_in_a_set(tmp_path):
    (tmp_path / "score.py").write_text(LENGTHS)
    init = {"name": "outside", "command": f"{sys.executable} '{tmp_path / 'score.py'}'", "prediction": "size"}
    found = load_set({"objectives": [{"name": "command", "worst": 0, "best": 10, "init": init}]})
    assert found(SOME).utility[:, 0].tolist() == [0.3, 0.8]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('no licence left')", "'outside' ended with code 1: no licence left"),
        ("import sys; sys.exit(7)", "ended with code 7: no message"),
        ("print('hello')", "numbers under payload.predictions, got 'hello'"),
        ("pass", "numbers under payload.predictions, got ''"),
        ("print('[1, 2]')", "payload.predictions"),
        ('print(\'{"payload": {"other": [1, 2]}}\')', "payload.predictions"),
        (ANSWER % "'high', 'low'", "payload.predictions"),
        (ANSWER % "1", "2 numbers, one per candidate, got 1"),
        (ANSWER % "1, 2, 3", "2 numbers, one per candidate, got 3"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 254]))", "UTF-8"),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9"),
    ],
)
def test_a_command_that_fails_is_one_sentence(code, said):
    with pytest.raises(ObjectiveError, match=said.replace("(", r"\(")) as caught:
        of_python(code).evaluate(SOME)
    assert "\n" not in str(caught.value)


def test_a_command_that_is_not_there():
    with pytest.raises(ObjectiveError, match=r"could not be run.*no_such_program"):
        CommandObjective("no_such_program -x", name="outside", worst=0, best=1).evaluate(SOME)
    with pytest.raises(ConfigError, match="a command for the objective 'outside', got ''"):
        CommandObjective("", name="outside", worst=0, best=1)
    with pytest.raises(ConfigError, match="timeout above 0"):
        of_python("pass", timeout=0)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_timeout_ends_the_command_and_all_it_started(tmp_path):
    pids = tmp_path / "pids"
    script = f"sleep 60 & (sleep 60; true) & echo $! $$ $(pgrep -P $$ | tr '\\n' ' ') > {pids}; wait"
    made = CommandObjective(["sh", "-c", script], name="outside", worst=0, best=1, timeout=1.0)
    start = time.monotonic()
    with pytest.raises(ObjectiveError, match="must answer within 1 seconds"):
        made.evaluate(SOME)
    assert time.monotonic() - start < 10
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(set(started)) >= 3
    deadline = time.monotonic() + 5
    while any(map(is_alive, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, started))


class Service(http.server.BaseHTTPRequestHandler):
    """Answers with the length of every candidate, or as its path says."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        values = [None if key == "CCO" and self.path == "/open" else len(key) for key in asked["candidates"]]
        body = {"version": 1, "payload": {"predictions": values[: 1 if self.path == "/short" else None]}}
        if self.path == "/slow":
            time.sleep(1.5)
        is_allowed = self.path != "/closed" or self.headers["X-Key"] == "secret"
        with suppress(BrokenPipeError):  # where nobody waits for the answer any more
            self.answer(200 if is_allowed and asked["version"] == 1 and self.path != "/broken" else 403, body)

    def answer(self, code: int, body: dict) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(b"hello" if self.path == "/garbage" else json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def service(url: str, **options) -> HttpObjective:
    return HttpObjective(url, name="service", worst=0, best=10, **options)


def test_a_service_keeps_its_promise(address):
    check_objective(service(address), SOME)
    assert service(address).evaluate(SOME).tolist() == [3, 8]
    assert service(address).evaluate([]).shape == (0,)
    assert service(f"{address}/open").evaluate(SOME).isnan().tolist() == [True, False]


def test_a_service_in_a_set_and_its_identity(address):
    init = {"name": "service", "url": f"{address}/closed", "headers": {"X-Key": "secret"}}
    found = load_set({"objectives": [{"name": "http", "worst": 0, "best": 10, "init": init}]})
    assert torch.equal(found(SOME).utility[:, 0], torch.tensor([0.3, 0.8], dtype=torch.float64))
    assert "secret" not in found.objectives[0].identity


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/broken", "/broken answered 403"),
        ("/closed", "/closed answered 403"),
        ("/garbage", "numbers under payload.predictions, got 'hello'"),
        ("/short", "2 numbers, one per candidate, got 1"),
        ("/slow", "gave no answer"),
    ],
)
def test_a_service_that_fails_is_one_sentence(address, path, said):
    with pytest.raises(ObjectiveError, match=said) as caught:
        service(address + path, timeout=0.5).evaluate(SOME)
    assert "\n" not in str(caught.value)


def test_a_service_that_is_not_there():
    with pytest.raises(ObjectiveError, match=r"http://127.0.0.1:9/ gave no answer"):
        service("http://127.0.0.1:9/").evaluate(SOME)
    with pytest.raises(ConfigError, match="http:// or https://"):
        service("file:///etc/passwd")
