"""Reports of protein conformations: files, figures, traces, and the page in a browser."""

from __future__ import annotations

import base64
import math
import re
import shutil
from pathlib import Path

import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, atoms_of, read_backbone, write_backbones
from mogen.experiment import Experiment, FinalSampling
from mogen.objective import ObjectiveSet
from mogen.report.structure import draw_trace, label, parse_backbone
from objectives.structure import EndToEnd, RadiusOfGyration
from samplers.baseline.conformation import (
    BestOfN,
    ElasticModes,
    InputStructure,
    NoiseNSGA2,
    NoiseSweep,
    TorsionNoise,
)
from samplers.diffusion import so3
from samplers.str2str import Str2StrSampler
from samplers.str2str.protocol import Protocol
from samplers.str2str.steering import Steering


def chain(n: int = 14, bend: float = 100.0) -> Backbone:
    """A helix of ideal residues."""
    turn = torch.arange(n) * math.radians(bend)
    spin = so3.exp(torch.stack((torch.zeros(n), torch.zeros(n), turn), -1)) @ so3.exp(torch.tensor([0.4, 0.9, -0.3]))
    origins = torch.stack((2.3 * turn.cos(), 2.3 * turn.sin(), 1.5 * torch.arange(n)), -1)
    atoms = atoms_of(spin, origins, torch.tensor([0.6, 0.8]).expand(n, 2))[:, :4]
    return Backbone.of(atoms, Residues.numbered("ACDEFGHIKLMNPQRSTVWY"[:n]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run of an untrained network beside every baseline."""
    folder = tmp_path_factory.mktemp("structures")
    write_backbones(folder / "in.pdb", [chain()])
    sampler = Str2StrSampler(
        input=str(folder / "in.pdb"),
        size="tiny",
        protocol=Protocol((0.1,), steps=2, method="euler"),
        steering=Steering(particles=2, groups=2, looks=1),
    )
    sampler.network = sampler.build()
    kinds = (InputStructure, BestOfN, NoiseSweep, ElasticModes, TorsionNoise, NoiseNSGA2)
    objectives = [RadiusOfGyration(worst=20, best=0), EndToEnd(worst=0, best=60)]
    experiment = Experiment(
        ObjectiveSet(objectives, name="shape"),
        sampler,
        budget=12,
        baselines={kind.__name__: kind(sampler, 4) for kind in kinds},
        out=folder / "run",
        final=FinalSampling(2, 1),
        progress=False,
    )
    experiment.run()
    return folder / "run"


def test_every_method_asked_for_conformations(finished):
    import pandas as pd

    table = pd.read_parquet(finished / "candidates.parquet")
    asked = table.groupby("method").size().to_dict()
    assert asked.pop("InputStructure") == 1 and set(asked.values()) == {12} and len(asked) == 6
    known = {name: group["candidate"].nunique() for name, group in table.groupby("method")}
    assert all(known[name] == count for name, count in asked.items())


def test_the_front_lies_there_as_pdb_files(finished):
    import pandas as pd

    front = pd.read_csv(finished / "front.csv")
    files = sorted((finished / "front").glob("*.pdb"))
    assert len(files) == len(front) > 1
    assert {read_backbone(path).key for path in files} == set(front["candidate"])
    for name in ("ramachandran.png", "distances.png"):
        assert (finished / name).read_bytes()[:4] == b"\x89PNG"


def test_the_page_shows_traces_figures_and_names_and_no_keys(finished):
    page = (finished / "report.html").read_text()
    assert "front/0001.pdb" in page and "Structures of the front" in page
    for name in ("ramachandran", "distances"):
        assert f'<img alt="{name}.png" src="data:image/png;base64,' in page
    key = read_backbone(finished / "front" / "0001.pdb").key
    assert key not in page and key.partition("|")[2] not in page


def test_a_trace_is_a_picture_with_every_residue_in_the_frame():
    drawn = draw_trace(chain().key, chain(bend=80.0))
    assert drawn is not None and drawn.startswith("data:image/svg+xml;base64,")
    text = base64.b64decode(drawn.partition(",")[2]).decode()
    points = [
        tuple(map(float, item)) for item in re.findall(r"(-?[\d.]+) (-?[\d.]+)", re.sub(r"viewBox='[^']*'", "", text))
    ]
    assert len(points) > 13 and all(0 <= x <= 260 and 0 <= y <= 180 for x, y in points)
    assert draw_trace("CCO") is None and parse_backbone("A|nonsense") is None
    assert label("CCO") == "CCO" and label(chain().key).startswith("14 residues, ")


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(not (BROWSER and shutil.which("chromedriver")), reason="no chromium with chromedriver here")
def test_the_pointer_shows_a_trace_in_a_browser(finished, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1200"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path}")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.get((finished / "report.html").as_uri())
        wait = WebDriverWait(driver, 30)
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, "#front .points path.point"))
        script = """
            const plot = document.getElementById('front');
            plot.scrollIntoView({block: 'center', behavior: 'instant'});
            const place = plot.data.findIndex(trace => trace.name === arguments[0]);
            const box = plot.querySelectorAll('.scatterlayer .trace')[place].querySelector('path.point')
                .getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        """
        x, y = driver.execute_script(script, "mogen")
        for step in (4, 1, 0):
            driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x + step, "y": y})
        image = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "#panel img"))
        wait.until(lambda _: int(image.get_property("naturalWidth")) > 0)
        assert image.get_attribute("alt") in driver.find_element(By.ID, "panel").text
        driver.save_screenshot(str(finished / "page.png"))
        section = driver.find_element(By.ID, "structures")
        driver.execute_script("arguments[0].scrollIntoView()", section)
        driver.save_screenshot(str(finished / "figures.png"))
        sizes = [image.size["width"] for image in section.find_elements(By.TAG_NAME, "img")]
        assert len(sizes) == 2 and min(sizes) > 300
        driver.find_element(By.CSS_SELECTOR, "#front-table tbody tr").click()
        assert "front/0001.pdb" in driver.find_element(By.ID, "front-table").text
    finally:
        driver.quit()
