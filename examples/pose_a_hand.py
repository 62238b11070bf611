"""Pose a picture's hand over HTTP: find it, drag a fingertip, give a gesture, repaint.

    python pose_a_hand.py picture.png posed.png [http://127.0.0.1:7860]

The WebUI must run with --api, because /refine paints. Nothing but Python is needed.
"""

import base64
import json
import sys
import urllib.request
from pathlib import Path


def ask(server, route, **body):
    request = urllib.request.Request(
        f"{server}/handrefiner/v1/{route}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def main(source, target, server="http://127.0.0.1:7860", **parameters):
    image = base64.b64encode(Path(source).read_bytes()).decode()

    # The hands as records; a record is all that an edit needs.
    found = ask(server, "editor/find", image=image)
    size = {"width": found["width"], "height": found["height"]}
    if not found["hands"]:
        sys.exit("No hand was found in this picture.")
    hand = found["hands"][0]

    # Pull the tip of the index finger up by a tenth of the picture, then spread two fingers.
    x, y = hand["joints"][8]
    drag = {"drag": {"joint": "index_tip", "to": [x, y - found["height"] / 10]}}
    hand = ask(server, "editor/step", **size, hand=hand["hand"], do=drag)
    hand = ask(server, "editor/step", **size, hand=hand["hand"], do={"gesture": "victory"})

    # The pose is text: the panel, the command line (--pose_file) and the API take it alike.
    pose = {"handrefiner_pose": 1, **size, "hands": [hand["hand"]]}
    text = json.dumps(pose, separators=(",", ":"))
    done = ask(server, "refine", image=image, pose=text, **parameters)
    Path(target).write_bytes(base64.b64decode(done["image"]))
    for name, value in done["infotext"].items():
        print(f"{name}: {value}")
    return done


if __name__ == "__main__":
    main(*sys.argv[1:4])
