"""Writes small ONNX models for the tests: `tiny_model.py FOLDER`.

The classifiers average each colour over the picture, so that a red, a green and a blue picture
have classes 0, 1 and 2. The others are models that the server must refuse.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 10


def model(nodes, inputs, outputs, initializers=(), **metadata):
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(initializers))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
    helper.set_model_props(made, metadata)
    onnx.checker.check_model(made)
    return made


def tensor(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def classifier(batch="N", end=(), output="scores", **metadata):
    weights = np.zeros((3, CLASSES), np.float32)
    weights[:, :3] = 4 * np.eye(3)
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colours"]),
        helper.make_node("MatMul", ["colours", "weights"], ["logits"]),
        *end,
    ]
    if not end:
        nodes[-1].output[0] = output
    return model(
        nodes,
        [tensor("data", [batch, 3, 224, 224])],
        [tensor(output, [batch, CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
        **metadata,
    )


def identity(shape, out=None, kind=TensorProto.FLOAT):
    node = helper.make_node("Identity", ["data"], ["scores"])
    return model([node], [tensor("data", shape, kind)], [tensor("scores", out or shape, kind)])


def main(folder):
    softmax = helper.make_node("Softmax", ["logits"], ["scores"], axis=1)
    names = "\n".join(["red", "green", "blue"] + [f"other {i}" for i in range(3, CLASSES)])
    models = {
        "logits": classifier(weights="seeded"),
        "softmax": classifier(end=[softmax]),
        "single": classifier(batch=1),
        "labelled": classifier(labels=names),
        "mislabelled": classifier(labels="red\ngreen"),
        "not-a-classifier": identity(["N", 3, 224, 224]),
        "not-pictures": identity(["N", CLASSES]),
        "half": identity(["N", 3, 224, 224], kind=TensorProto.FLOAT16),
    }
    for name, made in models.items():
        onnx.save(made, folder / f"{name}.onnx")
    (folder / "broken.onnx").write_bytes(b"this is not a model")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
