# SPDX-License-Identifier: Apache-2.0
"""Images, pictures and reports of a finished run."""

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.api.conftest import House, Person
from tests.api.seeded import Seeds, finished_run, seed

from radproof.api.http.problems import Problem
from radproof.api.results.finished import scrubbed
from radproof.api.results.images import Filters, run_images
from radproof.api.results.pictures import within
from radproof.api.results.reports import safe
from radproof.api.results.table import read_rows
from radproof.store.ids import new_id
from radproof.store.tables import Run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def seeds(house: House, folder: Path) -> Seeds:
    return seed(house, folder)


@pytest.fixture
def viewer(house: House) -> Person:
    return house.person("viewer")


@pytest.fixture
def home(house: House, seeds: Seeds) -> Path:
    return house.service.settings.folder("runs", seeds.run)


def test_images_page_by_page_are_the_rows_of_the_table(viewer: Person, seeds: Seeds, folder: Path) -> None:
    rows = pd.read_parquet(folder / "rows.parquet")
    expected = rows[rows["column"] != "clean"]
    found, cursor = [], ""
    while cursor is not None:
        page = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?limit=7&cursor={cursor}").json()
        found += page["items"]
        assert page["total"] == len(expected)
        cursor = page["next"]
    assert len({one["id"] for one in found}) == len(found) == len(expected)
    for one, row in zip(found, expected.to_dict("records"), strict=True):
        clean = rows[
            (rows["column"] == "clean") & (rows["sample"] == row["sample"]) & (rows["defense"] == row["defense"])
        ].iloc[0]
        same = ("sample", "truth", "attack", "goal", "budget", "made_on", "defense", "column")
        assert {name: one[name] for name in same} == {name: row[name] for name in same}
        assert (one["clean_answer"], one["attacked_answer"]) == (clean["answer"], row["answer"])
        p = np.exp(row["logits"] - row["logits"].max())
        assert one["attacked_confidence"] == pytest.approx(p.max() / p.sum(), abs=1e-5)
        assert one["attacked_in_truth"] == pytest.approx(row["confidence"], abs=1e-5)
        assert one["linf"] == pytest.approx(row["linf"], abs=1e-5)
        outcome = "wrong_before" if not row["clean_right"] else "fooled" if row["reached"] else "held"
        assert (one["outcome"], one["fooled"]) == (outcome, outcome == "fooled")


@pytest.mark.parametrize(
    ("name", "column"), [("attack", "attack"), ("budget", "budget"), ("goal", "goal"), ("defense", "defense"),
                         ("made_on", "made_on"), ("label", "truth"), ("outcome", None), ("sample", "sample")],
)  # fmt: skip
def test_filters_and_counts(viewer: Person, seeds: Seeds, folder: Path, name: str, column: str | None) -> None:
    rows = pd.read_parquet(folder / "rows.parquet")
    rows = rows[rows["column"] != "clean"]
    rows["outcome"] = np.where(~rows["clean_right"], "wrong_before", np.where(rows["reached"], "fooled", "held"))
    first = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?limit=100").json()
    for value, group in rows.groupby(column or "outcome"):
        page = viewer.client.get(f"/api/v1/runs/{seeds.run}/images", params={name: value, "limit": 100}).json()
        assert page["total"] == len(page["items"]) == len(group)
        if name != "sample":
            assert {"value": value, "count": len(group)} in first["facets"][name]
    assert viewer.client.get(f"/api/v1/runs/{seeds.run}/images", params={name: "none such"}).json().get("total", 0) == 0


def test_outcomes_at_every_budget(house: House, seeds: Seeds, folder: Path) -> None:
    rows = pd.read_parquet(folder / "rows.parquet")
    with house.service.database.reading() as session:
        images = run_images(house.service.settings, session.get(Run, seeds.run))
    for label in sorted(set(rows["truth"])):
        chosen = rows[(rows["column"] == "oblivious") & (rows["defense"] == "none") & (rows["truth"] == label)]
        chosen = chosen[chosen["goal"] == "misclassify"]
        told = images.outcome_by_budget(
            Filters(label=label, attack="pgd", goal="misclassify", defense="none", made_on="model", budget="x")
        )
        assert [one.budget for one in told] == ["1/255", "16/255"]
        for one in told:
            own = chosen[chosen["budget"] == one.budget]
            assert one.images == len(own) == one.fooled + one.held + one.wrong_before
            assert one.fooled == (own["clean_right"] & own["reached"]).sum()


def test_neighbours_and_budgets_of_one_image(viewer: Person, seeds: Seeds) -> None:
    page = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?defense=none&limit=5").json()["items"]
    at = f"/api/v1/runs/{seeds.run}/images"
    told = viewer.client.get(f"{at}/{page[1]['id']}?defense=none").json()
    assert (told["before"], told["image"]["id"], told["after"]) == (page[0]["id"], page[1]["id"], page[2]["id"])
    assert viewer.client.get(f"{at}/{page[0]['id']}?defense=none").json()["before"] is None
    assert [one["budget"] for one in told["budgets"]] == ["1/255", "16/255"]
    assert {one["sample"] for one in told["budgets"]} == {told["image"]["sample"]}
    assert viewer.client.get(f"{at}/{'0' * 16}-{'0' * 8}").status_code == 404


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(int)


def test_pictures_are_those_of_the_run(viewer: Person, seeds: Seeds, folder: Path) -> None:
    page = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?budget=16/255&limit=1").json()["items"][0]
    at = f"/api/v1/runs/{seeds.run}/images/{page['id']}"
    shown = {kind: viewer.client.get(f"{at}/{kind}.png") for kind in ("original", "attacked", "difference")}
    assert {one.headers["content-type"] for one in shown.values()} == {"image/png"}
    before, after, between = (pixels(shown[kind].content) for kind in ("original", "attacked", "difference"))
    rows = pd.read_parquet(folder / "rows.parquet")
    row = rows[(rows["sample"] == page["sample"]) & (rows["budget"] == "16/255") & (rows["defense"] == "none")].iloc[0]
    assert (after == pixels((folder / row["file"]).read_bytes())).all()
    assert 0 < np.abs(after - before).max() <= 16
    factor = float(shown["difference"].headers["x-amplified"])
    assert factor == pytest.approx(page["amplified"], rel=1e-3)
    assert np.abs(between - np.rint(((after - before) / 255 * factor + 0.5).clip(0, 1) * 255)).max() <= 1
    again = viewer.client.get(f"{at}/attacked.png", headers={"If-None-Match": shown["attacked"].headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    stored = viewer.client.get(f"{at}/attacked.png?stored=1")
    assert hashlib.sha256(stored.content).hexdigest() == row["sha256"]
    assert "attachment" in stored.headers["content-disposition"]


def test_the_gallerys_pictures_are_there_and_others_are_drawn_when_asked_for(
    viewer: Person, seeds: Seeds, folder: Path
) -> None:
    gallery = json.loads((folder / "result.json").read_text())["gallery"]
    page = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?limit=100").json()["items"]
    rich = [one for one in page if "cam_after" in one["kinds"]]
    assert {(one["sample"], one["budget"]) for one in rich} == {(one["sample"], one["budget"]) for one in gallery}
    assert rich
    for kind in rich[0]["kinds"]:
        assert viewer.client.get(f"/api/v1/runs/{seeds.run}/images/{rich[0]['id']}/{kind}.png").status_code == 200
    assert all({*one["kinds"]} | {*one["drawn"]} == {*rich[0]["kinds"]} for one in page)
    assert not any({*one["kinds"]} & {*one["drawn"]} for one in page)
    told = viewer.client.get(f"/api/v1/runs/{seeds.run}/images/{page[0]['id']}/cam_after.png?stored=1")
    assert (told.status_code, "are stored" in told.json()["detail"]) == (404, True)


def test_16_bit_grey_levels_are_shown_by_the_declared_top(
    house: House, viewer: Person, seeds: Seeds, home: Path
) -> None:
    rows = pq.read_table(home / "rows.parquet").to_pandas()
    at = rows.index[(rows["column"] == "oblivious") & (rows["defense"] == "none")][0]
    deep = np.linspace(0, 4000, 32 * 32).astype(np.uint16).reshape(32, 32)
    stream = io.BytesIO()
    Image.fromarray(deep).save(stream, "PNG")
    replace(home / rows.loc[at, "file"], stream.getvalue())
    rows.loc[at, "sha256"] = hashlib.sha256(stream.getvalue()).hexdigest()
    write_table(home / "rows.parquet", rows)
    file = next((home / "data").glob("*/manifest.parquet"))
    table = pq.read_table(file)
    tops = [4000 if name == rows.loc[at, "sample"] else 0 for name in table["id"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("top"), "top", pa.array(tops, pa.int32()))
    file.unlink()
    pq.write_table(table, file)
    name = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?sample={rows.loc[at, 'sample']}&defense=none").json()
    one = name["items"][0]["id"]
    shown = pixels(viewer.client.get(f"/api/v1/runs/{seeds.run}/images/{one}/attacked.png").content)
    assert (shown == np.rint(deep / 4000 * 255)).all()
    stored = viewer.client.get(f"/api/v1/runs/{seeds.run}/images/{one}/attacked.png?stored=true").content
    assert pixels(stored).max() == 4000


def replace(path: Path, content: bytes) -> None:
    """The file is shared with other tests' runs: it is not written into."""
    path.unlink()
    path.write_bytes(content)


def write_table(path: Path, rows: pd.DataFrame) -> None:
    path.unlink()
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path)


def first(viewer: Person, seeds: Seeds) -> tuple[str, dict]:
    one = viewer.client.get(f"/api/v1/runs/{seeds.run}/images?defense=none&limit=1").json()["items"][0]
    return f"/api/v1/runs/{seeds.run}/images/{one['id']}", one


def test_a_picture_that_was_changed_since_is_not_shown(viewer: Person, seeds: Seeds, home: Path) -> None:
    at, one = first(viewer, seeds)
    path = next(home.glob(f"images/*/{one['sample']}.png"))
    content = path.read_bytes()
    replace(path, content + b"x")
    told = viewer.client.get(f"{at}/attacked.png")
    assert (told.status_code, "changed" in told.json()["detail"]) == (404, True)
    assert str(home) not in told.text


def test_web_a_symlink_in_a_runs_folder_is_refused(viewer: Person, seeds: Seeds, home: Path, tmp_path: Path) -> None:
    at, one = first(viewer, seeds)
    for path in home.glob(f"images/*/{one['sample']}.png"):
        outside = tmp_path / f"{path.parent.name}.png"
        outside.write_bytes(path.read_bytes())
        path.unlink()
        path.symlink_to(outside)
    assert viewer.client.get(f"{at}/attacked.png").status_code == 404
    folder = home / "images"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert viewer.client.get(f"{at}/attacked.png").status_code == 404
    report = home / "report.html"
    report.unlink()
    report.symlink_to("/etc/passwd")
    assert viewer.client.get(f"/api/v1/runs/{seeds.run}/report.html").status_code == 404


@pytest.mark.parametrize(
    "file", ["../x", "a/../../x", "/etc/passwd", "a\0b", ".", "link", "dir", "none", "..", "%2e%2e/x"]
)
def test_web_traversal_in_a_file_name_of_a_table_is_refused(tmp_path: Path, file: str) -> None:
    base = tmp_path / "base"
    (base / "dir").mkdir(parents=True)
    (tmp_path / "x").write_text("secret")
    (base / "link").symlink_to(tmp_path / "x")
    with pytest.raises(Problem) as told:
        within(base, file)
    assert told.value.status == 404
    (base / "good.png").write_text("")
    assert within(base, "dir/../good.png") == base / "good.png"


@pytest.mark.parametrize(
    "image",
    ["..", "%2e%2e", "..;", "..%2f..%2fresult.json", "%00", "a\\b", "0" * 5000, "0" * 16, f"{'0' * 16}-{'0' * 8}", "é"],
)
def test_web_traversal_in_an_images_name_finds_nothing(viewer: Person, seeds: Seeds, image: str) -> None:
    for suffix in ("", "/original.png"):
        found = viewer.client.get(f"/api/v1/runs/{seeds.run}/images/{image}{suffix}")
        assert found.status_code in (400, 404, 414) or "items" in found.json() or found.json()["id"] == seeds.run


def test_the_result_is_json_with_a_tag_and_without_paths(
    house: House, viewer: Person, seeds: Seeds, home: Path
) -> None:
    document = json.loads((home / "result.json").read_text())
    document["plan"]["model"]["path"] = str(house.service.settings.folder("models", seeds.model) / "model.onnx")
    document["plan"]["data"]["path"] = f"/mnt/of-a-worker/home/data/{seeds.data}"
    replace(home / "result.json", json.dumps(document).encode())
    found = viewer.client.get(f"/api/v1/runs/{seeds.run}/result")
    assert found.json()["plan"]["model"]["path"] == f"models/{seeds.model}/model.onnx"
    assert str(house.service.settings.home) not in found.text
    assert "/mnt" not in found.text
    again = viewer.client.get(f"/api/v1/runs/{seeds.run}/result", headers={"If-None-Match": found.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('"/srv/home/models/{0}/a.onnx"', '"models/{0}/a.onnx"'),
        ("cannot read /srv/home/secret.key", "cannot read secret.key"),
        ("in /elsewhere/runs/{0}: no", "in runs/{0}: no"),
        ("/x/y/data/{0} and /z/data/{0}", "data/{0} and data/{0}"),
        ("models/{0}", "models/{0}"),
        ("/usr/lib/python", "/usr/lib/python"),
        ("a/models/{0}", "a/models/{0}"),
    ],
)
def test_paths_are_taken_out_of_texts(text: str, left: str) -> None:
    name = new_id("mdl")
    assert scrubbed(text.format(name), Path("/srv/home")) == left.format(name)


def test_web_regex_dos_paths_are_taken_out_in_linear_time() -> None:
    long = "/" * 2_000_000 + "a/" * 1_000_000 + "models/mdl_"
    assert scrubbed(long, Path("/srv")) == long
    many = f"/a/models/{new_id('mdl')} " * 20_000
    assert "/a/" not in scrubbed(many, Path("/srv"))


def test_reports_in_every_format(viewer: Person, seeds: Seeds, home: Path) -> None:
    kinds = {"html": "text/html", "json": "application/json", "csv": "text/csv", "md": "text/markdown",
             "junit.xml": "application/xml", "sarif": "application/sarif+json"}  # fmt: skip
    for form, media in kinds.items():
        found = viewer.client.get(f"/api/v1/runs/{seeds.run}/report.{form}")
        assert (found.status_code, found.headers["content-type"].split(";")[0]) == (200, media)
        assert f'filename="{seeds.run}.{form}"' in found.headers["content-disposition"]
        assert str(home.parent.parent) not in found.text
        again = viewer.client.get(
            f"/api/v1/runs/{seeds.run}/report.{form}", headers={"If-None-Match": found.headers["etag"]}
        )
        assert again.status_code == 304
    page = viewer.client.get(f"/api/v1/runs/{seeds.run}/report.html")
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert viewer.client.get(f"/api/v1/runs/{seeds.run}/report.docx").status_code == 422
    told = viewer.client.get(f"/api/v1/runs/{seeds.run}/report.pdf")
    assert (told.status_code, "PDF" in told.json()["detail"]) == (404, True)
    for name in ("gate.sarif", "gate.junit.xml"):
        (home / name).unlink()
        told = viewer.client.get(f"/api/v1/runs/{seeds.run}/report.{name.removeprefix('gate.')}")
        assert (told.status_code, "gate" in told.json()["detail"]) == (404, True)


def test_csv_formula_injection_and_patients_are_kept_out_of_the_table(viewer: Person, seeds: Seeds, home: Path) -> None:
    rows = pq.read_table(home / "rows.parquet").to_pandas()
    rows["truth"] = "=cmd|'/c calc'!A1"
    rows["answer"] = ["@x", "+1", "-1", "\tx"] * (len(rows) // 4) + ["-1"] * (len(rows) % 4)
    before = rows["patient"].tolist()
    write_table(home / "rows.parquet", rows)
    text = viewer.client.get(f"/api/v1/runs/{seeds.run}/report.csv").text
    found = list(csv.DictReader(io.StringIO(text)))
    assert len(found) == len(rows)
    assert {one["truth"] for one in found} == {"'=cmd|'/c calc'!A1"}
    assert {one["answer"][0] for one in found} == {"'"}
    assert not any(patient in text for patient in before)
    told = [one["patient"] for one in found]
    assert len(set(zip(before, told, strict=True))) == len(set(before)) == len(set(told))
    assert float(found[-1]["confidence"]) == pytest.approx(rows["confidence"].iloc[-1])


def test_cells_that_are_no_formulas_stay() -> None:
    assert [safe(text) for text in ("", "Normal", "4/255", "=1", "-1")] == ["", "Normal", "4/255", "'=1", "'-1"]


def test_a_run_without_a_result_says_so(house: House, viewer: Person) -> None:
    bare = seed(house, None)
    for path in ("result", "report.html", "report.csv", "images", f"images/{'0' * 16}-{'0' * 8}/original.png"):
        found = viewer.client.get(f"/api/v1/runs/{bare.run}/{path}")
        assert (found.status_code, "no result" in found.json()["detail"]) == (404, True)


def test_a_damaged_table_is_no_failure_of_the_server(viewer: Person, seeds: Seeds, home: Path) -> None:
    replace(home / "rows.parquet", b"PAR1 nothing")
    for path in ("images", "report.csv"):
        assert viewer.client.get(f"/api/v1/runs/{seeds.run}/{path}").status_code == 404


def test_several_findings_and_two_scorers_of_one_image_are_told_apart(tmp_path: Path) -> None:
    base = {
        "sample": "0" * 16, "job": "pgd_1a2b3c4d", "goal": "", "budget": "", "made_on": "model", "answer": "A",
        "file": "images/x.png", "sha256": "", "eps": 0.0, "confidence": 0.5, "linf": 0.1, "ssim": np.nan, "right": True,
        "clean_right": True, "reached": False, "logits": [2.0, -2.0], "truth": "A|B", "attack": "blur",
    }  # fmt: skip
    rows = [
        {**base, "column": column, "defense": defense, "file": "" if column == "clean" else base["file"]}
        for column in ("clean", "corruption")
        for defense in ("none", "jpeg")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    table = read_rows(tmp_path / "rows.parquet", "sigmoid", ())
    found = [table.row(int(at)) for at in table.where({"label": "B"})]
    assert len({one["id"] for one in found}) == 2
    assert table.counts("label", {}) == [("A", 2), ("B", 2)]
    assert {one["amplified"] for one in found} == {5.0}
    assert found[0]["ssim"] is None
    assert found[0]["attacked_confidence"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-5)
