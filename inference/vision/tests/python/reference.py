"""Says how far our tensors are from those of Pillow and numpy, and what a model makes of both.

usage: reference.py MODEL FOLDER

FOLDER holds pictures, and beside each NAME our tensor as NAME.tensor (float32, little-endian).
Prints one JSON object a line: name, mean_abs_diff, cosine (of the class probabilities).
"""

import functools
import json
import pathlib
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SIDE, SHORTER = 224, 256
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def main(model: str, folder: pathlib.Path) -> None:
    probabilities = classifier(model)
    for ours_path in sorted(folder.glob("*.tensor")):
        ours = np.fromfile(ours_path, "<f4").reshape(3, SIDE, SIDE)
        theirs = tensor(ours_path.with_suffix(""))
        p, q = probabilities(ours.tobytes()), probabilities(theirs.tobytes())
        line = {
            "name": ours_path.stem,
            "mean_abs_diff": float(np.abs(ours - theirs).mean()),
            "cosine": float(p @ q / np.linalg.norm(p) / np.linalg.norm(q)),
        }
        print(json.dumps(line))


def classifier(model):
    session = onnxruntime.InferenceSession(model)
    data = session.get_inputs()[0].name

    # Lossless encodings of one picture are one tensor.
    @functools.cache
    def probabilities(values: bytes):
        batch = np.frombuffer(values, np.float32).reshape(1, 3, SIDE, SIDE)
        return softmax(session.run(None, {data: batch})[0][0].astype(np.float64))

    return probabilities


def tensor(path):
    picture = rgb(ImageOps.exif_transpose(Image.open(path)))
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    longer = int(SHORTER * long / short)
    size = (SHORTER, longer) if width <= height else (longer, SHORTER)
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (int(round((side - SIDE) / 2)) for side in size)
    picture = picture.crop((left, top, left + SIDE, top + SIDE))
    values = np.asarray(picture, np.float32) / np.float32(255)
    return ((values - MEAN) / DEVIATION).transpose(2, 0, 1).copy()


def rgb(picture):
    # Pillow clips 16-bit grey to white where every viewer scales it.
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert("RGB")


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
