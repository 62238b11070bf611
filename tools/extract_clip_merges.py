"""Makes handrefiner_ext/assets/clip_merges.txt.gz from the wheel of the package clip-anytorch.

    pip download --no-deps clip-anytorch==2.6.0 && python tools/extract_clip_merges.py clip_*.whl

CLIP uses the first 48,894 merges of the file; the others stay out.
"""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "handrefiner_ext" / "assets"
MERGES = 49152 - 256 - 2


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("clip/bpe_simple_vocab_16e6.txt.gz")
        licence = next(name for name in archive.namelist() if name.endswith("/LICENSE"))
        (ASSETS / "clip_merges.LICENSE.txt").write_bytes(archive.read(licence))
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    text = "\n".join(lines[1 : MERGES + 1]) + "\n"
    (ASSETS / "clip_merges.txt.gz").write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
