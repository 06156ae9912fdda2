"""Compares a device with the CPU, as check-cuda.sh says: agreement first, then speed. Standard library only."""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time
import urllib.parse

COSINE_LEAST = 0.999
CLASSES_ALL = 100_000
READY_WITHIN_S = 600
CACHE = pathlib.Path(os.environ.get("SPOTSCALE_CACHE") or pathlib.Path.home() / ".cache/spotscale")


def main():
    options = parse()
    pictures = [path.read_bytes() for path in sorted(options.pictures.iterdir()) if path.suffix in (".png", ".jpg")]
    if not pictures:
        sys.exit(f"{options.pictures} has no pictures: run `make test` or name a folder with --pictures")
    seen = {}
    for device in dict.fromkeys([options.device, "cpu"]):
        with server(options, device) as address:
            seen[device] = measure(address, pictures, options)
    print(f"{'device':10} {'p50 ms':>9} {'p95 ms':>9} {'pictures/s':>11}")
    for device, found in seen.items():
        print(f"{device:10} {found['p50_ms']:9.2f} {found['p95_ms']:9.2f} {found['per_second']:11.1f}")
    worst = min(map(cosine, seen[options.device]["scores"], seen["cpu"]["scores"]))
    print(f"least cosine similarity over {len(pictures)} pictures: {worst:.6f} (at least {COSINE_LEAST})")
    if worst < COSINE_LEAST:
        sys.exit(f"{options.device} does not agree with the CPU")


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=["cuda", "tensorrt", "cpu"])
    model, pictures = os.environ.get("SPOTSCALE_MODEL"), os.environ.get("SPOTSCALE_PICTURES", CACHE / "pictures")
    parser.add_argument("--model", default=model, required=not model)
    parser.add_argument("--pictures", type=pathlib.Path, default=pictures)
    parser.add_argument("--spotscale", default="target/release/spotscale")
    parser.add_argument("--requests", type=int, default=200, help="one after the other, for the latency")
    parser.add_argument("--seconds", type=float, default=10, help="all together, for the throughput")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--max-batch", type=int, default=32)
    return parser.parse_args()


@contextlib.contextmanager
def server(options, device):
    command = [options.spotscale, "inference", "--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0"]
    command += [f"--device={device}", f"--model=checked={options.model}", f"--max-batch={options.max_batch}"]
    command += [f"--queue={max(options.clients, options.max_batch)}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line:
            sys.exit(f"the server did not start with --device {device}")
        address = json.loads(line)["listening"]["http"]
        wait_until_ready(process, address)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def wait_until_ready(process, address):
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            if ask(connect(address), "GET", "/readyz")[0] == 200:
                return
        time.sleep(0.1)
    sys.exit("the server was never ready")


def measure(address, pictures, options):
    connection = connect(address)
    scores = [classify(connection, picture) for picture in pictures]
    took_ms = []
    for count in range(options.requests):
        started = time.perf_counter()
        classify(connection, pictures[count % len(pictures)], top=5)
        took_ms.append(1000 * (time.perf_counter() - started))
    cuts = statistics.quantiles(took_ms, n=100)
    per_second = throughput(address, pictures, options)
    return {"scores": scores, "p50_ms": cuts[49], "p95_ms": cuts[94], "per_second": per_second}


def throughput(address, pictures, options):
    end = time.perf_counter() + options.seconds

    def client(number):
        connection, done = connect(address), 0
        while time.perf_counter() < end:
            classify(connection, pictures[(number + done) % len(pictures)], top=5)
            done += 1
        return done

    with concurrent.futures.ThreadPoolExecutor(options.clients) as pool:
        return sum(pool.map(client, range(options.clients))) / options.seconds


def connect(address):
    parts = urllib.parse.urlsplit(f"//{address}")
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, response.read()


def classify(connection, picture, top=CLASSES_ALL):
    """The probabilities in the order of the classes."""
    status, body = ask(connection, "POST", f"/v1/classify?top={top}", picture)
    if status != 200:
        raise RuntimeError(f"{status}: {body[:300]}")
    predictions = json.loads(body)["predictions"]
    return [one["score"] for one in sorted(predictions, key=lambda one: one["index"])]


def cosine(a, b):
    def dot(x, y):
        return sum(p * q for p, q in zip(x, y, strict=True))

    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


if __name__ == "__main__":
    main()
