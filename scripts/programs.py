"""Builds the programs of the test cluster (a control plane, KEDA and a driver of its client, Helm, Karpenter, KWOK, a
mock of the EC2 metadata service) from the Go modules that tests/cluster/programs pins, and renders the manifests that
come with them. Nothing is built twice: a folder is named by what went into it.
"""

import hashlib
import pathlib
import re
import shutil
import subprocess
import time

from download import Failed, say

PINNED = pathlib.Path(__file__).resolve().parent.parent / "tests/cluster/programs"
# Where the name that `go build` gives, that of the command's folder, does not tell or is another program's too.
RENAME = {
    ("etcd", "server"): "etcd",
    ("keda", "operator"): "keda-operator",
    ("keda", "adapter"): "keda-adapter",
    ("karpenter", "kwok"): "karpenter",
}


def go(folder, *words):
    """The output of a go command in a module."""
    command = ["go", *words]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if found.returncode:
        raise Failed(f"{' '.join(command)} in {folder}: {found.stderr.strip()}")
    return found.stdout.strip()


def go_version():
    if not shutil.which("go"):
        raise Failed("please install Go 1.26: the tests build Kubernetes and KEDA with it (https://go.dev/doc/install)")
    return re.search(r"go(\d+\.\d+[.\d]*)", go(PINNED, "version")).group(1)


def flags(folder):
    """The linker's flags. Without a version, the API server would not say which Kubernetes it is."""
    if folder.name != "kubernetes":
        return "-s -w"
    version = go(folder, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())])


def key(folder, version):
    """What the programs are made of, as a name."""
    sources = sorted([*folder.glob("go.*"), *folder.glob("**/*.go")])
    content = [version, flags(folder), *(path.read_text() for path in sources)]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()[:16]


def build(folder, dest):
    """Builds every `tool` of one module into DEST in one step."""
    part = dest.with_name(dest.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    total = len(go(folder, "list", "-deps", "tool").splitlines())
    say(f"building {folder.name} ({total} packages; several minutes the first time)")
    command = ["go", "build", "-v", "-ldflags", flags(folder), "-o", f"{part}/", "tool"]
    start = shown = time.monotonic()
    other = []
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        done = 0
        for line in process.stderr:
            # A package's path; anything with a space is a message.
            if " " in line.strip():
                other.append(line)
            done += 1
            if time.monotonic() - shown > 15:
                shown = time.monotonic()
                say(f"  {folder.name}: {done} packages built, {shown - start:.0f} s")
    if process.returncode:
        raise Failed(f"{folder.name} does not build:\n{''.join(other[-20:])}")
    for (module, old), new in RENAME.items():
        if module == folder.name:
            (part / old).rename(part / new)
    shutil.rmtree(dest, ignore_errors=True)
    part.rename(dest)


def source(folder, module):
    """The folder of a module that FOLDER pins, in Go's own cache."""
    return pathlib.Path(go(PINNED / folder, "list", "-m", "-f", "{{.Dir}}", module))


def render(kubectl):
    """The text of each manifest: KEDA's CRDs and RBAC as its own kustomize files have them, Karpenter's CRDs with those
    of its KWOK provider, and how KWOK plays nodes and pods that are never in trouble.
    """
    def kustomize(path):
        return subprocess.run([kubectl, "kustomize", path], capture_output=True, text=True, check=True).stdout

    def joined(paths):
        return "\n---\n".join(path.read_text() for path in paths)

    keda = source("keda", "github.com/kedacore/keda/v2") / "config"
    karpenter = source("karpenter", "sigs.k8s.io/karpenter")
    kwok = source("kwok", "sigs.k8s.io/kwok")
    metrics = [keda / f"metrics-server/{name}.yaml" for name in ("role", "role_binding")]
    rbac = [kustomize(keda / "service_account"), kustomize(keda / "rbac"), joined(metrics)]
    return {
        "keda/crd.yaml": kustomize(keda / "crd"),
        "keda/rbac.yaml": "\n---\n".join(rbac),
        "karpenter/crd.yaml": joined(sorted(karpenter.glob("*/apis/crds/*.yaml"))),
        "kwok/stages.yaml": kustomize(kwok / "kustomize/stage/fast"),
    }


def programs(cache):
    """Builds all, and lays links to them in a folder with `bin/` and `manifests/`, whose path it returns."""
    version = go_version()
    folders = sorted(path.parent for path in PINNED.glob("*/go.mod"))
    keys = {folder.name: key(folder, version) for folder in folders}
    # This file says what is rendered, and how.
    recipe = pathlib.Path(__file__).read_text()
    whole = hashlib.sha256("".join([*keys.values(), recipe]).encode()).hexdigest()[:16]
    home = cache / "cluster" / whole
    if not home.exists():
        lay_out(home, cache, folders, keys)
    # A test that is run alone finds it here.
    link = cache / "cluster/current"
    link.unlink(missing_ok=True)
    link.symlink_to(home.name)
    return home


def lay_out(home, cache, folders, keys):
    """One folder with everything, made in one step."""
    for folder in folders:
        dest = cache / "programs" / f"{folder.name}-{keys[folder.name]}"
        if not dest.exists():
            build(folder, dest)
    part = home.with_name(home.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "bin").mkdir(parents=True)
    for name, suffix in keys.items():
        for path in (cache / "programs" / f"{name}-{suffix}").iterdir():
            (part / "bin" / path.name).symlink_to(path)
    for name, text in render(part / "bin/kubectl").items():
        path = part / "manifests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    part.rename(home)
