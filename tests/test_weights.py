"""Weights are found where people have them, and the command line says what there is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from weights_server import Behaviour, make_safetensors, serving

from handrefiner_ext.cli.commands import main
from handrefiner_ext.errors import UsageError
from handrefiner_ext.weights import Places, find, places, standard_places
from handrefiner_ext.weights.connection import read_connection
from handrefiner_ext.weights.manifest import HUB, MANIFEST, MANO, RAW, all_files, choose
from handrefiner_ext.weights.places import LOCK_NAME, Pin, cache_folder, read_pins, write_pin

CONTROLNET = "control_sd15_inpaint_depth_hand_fp16.safetensors"
GRAPHORMER = "graphormer_hand_state_dict.bin"


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An environment in which no weights of this machine are seen and no network is meant."""
    for name in ("HANDREFINER_MODELS", "HANDREFINER_WEBUI", "HANDREFINER_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HANDREFINER_RAW_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def put(path, content=b"weights"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_every_file_has_a_source_or_an_explanation():
    names = [file.name for file in all_files()]
    assert len(set(names)) == len(names)
    for weights in MANIFEST:
        assert weights.purpose
        assert weights.licence
        for file in weights.files:
            assert (file.url is None) == bool(file.how)
            assert file.url is None or file.url.startswith((HUB, RAW))
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)


def test_mano_is_only_explained():
    assert MANO.url is None
    assert "accept its licence" in MANO.how


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match="controlnet, graphormer, mano, inpainting, depth"):
        choose("sdxl")


def test_folders_are_searched_from_the_chosen_one_to_the_cache(alone):
    environment = {"HANDREFINER_MODELS": str(alone / "named"), "XDG_CACHE_HOME": str(alone)}
    places = standard_places(alone / "chosen", environment)
    expected = [alone / "chosen", alone / "named", alone / "handrefiner"]
    assert [folder for folder in places.folders if folder.name != "models"] == expected
    assert places.target == alone / "chosen"
    found = []
    for folder in reversed(places.folders[:2] + places.folders[-1:]):
        put(folder / GRAPHORMER)
        found.append(find(GRAPHORMER, places))
    assert found == [folder / GRAPHORMER for folder in reversed(expected)]


def test_a_file_of_the_users_webui_is_found(alone):
    places = Places((alone / "models",), alone / "models", webui=alone / "webui")
    assert find(CONTROLNET, places) is None
    there = put(alone / "webui/models/ControlNet" / CONTROLNET)
    assert find(CONTROLNET, places) == there
    own = put(alone / "models" / CONTROLNET)
    assert find(CONTROLNET, places) == own


def test_the_preprocessors_download_of_sd_webui_controlnet_is_found(alone, monkeypatch):
    folder = "webui/extensions/sd-webui-controlnet/annotator/downloads/hand_refiner"
    there = put(alone / folder / GRAPHORMER)
    monkeypatch.setenv("HANDREFINER_WEBUI", str(alone / "webui"))
    assert find(GRAPHORMER, standard_places(alone)) == there


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_what_adetailer_brought_into_the_hubs_cache_is_found(alone, variable):
    inside = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}[variable]
    versions = alone / "elsewhere" / inside / "models--Bingsu--adetailer" / "snapshots"
    old = put(versions / "ab12" / "hand_yolov8n.pt")
    os.utime(old, (1, 1))
    new = put(versions / "cd34" / "hand_yolov8n.pt")
    put(versions / "ef56" / "face_yolov8n.pt")
    places = standard_places(alone / "none", {variable: str(alone / "elsewhere")})
    assert find("hand_yolov8n.pt", places) == new
    own = put(alone / "none" / "hand_yolov8n.pt")
    assert find("hand_yolov8n.pt", places) == own


def test_mano_is_found_in_its_unpacked_archive(alone):
    there = put(alone / "mano_v1_2/models/MANO_RIGHT.pkl")
    assert find("MANO_RIGHT.pkl", alone) == there


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("win32", {"LOCALAPPDATA": "L"}, Path("L/handrefiner/Cache")),
        ("darwin", {}, Path.home() / "Library/Caches/handrefiner"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, Path("/x/handrefiner")),
        ("linux", {}, Path.home() / ".cache/handrefiner"),
    ],
)
def test_the_cache_lies_where_the_platform_wants_it(platform, environment, expected):
    assert cache_folder(environment, platform) == expected


@pytest.mark.parametrize("value", ["1", "true", "YES"])
@pytest.mark.parametrize("switch", ["HANDREFINER_OFFLINE", "HF_HUB_OFFLINE"])
def test_either_switch_forbids_the_network(switch, value):
    assert read_connection({switch: value}).offline == f"{switch} is set"
    assert read_connection({switch: "0"}).offline is None


def test_mirrors_take_the_place_of_their_host_only():
    connection = read_connection({"HF_ENDPOINT": "https://mirror.example/hf/"})
    assert connection.address(f"{HUB}/a/b") == "https://mirror.example/hf/a/b"
    assert connection.address(f"{RAW}/a/b") == f"{RAW}/a/b"
    assert connection.address(f"{HUB}.evil.example/a") == f"{HUB}.evil.example/a"


def test_list_says_what_is_here_and_how_to_get_the_rest(alone, capsys):
    there = put(alone / GRAPHORMER)
    assert main(["weights", "--models_dir", str(alone), "list"]) == 0
    said = capsys.readouterr().out
    assert str(there) in said
    assert "licence" in said
    assert MANO.how in said
    assert f"Downloads go to {alone}" in said


def test_download_then_verify_then_again(alone, capsys, monkeypatch):
    behaviour = Behaviour(make_safetensors(1), redirect=True, linked=True)
    command = ["weights", "--models_dir", str(alone)]
    with serving(behaviour) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert main([*command, "download", "controlnet"]) == 0
        asked = len(behaviour.requests)
        assert main([*command, "download", "controlnet"]) == 0
        assert len(behaviour.requests) == asked, "it asked for a file that is here"
    assert (alone / CONTROLNET).read_bytes() == behaviour.content
    assert (alone / LOCK_NAME).exists()
    assert main([*command, "verify", "controlnet"]) == 0
    assert "as it must be" in capsys.readouterr().out
    put(alone / CONTROLNET, b"weightz" * 1000)
    assert main([*command, "verify"]) == 1
    assert "must have" in capsys.readouterr().err


def test_unpin_forgets_a_checksum_and_says_where_there_is_none(alone, capsys):
    command = ["weights", "--models_dir", str(alone), "unpin", CONTROLNET]
    assert main(command) == 1
    assert f"No checksum of {CONTROLNET} is recorded" in capsys.readouterr().err
    write_pin(alone, CONTROLNET, Pin(3, "0" * 64))
    assert main(command) == 0
    assert read_pins(alone) == {}


def test_a_file_of_which_nothing_is_known_is_said_to_be_so(alone, capsys):
    put(alone / CONTROLNET)
    assert main(["weights", "--models_dir", str(alone), "verify"]) == 0
    assert "no checksum is known" in capsys.readouterr().out


def test_a_refusal_of_the_system_that_names_no_file_is_a_sentence(alone, capsys, monkeypatch):
    put(alone / CONTROLNET)

    def refuse(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(places, "measure", refuse)
    assert main(["weights", "--models_dir", str(alone), "verify"]) == 1
    assert capsys.readouterr().err.endswith("The system refused: Too many open files.\n")


def test_nothing_here_is_nothing_to_verify(alone, capsys):
    assert main(["weights", "--models_dir", str(alone), "verify"]) == 0
    assert "no weights here" in capsys.readouterr().out
    assert main(["weights", "--models_dir", str(alone), "verify", "controlnet"]) == 1


def test_mano_and_offline_are_answered_with_sentences(alone, capsys):
    command = ["weights", "--models_dir", str(alone), "download"]
    assert main([*command, "mano"]) == 1
    assert "never downloaded" in capsys.readouterr().err
    assert main([*command, "controlnet", "--offline"]) == 1
    assert "--offline was given" in capsys.readouterr().err
    assert main([*command, "sdxl"]) == 2


def test_convert_refuses_what_is_no_network_and_writes_nothing(alone, capsys):
    command = ["weights", "--models_dir", str(alone), "convert"]
    assert main(command) == 1
    assert "weights download graphormer" in capsys.readouterr().err
    put(alone / GRAPHORMER)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "is not an intact checkpoint" in said or '".[torch]"' in said
    assert [path.name for path in alone.iterdir()] == [GRAPHORMER]
