"""Runs the test programs of the whole workspace, two at a time, then the examples in the documentation.

    python3 scripts/test.py

cargo runs one program after the other, and ours wait for each other's processes more than they compute. cargo-nextest
would run them side by side, but each test as a process of its own: ours share a control plane with the other tests of
their program. What a program prints comes in one piece when it has ended, and at last how long each took.
"""

import concurrent.futures
import json
import pathlib
import subprocess
import sys
import threading
import time

LANES = 2
# The others would wait for these at the end, so they go first.
LONGEST = ("autoscaler", "install", "keda")
CARGO = ("cargo", "test", "--workspace")

printing = threading.Lock()


def programs():
    """Builds the test programs; the name, the path and the package's folder of each, in the order to run them in."""
    build = (*CARGO, "--no-run", "--message-format=json-render-diagnostics")
    messages = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True).stdout
    artifacts = [message for line in messages.splitlines() if (message := json.loads(line)).get("executable")]
    found = [
        (artifact["target"]["name"], artifact["executable"], pathlib.Path(artifact["manifest_path"]).parent)
        for artifact in artifacts
        if artifact["profile"]["test"]
    ]
    return sorted(found, key=lambda program: LONGEST.index(program[0]) if program[0] in LONGEST else len(LONGEST))


def run(name, path, folder):
    """Runs one program to its end; whether it passed, and how many seconds it took."""
    start = time.monotonic()
    ended = subprocess.run([path], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - start
    with printing:
        print(f"\n{name} of {folder.name}: {seconds:.0f} s", flush=True)
        sys.stdout.buffer.write(ended.stdout)
        sys.stdout.flush()
    return ended.returncode == 0, seconds


def main():
    all_of_them = programs()
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(LANES) as lanes:
        outcomes = list(lanes.map(lambda program: run(*program), all_of_them))
    documented = subprocess.run((*CARGO, "--doc"), check=False).returncode == 0
    failed = [name for (name, _, _), (passed, _) in zip(all_of_them, outcomes) if not passed]
    failed += [] if documented else ["documentation"]
    total = sum(seconds for _, seconds in outcomes)
    print(f"\n{len(all_of_them)} programs in {time.monotonic() - start:.0f} s, {total:.0f} s one after the other; the longest:")
    for (name, _, _), (_, seconds) in sorted(zip(all_of_them, outcomes), key=lambda pair: -pair[1][1])[:8]:
        print(f"  {seconds:5.0f} s  {name}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
