"""One thread for torch, types checked at run time on demand, and a count of what was skipped."""

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

TYPED = ("mogen", "objectives", "samplers")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--typecheck", action="store_true", help="check the types and shapes of every call (beartype)")
    parser.addoption("--slow", action="store_true", help="also run tests that take minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "wrong_types: passes wrong types or shapes on purpose, so none are checked")
    config.addinivalue_line("markers", "slow: takes minutes, runs with --slow only")
    if config.getoption("--typecheck"):
        from jaxtyping import install_import_hook

        install_import_hook(TYPED, "type_checker.checked")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(autouse=True)
def _types_as_the_test_wants(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks no types in tests of what happens to wrong ones."""
    is_off = request.node.get_closest_marker("wrong_types") is not None
    if not (is_off and request.config.getoption("--typecheck")):
        yield
        return
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.write_line(f"{len(skipped)} tests skipped" if skipped else "no test skipped")
