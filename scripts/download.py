"""One verified download: resumable, never half-written.

    python3 scripts/download.py --sha256 HEX --size BYTES DEST URL [URL ...]

The URLs are tried in order. Bytes go to DEST.part, a later call continues there, and only a file with the right size
and checksum is renamed to DEST.
"""

import argparse
import hashlib
import http.client
import pathlib
import sys
import urllib.error
import urllib.request

CHUNK = 1 << 20
TIMEOUT_S = 15


class Failed(Exception):
    """Why a download did not come about, in one line."""


def say(text):
    """Progress and news of the setup, for people."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_whole(path, size, checksum):
    return path.exists() and path.stat().st_size == size and sha256(path) == checksum


def show(name, done, size):
    """One line that rewrites itself on a terminal, a line each tenth elsewhere."""
    text = f"{name}: {done / 1e6:.1f} of {size / 1e6:.1f} MB ({100 * done // size} %)"
    if sys.stderr.isatty():
        print(f"\r{text}", end="\n" if done >= size else "", file=sys.stderr, flush=True)
    elif done >= size or (done - CHUNK) * 10 // size != done * 10 // size:
        print(text, file=sys.stderr, flush=True)


def append(url, part, size, name):
    """Continues `part` from `url`, never past `size`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
        resumed = have > 0 and reply.status == 206
        done = have if resumed else 0
        offered = reply.headers.get("Content-Length")
        if offered not in (None, str(size - done)):
            raise Failed(f"{url} offers {offered} bytes where {size - done} were expected")
        with open(part, "ab" if resumed else "wb") as file:
            while chunk := reply.read(CHUNK):
                done += len(chunk)
                if done > size:
                    raise Failed(f"{url} sends more than the expected {size} bytes")
                file.write(chunk)
                show(name, done, size)


def download(dest, urls, size, checksum):
    """Brings DEST from the first URL that has it; raises Failed with the reason of each that has not."""
    dest = pathlib.Path(dest)
    if is_whole(dest, size, checksum):
        return
    dest.parent.mkdir(parents=True, exist_ok=True)
    part = dest.with_name(dest.name + ".part")
    reasons = []
    for url in urls:
        try:
            if not is_whole(part, size, checksum):
                if part.exists() and part.stat().st_size >= size:
                    part.unlink()
                append(url, part, size, dest.name)
            found = part.stat().st_size
            if found < size:
                raise Failed(f"{url} ended at {found} of {size} bytes; run again to continue")
            if sha256(part) != checksum:
                part.unlink()
                raise Failed(f"{url} has a wrong checksum")
            part.replace(dest)
            return
        except Failed as error:
            reasons.append(str(error))
        except (OSError, ValueError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {error!r}")
    raise Failed("; ".join(reasons))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("dest")
    parser.add_argument("url", nargs="+")
    args = parser.parse_args()
    try:
        download(args.dest, args.url, args.size, args.sha256)
    except Failed as error:
        sys.exit(f"download: {error}")


if __name__ == "__main__":
    main()
