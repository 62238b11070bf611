"""Build the bundled networks in handrefiner_ext/assets from a mediapipe wheel, byte for byte.

    python tools/bundle_networks.py [WHEEL]

WHEEL is any mediapipe wheel from 0.10.5 to 0.10.21; without it pip downloads 0.10.21. Later
wheels carry no networks. Every network is compared with its checksum below.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ASSETS = Path(__file__).parent.parent / "handrefiner_ext" / "assets"
PACKAGE = "mediapipe==0.10.21"
HAND_NETWORKS = {
    "hand_detector.tflite": (
        "mediapipe/modules/palm_detection/palm_detection_full.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    "hand_landmarks_detector.tflite": (
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
}
"""Name in the bundle -> (path in the wheel, sha256)."""
PEOPLE_NETWORKS = {
    "pose_detector.tflite": (
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmarks_detector.tflite": (
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "face_detector.tflite": (
        "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
}
BUNDLES = {"hand_landmarker.task": HAND_NETWORKS, "people.zip": PEOPLE_NETWORKS}
EPOCH = (1980, 1, 1, 0, 0, 0)
UNIX, READABLE = 3, 0o100644 << 16


def build_bundle(wheel: Path, networks: dict[str, tuple[str, str]]) -> bytes:
    """Return an uncompressed zip of the networks, without anything that differs between machines.

    Raises ValueError if a network is missing or not the expected one.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(packed, "w") as task:
        for name, (path, sha256) in networks.items():
            task.writestr(make_entry(name), _read_checked(source, path, sha256))
    return packed.getvalue()


def make_entry(name: str) -> zipfile.ZipInfo:
    """A file of a zip, uncompressed, without anything that differs between machines."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system, entry.external_attr = UNIX, READABLE
    return entry


def _read_checked(source: zipfile.ZipFile, path: str, sha256: str) -> bytes:
    if path not in source.namelist():
        raise ValueError(f"{source.filename} has no {path}; use mediapipe 0.10.5 to 0.10.21.")
    data = source.read(path)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} in {source.filename} has the sha256 {found}, not {sha256}.")
    return data


def download_wheel(folder: Path) -> Path:
    """A Linux wheel of the package, whatever this machine is: the networks are the same."""
    command = [sys.executable, "-m", "pip", "download", PACKAGE, "--no-deps", "--dest", str(folder)]
    machine = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
    subprocess.run([*command, *machine], check=True)
    return next(folder.glob("mediapipe-*.whl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, nargs="?")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        source = wheel or download_wheel(Path(folder))
        for name, networks in BUNDLES.items():
            data = build_bundle(source, networks)
            (ASSETS / name).write_bytes(data)
            print(f"{name}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
