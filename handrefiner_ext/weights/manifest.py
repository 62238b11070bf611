"""Every file of weights: its purpose, its source, its licence.

Size and sha256 are given only if a public source states them; a comment names the source. For other
files the checksum in the hub's answer is used, and failing that the first download is pinned.
"""

from __future__ import annotations

from dataclasses import dataclass

from handrefiner_ext.errors import UsageError

HUB = "https://huggingface.co"
RAW = "https://raw.githubusercontent.com"

HAND_REPOSITORY = f"{HUB}/hr16/ControlNet-HandRefiner-pruned/resolve/main"
INPAINTING_REPOSITORY = (
    f"{HUB}/stable-diffusion-v1-5/stable-diffusion-inpainting/resolve/"
    "8a4288a76071f7280aedbdb3253bdb9e9d5d84bb"
)
MESH_DATA = (
    f"{RAW}/microsoft/MeshGraphormer/27f7cdb33d2ce9e77969352e71a4e84eb5d9a522/src/modeling/data"
)
"""Addresses name commits where these are known, so that the files behind them cannot change."""


@dataclass(frozen=True)
class WeightsFile:
    """One file. url: None if it is never downloaded; then `how` says how to get it.

    size, sha256: as a public source states them, or None.
    webui: folders under a WebUI's root in which its users may have the file already.
    hub: repository of Hugging Face's hub from whose cache another program may have brought it.
    """

    name: str
    url: str | None
    size: int | None = None
    sha256: str | None = None
    how: str = ""
    webui: tuple[str, ...] = ()
    hub: str | None = None


@dataclass(frozen=True)
class Weights:
    """Files that are used together, under the name by which they are downloaded."""

    name: str
    purpose: str
    licence: str
    files: tuple[WeightsFile, ...]


HAND_CONTROLNET = WeightsFile(
    "control_sd15_inpaint_depth_hand_fp16.safetensors",
    f"{HAND_REPOSITORY}/control_sd15_inpaint_depth_hand_fp16.safetensors",
    webui=("models/ControlNet", "extensions/sd-webui-controlnet/models"),
)
PLAIN_DEPTH = WeightsFile(
    "control_v11f1p_sd15_depth.pth",
    f"{HUB}/lllyasviel/ControlNet-v1-1/resolve/main/control_v11f1p_sd15_depth.pth",
    webui=("models/ControlNet", "extensions/sd-webui-controlnet/models"),
)
GRAPHORMER = WeightsFile(
    "graphormer_hand_state_dict.bin",
    f"{HAND_REPOSITORY}/graphormer_hand_state_dict.bin",
    # The hub's tag of the file, as the partial download in sd-webui-controlnet's issue 3040 is
    # named after it; for a file of this size that tag is its sha256.
    sha256="b78081d105dc730c179eb0e2366bea999ceb4363070bb3aa1ae31fcf878a8a41",
    webui=(
        "extensions/sd-webui-controlnet/annotator/downloads/hand_refiner",
        "extensions/sd-webui-controlnet/annotator/downloads/hand_refiner/hr16/"
        "ControlNet-HandRefiner-pruned",
    ),
)
# Size and sha256 are those of the file in the public repository at that commit.
DOWNSAMPLING = WeightsFile(
    "mano_downsampling.npz",
    f"{MESH_DATA}/mano_downsampling.npz",
    176509,
    "db2b23b0ede7c34039f1d8960e2e839552e0f58d4b34a8612b4065d8a47f9c80",
)
MANO = WeightsFile(
    "MANO_RIGHT.pkl",
    None,
    how=(
        "Register at https://mano.is.tue.mpg.de, accept its licence, download 'Models & Code', and "
        "put models/MANO_RIGHT.pkl from it into the models folder."
    ),
)
INPAINTING = WeightsFile(
    "sd-v1-5-inpainting.ckpt",
    f"{INPAINTING_REPOSITORY}/sd-v1-5-inpainting.ckpt",
    # Both as stated by many public lists of models (InvokeAI's and civitai's among them).
    4_265_437_280,
    "c6bbc15e3224e6973459ba78de4998b80b50112b0ae5b5c67113d56b4e366b19",
    webui=("models/Stable-diffusion",),
)

ADETAILER = "models/adetailer"
ANIME_HANDS = WeightsFile(
    "hand_detect_v1.0_s.onnx",
    f"{HUB}/deepghs/anime_hand_detection/resolve/dba2c5bec15fcee9ac4909b244a84e8783cf46a2/"
    "hand_detect_v1.0_s/model.onnx",
    # Both as two public programs state them that download this file.
    44_583_229,
    "408750ad39645fcdc0c5e774aa45a73941b2e785fc5611fb7d3d9790a41899c0",
    webui=(ADETAILER,),
)
ADETAILER_HANDS = tuple(
    WeightsFile(
        name,
        None,
        how="ADetailer brings hand_yolov8n.pt; the others are on the page of Bingsu/adetailer.",
        webui=(ADETAILER,),
        hub="Bingsu/adetailer",
    )
    for name in ("hand_yolov9c.pt", "hand_yolov8s.pt", "hand_yolov8n.pt")
)
"""The best first."""

MANIFEST = (
    Weights(
        "controlnet",
        "the hand ControlNet of the paper for SD1.5, half precision",
        "see the page of hr16/ControlNet-HandRefiner-pruned; derived from Stable Diffusion 1.5 "
        "(CreativeML Open RAIL-M)",
        (HAND_CONTROLNET,),
    ),
    Weights(
        "graphormer",
        "MeshGraphormer's hand network and the mesh table it needs (with MANO: the mesh backend "
        "graphormer)",
        "MIT (microsoft/MeshGraphormer); its use depends on MANO, whose licence is non-commercial",
        (GRAPHORMER, DOWNSAMPLING),
    ),
    Weights(
        "mano",
        "the hand model that MeshGraphormer predicts",
        "MANO's own: non-commercial research only, no redistribution",
        (MANO,),
    ),
    Weights(
        "inpainting",
        "the Stable Diffusion 1.5 inpainting checkpoint, optional",
        "CreativeML Open RAIL-M",
        (INPAINTING,),
    ),
    Weights(
        "depth",
        "a plain depth ControlNet for SD1.5, not trained on hands (--finetuned False), optional",
        "OpenRAIL, see the page of lllyasviel/ControlNet-v1-1",
        (PLAIN_DEPTH,),
    ),
    Weights(
        "anime_hands",
        "a detector of drawn hands (YOLOv8s, ONNX), for the detector yolo, optional",
        "OpenRAIL, see the page of deepghs/anime_hand_detection",
        (ANIME_HANDS,),
    ),
    Weights(
        "adetailer_hands",
        "ADetailer's hand detectors, for the detector yolo where ultralytics is installed; "
        "one is enough",
        "see the page of Bingsu/adetailer; ultralytics itself is AGPL-3.0",
        ADETAILER_HANDS,
    ),
)


def choose(name: str) -> Weights:
    """Return the weights of that name; UsageError lists the names there are."""
    for weights in MANIFEST:
        if weights.name == name:
            return weights
    names = ", ".join(weights.name for weights in MANIFEST)
    raise UsageError(f"There are no weights {name!r}; choose one of {names}.")


def all_files() -> tuple[WeightsFile, ...]:
    return tuple(file for weights in MANIFEST for file in weights.files)
