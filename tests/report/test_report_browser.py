"""The page in a real browser, offline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.webdriver.common.by import By  # noqa: E402 - only where selenium is installed
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromedriver on this machine")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1200",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, written_report: Path) -> webdriver.Chrome:
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(written_report.as_uri())
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#front .points path.point"))
    return browser


def hover(page: webdriver.Chrome, trace: int) -> None:
    """Rests the pointer on the first point of a trace, as a hand would: by real mouse events."""
    script = """
        const plot = document.getElementById('front');
        plot.scrollIntoView({block: 'center', behavior: 'instant'});
        const points = plot.querySelectorAll('.scatterlayer .trace')[arguments[0]].querySelectorAll('path.point');
        const box = points[0].getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    """
    x, y = page.execute_script(script, trace)
    for step in (4, 1, 0):
        page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x + step, "y": y})


def severe(page: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def drawn(page: webdriver.Chrome) -> dict[str, str]:
    """What the panel shows once its drawing is there; read at once, since the panel may be filled anew at any time."""
    script = """
        const image = document.querySelector("#panel img"), key = document.querySelector("#panel .key");
        return image && key && image.naturalWidth > 0 ? {key: key.innerText, alt: image.alt} : null;
    """
    found: dict[str, str] = WebDriverWait(page, 15).until(lambda driver: driver.execute_script(script))
    return found


def test_resting_on_a_point_shows_its_drawing(page: webdriver.Chrome) -> None:
    Select(page.find_element(By.ID, "view")).select_by_value("pair")
    page.execute_script("document.getElementById('others').click()")
    hover(page, 0)
    assert drawn(page)["key"] == drawn(page)["alt"] != ""
    assert "<script>alert(1)</script>" in page.find_element(By.ID, "panel").text
    assert severe(page) == []


def test_candidates_of_a_baseline_are_drawn_too(page: webdriver.Chrome) -> None:
    Select(page.find_element(By.ID, "view")).select_by_value("pair")
    names = page.execute_script("return document.getElementById('front').data.map(trace => trace.name)")
    hover(page, names.index("graph_ga"))
    WebDriverWait(page, 15).until(lambda driver: "graph_ga" in driver.find_element(By.ID, "panel").text)
    drawn(page)
    assert severe(page) == []


def test_both_curves_of_diversity_are_there(page: webdriver.Chrome) -> None:
    heights = []
    for whose in ("front", "everything"):
        Select(page.find_element(By.ID, "whose")).select_by_value(whose)
        assert len(page.find_elements(By.CSS_SELECTOR, "#spread .scatterlayer .trace")) == 4
        heights.append(page.execute_script("return Array.from(document.getElementById('spread').data[0].y)"))
    assert heights[0] != heights[1] and all(0 < value < 1 for curve in heights for value in curve)
    assert severe(page) == []


def test_less_is_sorted_first_where_less_is_better(page: webdriver.Chrome) -> None:
    heading = page.find_elements(By.CSS_SELECTOR, "#front-table th")[3]
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", heading)
    heading.click()
    assert heading.text.startswith("sa") and heading.get_attribute("aria-sort") == "ascending"


def test_clicking_a_heading_sorts_both_ways(page: webdriver.Chrome) -> None:
    column = "return [...document.querySelectorAll('#front-table tbody tr')].map(row => +row.cells[2].dataset.value)"
    heading = page.find_elements(By.CSS_SELECTOR, "#front-table th")[2]
    before = page.execute_script(column)
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", heading)
    heading.click()
    assert page.execute_script(column) == sorted(before, reverse=True) != before
    assert heading.get_attribute("aria-sort") == "descending"
    heading.click()
    assert page.execute_script(column) == sorted(before)
    assert severe(page) == []


def test_every_view_draws_without_errors(page: webdriver.Chrome) -> None:
    for scale in ("utility", "raw"):
        page.execute_script("document.getElementById('scale').value = arguments[0]", scale)
        for view in ("parallel", "pair"):
            Select(page.find_element(By.ID, "view")).select_by_value(view)
            assert page.find_elements(By.CSS_SELECTOR, "#front .scatterlayer .trace")
    Select(page.find_element(By.ID, "view")).select_by_value("space")
    assert page.find_elements(By.CSS_SELECTOR, "#front .gl-container")
    assert len(page.find_elements(By.CSS_SELECTOR, "#curve .scatterlayer .trace")) == 4
    assert severe(page) == []


def test_nothing_is_fetched_and_nothing_injected_runs(page: webdriver.Chrome) -> None:
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
    ]
    assert [address for address in addresses if not address.startswith(("file:", "data:", "blob:"))] == []
    assert addresses
    titles = {button.get_attribute("data-title") for button in page.find_elements(By.CSS_SELECTOR, ".modebar-btn")}
    assert titles
    assert not any("share" in str(title).lower() for title in titles)
    assert not page.find_elements(By.CSS_SELECTOR, "img[src='x']")
