"""Drives the server with NVIDIA's own clients, unchanged: `triton_client.py HTTP GRPC MODEL VERSION`.

Every claim is an assertion; the exit status says whether they hold.
"""

import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

RED, GREEN, BLUE = range(3)


def colours(*channels):
    pictures = np.full((len(channels), 3, 224, 224), -1, np.float32)
    for picture, channel in zip(pictures, channels):
        picture[channel] = 1
    return pictures


def ask(client, library, model, version, pictures, **options):
    tensor = library.InferInput("data", list(pictures.shape), "FP32")
    binary = {"binary_data": options.pop("binary_in")} if "binary_in" in options else {}
    tensor.set_data_from_numpy(pictures, **binary)
    return client.infer(model, [tensor], model_version=version, **options)


def check(result, channels):
    scores = result.as_numpy("scores")
    assert scores.shape == (len(channels), 10), scores.shape
    assert scores.dtype == np.float32
    assert list(scores.argmax(axis=1)) == list(channels), scores
    # The model's own output: logits of 4 for its colour, not probabilities.
    assert np.allclose(scores.max(axis=1), 4, atol=1e-3), scores


def check_health(client, model, version):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    assert client.is_model_ready(model, version)
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready(model, "999")


def check_metadata(server, of_model, model, version):
    assert server["name"] == "spotscale", server
    assert "binary_tensor_data" in server["extensions"], server
    assert of_model["name"] == model
    assert version in of_model["versions"], of_model
    shapes = {}
    for tensor in of_model["inputs"] + of_model["outputs"]:
        assert tensor["datatype"] == "FP32", tensor
        shapes[tensor["name"]] = [int(size) for size in tensor["shape"]]
    assert shapes == {"data": [-1, 3, 224, 224], "scores": [-1, 10]}, shapes


def check_refusals(client, library, model, version):
    wrong = [
        ("unknown model", "nobody", colours(RED)),
        ("wrong shape", model, np.zeros((1, 3, 32, 32), np.float32)),
        ("too many pictures", model, colours(*[RED] * 99)[:9]),
        ("not a number", model, colours(RED) * np.float32("nan")),
    ]
    for why, name, pictures in wrong:
        try:
            ask(client, library, name, version, pictures)
        except InferenceServerException as refused:
            assert refused.message(), why
        else:
            raise AssertionError(f"{why} was answered")


def http(url, model, version):
    client = over_http.InferenceServerClient(url)
    check_health(client, model, version)
    metadata = client.get_model_metadata(model, version)
    check_metadata(client.get_server_metadata(), metadata, model, version)
    for binary_in in (True, False):
        for outputs in (
            None,
            [over_http.InferRequestedOutput("scores", binary_data=True)],
            [over_http.InferRequestedOutput("scores", binary_data=False)],
        ):
            options = {"binary_in": binary_in, "outputs": outputs, "request_id": "7"}
            result = ask(client, over_http, model, version, colours(BLUE, RED), **options)
            check(result, [BLUE, RED])
            assert result.get_response()["id"] == "7"
    check_refusals(client, over_http, model, version)


def grpc(url, model, version):
    client = over_grpc.InferenceServerClient(url)
    check_health(client, model, version)
    metadata = client.get_model_metadata(model, version, as_json=True)
    check_metadata(client.get_server_metadata(as_json=True), metadata, model, version)
    result = ask(client, over_grpc, model, version, colours(GREEN, BLUE, RED), request_id="7")
    check(result, [GREEN, BLUE, RED])
    assert result.get_response().id == "7"
    check_refusals(client, over_grpc, model, version)


if __name__ == "__main__":
    on_http, on_grpc, name, number = sys.argv[1:]
    http(on_http, name, number)
    grpc(on_grpc, name, number)
    print("both clients are served")
