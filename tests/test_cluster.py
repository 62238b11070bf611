"""What lies around Ray: options, folders anywhere, the journal, and the workers without Ray."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_runs import names, read, refine_folder, run
from hand_scenes import BOTH, PlateReconstructor, make_stages, picture_with
from PIL import Image

from handrefiner_ext import pipeline
from handrefiner_ext.cli.commands import DONE, FAILED, WRONG_USAGE
from handrefiner_ext.errors import PictureError, UsageError
from handrefiner_ext.files.naming import Job, plan
from handrefiner_ext.files.run import Recipe
from handrefiner_ext.files.sources import is_output
from handrefiner_ext.params import RefineParams

pytestmark = pytest.mark.usefixtures("tiny_stages")
PARAMS = RefineParams()
INSTALL = 'pip install -e ".[cluster]"'


# --- options


def test_without_ray_a_sentence_says_how_to_get_it(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refine_folder(pictures, tmp_path / "out", "--engine", "ray") == FAILED
    said = capsys.readouterr().err
    assert INSTALL in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--address", "auto"), "--address is for --engine ray"),
        (("--jobs", "two"), "--jobs: 'two' is not possible"),
        (("--engine", "ray", "--jobs", "0"), "--jobs: '0' is not possible"),
        (("--engine", "ray", "--jobs", "two"), "--jobs: 'two' is not possible"),
        (("--engine", "ray", "--url", "http://127.0.0.1:1"), "leave out it or --engine ray"),
        (("--depth_dir", "s3://bucket/d"), "--depth_dir takes an address with :// only with"),
    ],
)
def test_options_that_do_not_fit_together_are_wrong_usage(
    options, said, pictures, tmp_path, capsys
):
    assert refine_folder(pictures, tmp_path / "out", *options) == WRONG_USAGE
    assert said in capsys.readouterr().err


def test_ray_works_through_folders_only(pictures, tmp_path, capsys):
    picture = ("--input_img", pictures / "one.jpg", "--out_dir", tmp_path / "out")
    assert run("refine", *picture, "--engine", "ray") == WRONG_USAGE
    assert "give --input_dir" in capsys.readouterr().err


def test_an_address_is_not_written_into_what_is_read_from(tmp_path, capsys):
    same = ("--input_dir", "memory://a", "--out_dir", "memory://b", "--mask_dir", "memory://a/")
    assert run("refine", *same, "--engine", "ray") == WRONG_USAGE
    assert "--mask_dir must not be --input_dir" in capsys.readouterr().err


# --- what was seen travels


class BatchOfPlates(PlateReconstructor):
    """Counts how often it is asked; every hand of every picture at once."""

    asked = 0

    def reconstruct_all(self, hands, params):
        self.asked += 1
        return tuple(self.reconstruct(image, hand, params) for image, hand in hands)


@pytest.mark.parametrize("reconstructor", [PlateReconstructor, BatchOfPlates])
@pytest.mark.parametrize("refused", ["", "left"])
@pytest.mark.parametrize("chosen", ["all", "right"])
def test_what_was_seen_elsewhere_gives_the_same_result(reconstructor, refused, chosen):
    from handrefiner_ext.cluster.memory import find_hands, recall

    params = replace(PARAMS, hands=chosen)
    stages = make_stages(reconstructor=reconstructor(refuses=refused))
    images = [picture_with(hands) for hands in (BOTH, (), ("left half",))]
    seen = pickle.loads(pickle.dumps(find_hands(images, params, stages)))
    if reconstructor is BatchOfPlates:
        assert stages.reconstructor.asked == 1
    for image, remembered in zip(images, seen, strict=True):
        alone = pipeline.refine(image, params, stages)
        there = pipeline.refine(image, params, recall(remembered, stages))
        np.testing.assert_array_equal(there.image, alone.image)
        assert (there.image is image) == (alone.image is image)
        assert there.decisions == alone.decisions
        assert there.hints.refused == alone.hints.refused
        np.testing.assert_array_equal(there.hints.maps.control, alone.hints.maps.control)


def test_what_was_seen_of_another_picture_is_not_used():
    from handrefiner_ext.cluster.memory import find_hands, recall

    stages = make_stages()
    both, one = picture_with(BOTH), picture_with(("left half",))
    (seen,) = find_hands([one], PARAMS, stages)
    stages = replace(recall(seen, stages), detector=stages.detector)
    alone = pipeline.refine(both, PARAMS, make_stages())
    there = pipeline.refine(both, PARAMS, stages)
    np.testing.assert_array_equal(there.image, alone.image)
    assert [mesh.hand.number for mesh in there.hints.meshes] == [1, 2]


@pytest.mark.parametrize("reconstructor", [PlateReconstructor, BatchOfPlates])
@pytest.mark.parametrize("hands", ["all", "-1", "right"])
def test_a_drawn_mask_that_only_the_painter_reads_forces_its_hand_as_elsewhere(
    reconstructor, hands
):
    from handrefiner_ext.cluster.memory import find_hands, recall

    image = picture_with(("right half",), 200, 400)
    drawn = np.zeros((200, 400), bool)
    drawn[20:180, 50:130] = True
    params = RefineParams(mask="drawn", hands=hands)
    stages = make_stages(reconstructor=reconstructor())
    (seen,) = pickle.loads(pickle.dumps(find_hands([image], params, stages)))
    alone = pipeline.hints(image, params, stages, drawn)
    there = pipeline.hints(image, params, recall(seen, stages), drawn)
    assert [(m.hand.number, m.hand.assumed) for m in there.meshes] == [
        (m.hand.number, m.hand.assumed) for m in alone.meshes
    ]
    np.testing.assert_array_equal(there.maps.control, alone.maps.control)


# --- workers


@pytest.fixture
def workers(monkeypatch):
    """The module of the workers, with tiny stages."""
    pytest.importorskip("pyarrow", reason=f"needs {INSTALL}")
    pytest.importorskip("fsspec", reason=f"needs {INSTALL}")
    from handrefiner_ext.cluster import workers

    monkeypatch.setattr(workers, "build_stages", lambda params, home=None: make_stages())
    return workers


def make_run(pictures, out, urls=(), count=1, **folders):
    from handrefiner_ext.cluster.run import Cluster, FolderRun, list_sources, make_assignment
    from handrefiner_ext.cluster.store import StoreShelf, locate_folders
    from handrefiner_ext.files.sources import list_pictures as list_local

    urls = dict(urls)
    places = locate_folders({"out": out, **folders}, urls, count)
    if "source" in urls:
        sources = [each.source for each in list_sources(urls["source"]).pictures]
    else:
        sources = [path for path in list_local(pictures) if not is_output(path)]
    jobs = plan(sources, places.local.kinds(), StoreShelf(places))
    assignment = make_assignment(Recipe(PARAMS), places)
    return FolderRun(jobs, assignment, urls.get("source", str(pictures)), Cluster())


def settle(workers, a_run, finders=False):
    """All that is left of the run, by the workers' own code; the reports."""
    left = a_run.begin()
    block = workers.pack(job=list(left.values()))
    if finders:
        block = workers.Finder(a_run.assignment)(block)
    return workers.unpack(workers.Refiner(a_run.assignment)(block), "report")


@pytest.mark.parametrize("finders", [False, True])
def test_the_outputs_are_those_of_the_local_engine(pictures, tmp_path, workers, finders):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    out, alone = tmp_path / "out", tmp_path / "alone"
    maps = {what: tmp_path / what for what in ("depth", "mask", "pose")}
    for folder in (out, *maps.values()):
        folder.mkdir()
    reports = settle(workers, make_run(pictures, out, **maps), finders)
    more = [word for what in maps for word in (f"--{what}_dir", tmp_path / f"{what}1")]
    assert refine_folder(pictures, alone, *more) == FAILED
    for mine, theirs in ((out, alone), *((maps[m], tmp_path / f"{m}1") for m in maps)):
        wanted = (".png", ".json") if mine == maps["pose"] else (".png",)
        assert [path for path in names(mine) if path.endswith(wanted)] == names(theirs)
        for name in names(theirs):
            assert (mine / name).read_bytes() == (theirs / name).read_bytes()
    assert [r.source.name for r in reports if r.error] == ["broken.png"]


def test_several_outputs_of_a_picture_are_those_of_the_local_engine(pictures, tmp_path, workers):
    out, alone = tmp_path / "out", tmp_path / "alone"
    reports = settle(workers, make_run(pictures, out, {"out": f"file://{out}"}, count=2))
    assert refine_folder(pictures, alone, "--n_iter", "2") == DONE
    assert [path for path in names(out) if path.endswith(".png")] == names(alone)
    for name in names(alone):
        assert (out / name).read_bytes() == (alone / name).read_bytes()
    assert reports[0].output == f"file://{out}/both_0.png, file://{out}/both_1.png"
    assert [len(report.records) for report in reports] == [2, 2, 2]


def test_every_picture_has_a_row_and_the_journal_gives_way_to_the_manifest(
    pictures, tmp_path, workers
):
    from pyarrow import parquet

    from handrefiner_ext.cluster.journal import MANIFEST
    from handrefiner_ext.files.tries import FOLDER

    (pictures / "broken.png").write_bytes(b"GIF89a")
    (tmp_path / "out").mkdir()
    a_run = make_run(pictures, tmp_path / "out")
    settle(workers, a_run)
    half = tmp_path / "out" / ".handrefiner-123-456"
    half.write_bytes(b"of a worker that died while it was writing")
    assert list(a_run.work_through({})) == []
    assert not half.exists()
    assert not (tmp_path / "out" / FOLDER).exists()
    rows = parquet.read_table(tmp_path / "out" / MANIFEST).to_pylist()
    assert [row["picture"] for row in rows] == ["both.png", "broken.png", "none.png", "one.jpg"]
    assert [row["hands"] for row in rows] == [2, 0, 0, 1]
    assert [row["repainted"] for row in rows] == [2, 0, 0, 1]
    assert [row["error"] is None for row in rows] == [True, False, True, True]
    assert rows[1]["error"].startswith("broken.png ")
    assert [Path(row["output"]).name for row in rows] == [
        "both_0.png",
        "",
        "none_0.png",
        "one_0.png",
    ]
    assert len(rows[0]["said"]) == 2
    assert set(rows[0]) == {
        *("picture", "output", "hands", "repainted", "said", "error"),
        *("worker", "finished", "seconds", "log"),
    }


def test_what_is_recorded_is_not_done_again_and_what_failed_is(pictures, tmp_path, workers):
    (pictures / "broken.png").write_bytes(b"GIF89a")
    out = tmp_path / "out"
    out.mkdir()
    settle(workers, make_run(pictures, out))
    stamps = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    again = make_run(pictures, out)
    assert [job.source.name for job in again.begin().values()] == ["broken.png"]
    shutil.copy(pictures / "none.png", pictures / "broken.png")
    (report,) = settle(workers, again)
    assert report.error is None
    now = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert now.pop("broken_0.png")
    assert now == stamps
    assert make_run(pictures, out).begin() == {}


def test_pictures_of_one_name_keep_their_outputs_when_a_run_goes_on(pictures, tmp_path, workers):
    shutil.copy(pictures / "one.jpg", pictures / "both.jpg")
    out = tmp_path / "out"
    out.mkdir()
    outputs = [report.output for report in settle(workers, make_run(pictures, out))]
    assert len(set(outputs)) == 4
    assert make_run(pictures, out).begin() == {}


def test_pictures_beside_their_outputs_can_go_on_too(pictures, workers):
    assert len(settle(workers, make_run(pictures, pictures))) == 3
    assert make_run(pictures, pictures).begin() == {}


def test_a_block_that_comes_twice_is_done_once(pictures, tmp_path, workers):
    out = tmp_path / "out"
    out.mkdir()
    a_run = make_run(pictures, out)
    block = workers.pack(job=list(a_run.begin().values()))
    first = workers.unpack(workers.Refiner(a_run.assignment)(block), "report")
    stamps = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    second = workers.unpack(workers.Refiner(a_run.assignment)(block), "report")
    assert second == first
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")} == stamps


class Death(BaseException):
    """Ends a worker as a signal would: nothing catches it."""


def test_a_picture_that_kills_its_workers_is_left_alone_after_three(
    pictures, tmp_path, workers, monkeypatch
):
    out = tmp_path / "out"
    out.mkdir()
    deaths = []

    def die_over_one(job, recipe, repainter, folders):
        if job.source.name == "one.jpg":
            deaths.append(job)
            raise Death
        return refine(job, recipe, repainter, folders)

    refine = workers.refine_picture
    monkeypatch.setattr(workers, "refine_picture", die_over_one)
    a_run = make_run(pictures, out)
    block = workers.pack(job=list(a_run.begin().values()))
    for _ in range(workers.MOST_TRIES):
        with pytest.raises(Death):
            workers.Refiner(a_run.assignment)(block)
    *others, left_alone = workers.unpack(workers.Refiner(a_run.assignment)(block), "report")
    assert len(deaths) == workers.MOST_TRIES == 3
    assert [report.error for report in others] == [None, None]
    assert left_alone.error.startswith("one.jpg was left alone: 3 workers have died over it")
    (next_run,) = make_run(pictures, out).begin().values()
    assert next_run.source.name == "one.jpg"


def test_a_picture_that_kills_its_finders_is_left_to_the_painter(
    pictures, tmp_path, workers, monkeypatch
):
    def die(images, params, stages):
        if images:
            raise Death
        return []

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(workers, "find_hands", die)
    a_run = make_run(pictures, tmp_path / "out")
    block = workers.pack(job=list(a_run.begin().values()))
    for _ in range(workers.MOST_TRIES):
        with pytest.raises(Death):
            workers.Finder(a_run.assignment)(block)
    passed_on = workers.Finder(a_run.assignment)(block)
    assert workers.unpack(passed_on, "handover") == [None] * 3
    reports = workers.unpack(workers.Refiner(a_run.assignment)(passed_on), "report")
    assert [(r.hands, r.error) for r in reports] == [(2, None), (0, None), (1, None)]


def test_another_run_counts_its_own_tries(pictures, tmp_path, workers):
    (tmp_path / "out").mkdir()
    one, other = (make_run(pictures, tmp_path / "out").assignment.journal for _ in range(2))
    one.begin({})
    assert [one.count_try("a"), one.count_try("a"), one.count_try("b")] == [1, 2, 1]
    assert other.count_try("a") == 1


def test_an_unfinished_run_is_finished_with_its_own_settings_only(pictures, tmp_path, workers):
    (tmp_path / "out").mkdir()
    a_run = make_run(pictures, tmp_path / "out")
    a_run.begin()
    recipe = Recipe(replace(PARAMS, padding_bbox=7))
    other = replace(a_run, assignment=replace(a_run.assignment, recipe=recipe))
    with pytest.raises(UsageError, match="with padding_bbox 30 and not 7; finish it with that"):
        other.begin()
    assert len(a_run.begin()) == 3


def test_a_job_has_the_same_key_wherever_its_folder_is():
    pytest.importorskip("pyarrow", reason=f"needs {INSTALL}")
    from handrefiner_ext.files.tries import key_of

    keys = [
        key_of(Job(Path(folder, name), stem))
        for folder, name, stem in (
            ("a", "x.png", "x"),
            ("b/c", "x.png", "x"),
            ("a", "y.png", "x"),
            ("a", "x.png", "x_png"),
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_blocks_are_small_enough_to_keep_every_worker_busy(workers):
    from handrefiner_ext.cluster.run import choose_block

    assert [choose_block(n, 2) for n in (1, 100, 1000, 10**6)] == [1, 1, 7, 16]
    for count in (1, 7, 1000, 10**6):
        for number in (1, 2, 64):
            size = choose_block(count, number)
            assert size == 1 or count / size >= number * 16


# --- folders anywhere


@pytest.mark.parametrize("finders", [False, True])
def test_pictures_come_from_and_go_to_addresses(pictures, tmp_path, workers, finders):
    (pictures / "broken.png").write_bytes(b"GIF89a")
    places = {what: tmp_path / what for what in ("out", "depth", "pose")}
    out, depth, pose = places.values()
    urls = {"source": f"file://{pictures}"} | {w: f"file://{p}" for w, p in places.items()}
    nowhere = Path("nowhere")
    maps = {"depth": nowhere / "depth", "pose": nowhere / "pose", "mask": tmp_path}
    a_run = make_run(None, nowhere / "out", urls, **maps)
    reports = settle(workers, a_run, finders)
    alone = tmp_path / "alone"
    maps_alone = ("--depth_dir", tmp_path / "d", "--mask_dir", tmp_path / "m")
    refine_folder(pictures, alone, *maps_alone, "--pose_dir", tmp_path / "p")
    written = ((out, "alone"), (depth, "d"), (tmp_path, "m"), (pose, "p"))
    for mine, theirs in ((mine, tmp_path / theirs) for mine, theirs in written):
        assert names(theirs)
        for name in names(theirs):
            assert (mine / name).read_bytes() == (theirs / name).read_bytes()
    assert reports[0].output == f"file://{out}/both_0.png"
    assert reports[1].error.startswith("broken.png is not a picture that can be read")
    assert not nowhere.exists()


def test_a_store_keeps_what_it_was_given(workers):
    from handrefiner_ext.cluster.store import Store

    store = Store("memory://bucket/folder")
    assert store.names() == []
    store.make()
    store.write("b.png", b"two")
    store.write("a.png", b"one")
    store.inside("c").write("d", b"three")
    assert store.names() == ["a.png", "b.png"]
    assert (store.read("a.png"), store.inside("c").read("d")) == (b"one", b"three")
    assert store.holds("b.png")
    assert not store.holds("c.png")
    store.remove()
    assert store.names() == []


def test_a_journal_can_lie_in_an_object_store(workers):
    from handrefiner_ext.cluster.journal import MANIFEST, Journal
    from handrefiner_ext.cluster.store import Store

    journal = Journal(Store("memory://bucket/out"), "run")
    journal.begin({"seed": "1"})
    report = workers.Report(Path("a.png"), "s3://a_0.png", 1, 1, ("said",), None)
    journal.write("key", workers.make_row(report, 1.0))
    assert set(journal.finished()) == {"key"}
    assert workers.read_row(Job(Path("a.png"), "a"), journal.find("key")) == report
    journal.close(["key"])
    assert journal.out.names() == [MANIFEST]
    journal.out.remove()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://bucket", "nonsense://bucket is not the address of a folder"),
        ("file:///nowhere/at/all", "holds no files, or does not exist"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_sentence(url, said, workers):
    from handrefiner_ext.cluster.run import list_sources

    with pytest.raises(PictureError, match=said):
        list_sources(url)


def test_an_output_that_cannot_be_stored_fails_that_picture_alone(
    pictures, tmp_path, workers, monkeypatch
):
    from handrefiner_ext.cluster.store import Store

    urls = {"out": f"file://{tmp_path}/out"}
    a_run = make_run(pictures, Path("nowhere"), urls)
    write = Store.write

    def refuse_one(store, name, data):
        if name == "none_0.png":
            raise PictureError(f"{store.url}/{name} cannot be written: full.")
        write(store, name, data)

    monkeypatch.setattr(Store, "write", refuse_one)
    reports = {report.source.name: report for report in settle(workers, a_run)}
    assert reports["none.png"].error == f"file://{tmp_path}/out/none_0.png cannot be written: full."
    assert [reports[name].error for name in ("both.png", "one.jpg")] == [None, None]


def test_settings_name_every_parameter(pictures, tmp_path, workers):
    (tmp_path / "out").mkdir()
    a_run = make_run(pictures, tmp_path / "out")
    a_run.begin()
    text = (tmp_path / "out" / ".handrefiner_run" / "settings.json").read_text()
    said = json.loads(text)
    assert set(vars(PARAMS)) < set(said)
    assert said["input_dir"] == str(pictures)


# --- what people hand over comes back as they expect


def test_a_picture_that_was_replaced_while_a_run_lay_open_is_done_again(
    pictures, tmp_path, workers
):
    (tmp_path / "out").mkdir()
    settle(workers, make_run(pictures, tmp_path / "out"))
    Image.fromarray(picture_with(("left half",), 40)).save(pictures / "both.png")
    again = make_run(pictures, tmp_path / "out")
    assert [job.source.name for job in again.begin().values()] == ["both.png"]
    assert [report.hands for report in settle(workers, again)] == [1]
    assert read(tmp_path / "out" / "both_0.png").shape[0] == 40


def test_files_of_the_users_in_an_object_store_are_not_replaced(workers):
    from handrefiner_ext.cluster.store import Store

    source, out = Store("memory://bucket/mine/in"), Store("memory://bucket/mine/out")
    buffer = io.BytesIO()
    Image.fromarray(picture_with(BOTH)).save(buffer, "PNG")
    source.write("a.png", buffer.getvalue())
    out.write("a_0.png", b"a picture of the user's own")
    urls = {"source": source.url, "out": out.url}
    try:
        for _ in range(2):
            a_run = make_run(None, Path("nowhere"), urls)
            (job,) = a_run.jobs
            (report,) = settle(workers, a_run)
            assert out.read("a_0.png") == b"a picture of the user's own"
            assert "a_0.png was not made from this picture and is kept" in job.note
            assert report.output == f"{out.url}/a_png_0.png"
            list(a_run.work_through({}))
        assert [name for name in out.names() if name.endswith("png")] == ["a_0.png", "a_png_0.png"]
    finally:
        Store("memory://bucket/mine").remove()


def test_a_name_that_is_not_utf_8_has_a_row(pictures, tmp_path, workers):
    from pyarrow import parquet

    from handrefiner_ext.cluster.journal import MANIFEST

    bad = os.path.join(os.fsencode(pictures), b"\x8e\xe8.png")
    try:
        shutil.copy(pictures / "both.png", bad)
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")
    (tmp_path / "out").mkdir()
    a_run = make_run(pictures, tmp_path / "out")
    assert [report.error for report in settle(workers, a_run)] == [None] * 4
    assert make_run(pictures, tmp_path / "out").begin() == {}
    assert list(a_run.work_through({})) == []
    rows = parquet.read_table(tmp_path / "out" / MANIFEST).to_pylist()
    assert [row["picture"] for row in rows] == [
        "both.png",
        "none.png",
        "one.jpg",
        "\ufffd\ufffd.png",
    ]
