"""Checks a model file as others read it, and prints what it answers.

usage: seeded.py MODEL PICTURES

Prints one JSON object: metadata, batch_diff (largest difference of a logit between a batch of one
and a batch of four), and for each picture its top class, that class's probability, and the entropy
of all of them in nats.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

from reference import softmax, tensor


def main(model: str, pictures: pathlib.Path) -> None:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model)
    paths = sorted(pictures.iterdir())
    tensors = [tensor(path) for path in paths]
    alone = np.concatenate([session.run(None, {"data": one[None]})[0] for one in tensors])
    together = session.run(["resnetv17_dense0_fwd"], {"data": np.stack(tensors[:4])})[0]
    probabilities = softmax(alone.astype(np.float64))
    answer = {
        "metadata": session.get_modelmeta().custom_metadata_map,
        "batch_diff": float(np.abs(alone[:4] - together).max()),
        "top": [int(top) for top in probabilities.argmax(axis=1)],
        "score": probabilities.max(axis=1).tolist(),
        "entropy": (-(probabilities * np.log(probabilities + 1e-300)).sum(axis=1)).tolist(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
