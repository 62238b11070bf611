"""Our routes, on a small application of their own."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from dataclasses import asdict, fields
from threading import Lock

import numpy as np
import pytest
from hand_scenes import BOTH, PlateReconstructor, hold_tiny_backends, make_stages, picture_with
from PIL import Image

import handrefiner_ext
from handrefiner_ext import pipeline
from handrefiner_ext.errors import BackendUnavailable, InvalidParameter
from handrefiner_ext.knobs import WEBUI
from handrefiner_ext.params import RefineParams, fields_of
from handrefiner_ext.registry import Registry
from handrefiner_ext.types import Given

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from api_client import ask, make_client, to_array, to_text

from handrefiner_ext.api import routes
from handrefiner_ext.api.routes import PREFIX
from handrefiner_ext.api.worker import ControlModel, ModelList, Services

SHOWN = [f.name for f in fields_of(WEBUI)]


@pytest.fixture
def held(monkeypatch):
    return hold_tiny_backends(monkeypatch)


@pytest.fixture
def client(held):
    return make_client()


@pytest.fixture
def picture():
    return picture_with(BOTH)


def get(client, path):
    answer = client.get(PREFIX + path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_version_says_who_answers(client):
    said = get(client, "/version")
    assert said == {"version": handrefiner_ext.__version__, "host": "none", "computes": True}


def test_the_schema_says_of_every_parameter_what_the_code_says(client):
    said = {entry["name"]: entry for entry in get(client, "/schema")["parameters"]}
    assert set(said) == {*asdict(RefineParams()), "drawn_mask", "depth_in"}
    for f in fields(RefineParams):
        knob, entry = f.metadata["knob"], said[f.name]
        assert entry["default"] == f.default
        assert (entry["label"], entry["help"]) == (knob.label, knob.help)
        assert (entry["minimum"], entry["maximum"], entry["step"]) == (knob.ge, knob.le, knob.step)
        assert entry["choices"] == (list(knob.choices) if knob.choices else None)
        kinds = {"boolean": bool, "integer": int, "number": float, "string": str}
        assert kinds[entry["type"]] is type(f.default)


def test_positions_are_those_of_the_scripts_arguments(client):
    parameters = get(client, "/schema")["parameters"]
    placed = [entry["name"] for entry in parameters if entry["position"] is not None]
    assert [entry["position"] for entry in parameters[: len(placed)]] == list(range(len(placed)))
    assert placed == [*SHOWN, "drawn_mask", "depth_in"]


def test_models_are_those_that_the_host_lists():
    known = ModelList((ControlModel("hand", 0.55), ControlModel("depth")), "SD1.x", "hand", "Best.")
    said = get(make_client(Services(list_models=lambda: known)), "/models")
    assert said["control_models"] == [
        {"name": "hand", "recommended_strength": 0.55},
        {"name": "depth", "recommended_strength": None},
    ]
    assert (said["checkpoint_family"], said["chosen"], said["reason"]) == ("SD1.x", "hand", "Best.")
    assert said["backends"]["renderer"]["raster"] is None
    assert said["backends"]["mesh"]["open_hand"] is None
    assert "MANO_RIGHT.pkl" in said["backends"]["mesh"]["graphormer"]


def test_hints_are_those_of_the_pipeline(client, picture):
    said = ask(client, "/hints", image=to_text(picture)).json()
    params = RefineParams()
    expected = pipeline.hints(picture, params, make_stages())
    assert [hand["number"] for hand in said["hands"]] == [1, 2]
    assert [hand["handedness"] for hand in said["hands"]] == ["right", "left"]
    for hand, mesh in zip(said["hands"], expected.meshes, strict=True):
        assert hand["box"] == list(mesh.hand.box)
        assert np.allclose(hand["landmarks"], mesh.hand.landmarks, atol=1e-3)
        assert np.allclose(hand["joints_2d"], mesh.joints_2d, atol=1e-3)
        assert (hand["score"], hand["handedness_score"]) == (0.8, 0.9)
    assert np.array_equal(to_array(said["depth"]), expected.maps.control)
    assert np.array_equal(to_array(said["mask"]) > 0, expected.maps.mask)
    assert to_array(said["overlay"]).shape == picture.shape
    assert (said["width"], said["height"]) == picture.shape[1::-1]


def test_a_hand_that_is_left_alone_is_told_with_the_reason(client, held, picture):
    held["mesh"] = PlateReconstructor(refuses="left")
    said = ask(client, "/hints", image=to_text(picture)).json()
    assert [hand["handedness"] for hand in said["hands"]] == ["right"]
    assert [skipped["reason"] for skipped in said["skipped"]] == ["No plausible hand fits."]


def test_a_picture_without_hands_is_an_answer_and_no_error(client):
    said = ask(client, "/hints", image=to_text(picture_with(()))).json()
    assert (said["hands"], said["skipped"]) == ([], [])
    assert not to_array(said["mask"]).any()


def test_refine_with_a_named_backend_gives_the_pipelines_picture(client, picture):
    # The real judge looks at the tests' pictures here, in which no hand is well formed.
    asked = {"padding_bbox": 3, "keep_best": False}
    said = ask(client, "/refine", image=to_text(picture), backend="draft", **asked).json()
    expected = pipeline.refine(picture, RefineParams(**asked), make_stages())
    assert np.array_equal(to_array(said["image"]), expected.image)
    assert [decision["refined"] for decision in said["decisions"]] == [True, True]
    assert all(decision["reason"] for decision in said["decisions"])
    assert [decision["number"] for decision in said["decisions"]] == [1, 2]
    for decision, expected_one in zip(said["decisions"], expected.decisions, strict=True):
        assert decision["distance_before"] == expected_one.before.mpjpe
        assert decision["distance_after"] == expected_one.after.mpjpe
        assert decision["pck_before"] == expected_one.before.pck == 1.0
        assert decision["pck_after"] == expected_one.after.pck


def test_refine_uses_the_hosts_model_where_no_backend_is_named(held, picture):
    lock, seen = Lock(), []

    def paint(image, params, given):
        seen.append((lock.locked(), params, given))
        return pipeline.refine(image, params, make_stages(), given.drawn_mask)

    client = make_client(Services(refine=paint, lock=lock))
    answer = ask(client, "/refine", image=to_text(picture), strength=0.4, seed=7)
    assert answer.status_code == 200
    assert seen == [(True, RefineParams(strength=0.4, seed=7), Given())]
    assert not lock.locked()


def test_what_only_the_host_knows_is_checked_before_anything_is_painted(picture):
    def check(params):
        raise InvalidParameter(f"sampler = {params.sampler!r} is not installed.")

    answer = ask(make_client(Services(check=check)), "/refine", image=to_text(picture), sampler="M")
    assert (answer.status_code, answer.json()["detail"]) == (422, "sampler = 'M' is not installed.")


def test_refine_without_a_model_says_what_to_do(client, picture):
    answer = ask(client, "/refine", image=to_text(picture))
    assert answer.status_code == 501
    assert "--api" in answer.json()["detail"]
    assert "draft" in answer.json()["detail"]


def test_a_grey_picture_with_metadata_keeps_both(client, picture):
    grey = picture[..., 0]
    said = ask(client, "/refine", image=to_text(grey), backend="draft").json()
    assert to_array(said["image"]).ndim == 2


@pytest.mark.parametrize("wrap", ["{}", "data:image/png;base64,{}", " {}\n"])
def test_a_picture_may_come_plain_or_as_a_data_address(client, picture, wrap):
    answer = ask(client, "/hints", image=wrap.format(to_text(picture)))
    assert answer.status_code == 200, answer.text


def test_jpeg_is_read_upright(client, picture):
    exif = {274: 6}  # orientation: a quarter turn
    from PIL import Image

    tags = Image.Exif()
    tags.update(exif)
    said = ask(client, "/hints", image=to_text(picture, "JPEG", exif=tags.tobytes())).json()
    assert (said["width"], said["height"]) == picture.shape[:2]


def test_webp_is_read(client, picture):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", lossless=True)
    answer = ask(client, "/hints", image=base64.b64encode(stream.getvalue()).decode())
    assert answer.json()["hands"] == ask(client, "/hints", image=to_text(picture)).json()["hands"]


def test_a_drawn_mask_takes_the_place_of_the_automatic_one(client, picture):
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[25:40, 25:40] = 255
    said = ask(
        client, "/hints", image=to_text(picture), mask="drawn", drawn_mask=to_text(mask)
    ).json()
    params = RefineParams(mask="drawn")
    expected = pipeline.hints(picture, params, make_stages(), mask > 0)
    assert np.array_equal(to_array(said["mask"]) > 0, expected.maps.mask)
    automatic = pipeline.hints(picture, RefineParams(), make_stages())
    assert 0 < expected.maps.mask.sum() < automatic.maps.mask.sum()


REFUSED = {
    "http://example.org/a.png": "addresses are not opened",
    "https://example.org/a.png": "addresses are not opened",
    "file:///etc/passwd": "addresses are not opened",
    "//server/share/a.png": "addresses are not opened",
    "\\\\server\\share\\a.png": "addresses are not opened",
    "/etc/passwd": "file paths are not opened",
    "C:\\pictures\\a.png": "file paths are not opened",
    "../a.png": "file paths are not opened",
    "": "is no PNG, JPEG or WebP file",
    "data:text/html;base64,PGI+": "is no PNG, JPEG or WebP file",
    base64.b64encode(b"GIF89a").decode(): "is no PNG, JPEG or WebP file",
    base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 40).decode(): " is damaged",
}


@pytest.mark.parametrize("name", ["image", "drawn_mask", "depth_in"])
@pytest.mark.parametrize("text", list(REFUSED))
def test_only_pictures_themselves_are_opened(client, picture, name, text):
    answer = ask(client, "/hints", **{"image": to_text(picture), name: text})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(name)
    assert REFUSED[text] in answer.json()["detail"]


@pytest.mark.parametrize("value", [3, True, ["a"], {"a": 1}])
def test_a_picture_that_is_no_text_is_refused(client, value):
    answer = ask(client, "/hints", image=value)
    assert (answer.status_code, answer.json()["detail"][:17]) == (422, "image is not text")


WRONG = [
    ({"strength": 2}, "strength = 2 is not possible; it must be a number from 0 to 1."),
    ({"strength": "much"}, "strength = 'much' is not possible"),
    ({"strength": True}, "strength = True is not possible"),
    ({"keep_best": "perhaps"}, "it must be true or false."),
    ({"detector": "magic"}, "it must be one of auto, yolo, litert, mediapipe."),
    ({"hands": "middle"}, "it must be words separated by commas"),
    ({"boxes": "1,2"}, "boxes"),
    ({"strenght": 0.5}, "strenght is not a parameter of HandRefiner. Did you mean strength?"),
    ({"drawn_mask": 3}, "drawn_mask is not text"),
    ({"mask": "drawn"}, "drawn"),
    ({"guidance_start": 0.6, "guidance_end": 0.5}, "lies after guidance_end = 0.5"),
]


@pytest.mark.parametrize(("values", "sentence"), WRONG, ids=[str(w[0]) for w in WRONG])
@pytest.mark.parametrize("path", ["/hints", "/refine"])
def test_a_wrong_value_is_answered_with_what_is_allowed(client, picture, path, values, sentence):
    answer = ask(client, path, image=to_text(picture), **{"backend": "draft", **values})
    assert answer.status_code == 422, answer.text
    assert sentence in answer.json()["detail"]


def test_a_mask_of_another_size_is_refused(client, picture):
    mask = np.zeros((5, 5), np.uint8)
    answer = ask(client, "/hints", image=to_text(picture), drawn_mask=to_text(mask))
    assert answer.status_code == 422
    assert "5 × 5" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "image is missing"),
        (b'{"image": null}', "image is missing"),
    ],
)
def test_a_body_that_is_no_request_gets_a_sentence(client, body, sentence):
    answer = client.post(
        PREFIX + "/hints", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


def test_a_form_is_refused(client):
    answer = client.post(PREFIX + "/hints", data={"image": "a"})
    assert answer.status_code == 415


def test_a_body_that_promises_to_be_too_long_is_not_read_at_all(client):
    headers = {"content-type": "application/json", "content-length": str(1 << 40)}
    assert client.post(PREFIX + "/hints", content=b"{}", headers=headers).status_code == 413


async def chunks(count):
    for _ in range(count):
        yield b"x" * 1000


def test_a_body_over_the_limit_is_not_read(client, monkeypatch):
    monkeypatch.setattr(routes, "MAX_BODY_BYTES", 5000)
    headers = {"content-type": "application/json"}
    told = client.post(PREFIX + "/hints", content=b"x" * 5001, headers=headers)
    streamed = client.post(PREFIX + "/hints", content=chunks(6), headers=headers)
    assert (told.status_code, streamed.status_code) == (413, 413)
    assert client.post(PREFIX + "/hints", content=chunks(5), headers=headers).status_code == 422


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_unpacked(client):
    # Hand-made: a header that promises more than there is.
    header = struct.pack(">IIBBBBB", 10001, 10000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", len(header))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IEND"
        + struct.pack(">I", zlib.crc32(b"IEND"))
    )
    answer = ask(client, "/hints", image=base64.b64encode(png).decode())
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("image has 10001 × 10000 pixels")


def test_a_missing_package_is_told_in_a_sentence(picture, monkeypatch):
    def build(registry, name, **options):
        raise BackendUnavailable("No detector can be used here. Install ai-edge-litert.")

    monkeypatch.setattr(Registry, "build", build)
    answer = ask(make_client(), "/hints", image=to_text(picture), detector="litert")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "No detector can be used here. Install ai-edge-litert."


def test_every_backend_is_built_once_however_often_it_is_asked_for(picture, monkeypatch):
    built = []
    tiny = make_stages()

    def build(registry, name, **options):
        built.append((registry.kind, name))
        return {"detector": tiny.detector, "mesh": tiny.reconstructor}.get(
            registry.kind, tiny.renderer
        )

    monkeypatch.setattr(Registry, "build", build)
    client = make_client()
    for detector in ("litert", "mediapipe", "litert", "mediapipe", "auto"):
        assert ask(client, "/hints", image=to_text(picture), detector=detector).status_code == 200
        get(client, "/models")
    assert len(built) == len(set(built))


def test_routes_that_compute_are_absent_where_the_host_does_not_want_them(picture):
    client = make_client(Services(heavy=False))
    assert get(client, "/version")["computes"] is False
    assert get(client, "/schema")["parameters"]
    assert ask(client, "/hints", image=to_text(picture)).status_code == 404
    assert ask(client, "/refine", image=to_text(picture)).status_code == 404


def test_adding_the_routes_again_adds_nothing(client):
    count = len(client.app.routes)
    routes.add_routes(client.app)
    assert len(client.app.routes) == count


def test_openapi_describes_every_route_and_parameter(client):
    said = client.get("/openapi.json").json()
    paths = {path for path in said["paths"] if path.startswith(PREFIX)}
    editor = ("/editor", "/editor/find", "/editor/step", "/editor/maps")
    heavy = ("/hints", "/refine")
    assert paths == {PREFIX + p for p in ("/version", "/schema", "/models", *editor, *heavy)}
    for path in ("/hints", "/refine"):
        post = said["paths"][PREFIX + path]["post"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == {
            "image",
            "drawn_mask",
            "depth_in",
            *asdict(RefineParams()),
        }
        assert schema["required"] == ["image"]
        strength = schema["properties"]["strength"]
        assert (strength["minimum"], strength["maximum"]) == (0, 1)
        assert (strength["default"], strength["title"]) == (0.55, "Strength")
        assert schema["properties"]["mask"]["enum"] == ["box", "silhouette", "drawn", "union"]
        assert {"200", "401", "413", "422", "503"} <= set(post["responses"])
    assert json.dumps(said).count("HandRefinerProblem") > 4
