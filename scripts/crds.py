"""Brings the custom resource definitions that the manifests are tested against, out of their projects' Go modules: as
data, nothing is built. KEDA's come with the test cluster.
"""

import hashlib
import json
import pathlib
import re
import shutil

from download import Failed, say
from programs import PINNED, go, go_version


def pinned(folder, module):
    """A module that the test cluster runs, with the version that is pinned there, and its checksum."""
    sums = (PINNED / folder / "go.sum").read_text()
    found = re.search(rf"^{re.escape(module)} (v[^/\s]+) (h1:\S+)$", sums, re.MULTILINE)
    if not found:
        raise Failed(f"{folder}/go.sum pins no {module}")
    version, checksum = found.groups()
    return f"{module}@{version}", checksum


def sources():
    """Module and version, its checksum as in a go.sum, the folder, and the definitions wanted."""
    return [
        (*pinned("karpenter", "sigs.k8s.io/karpenter"), "pkg/apis/crds",
         ["karpenter.sh_nodepools", "karpenter.sh_nodeclaims", "karpenter.sh_nodeoverlays"]),
        ("github.com/aws/karpenter-provider-aws@v1.14.1", "h1:WGtIQTQcxpElYMdWfWuPwaF2+9muR+hYhPZsTtoY8Gs=",
         "pkg/apis/crds", ["karpenter.k8s.aws_ec2nodeclasses"]),
        ("sigs.k8s.io/gateway-api@v1.6.3", "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
         "config/crd/standard", ["gateway.networking.k8s.io_httproutes"]),
        ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
         "example/prometheus-operator-crd", ["monitoring.coreos.com_podmonitors", "monitoring.coreos.com_prometheusrules"]),
        ("github.com/cert-manager/cert-manager@v1.19.0", "h1:pPKtK06zPriliwq7B12xa7DGKbc4SvnfOjE0BXaAspk=",
         "deploy/crds", ["cert-manager.io_certificates"]),
    ]


def module(name, checksum):
    """The folder of a module in Go's own cache, verified."""
    # Outside of any module, so that no go.mod of ours has a say.
    found = json.loads(go(pathlib.Path("/"), "mod", "download", "-json", name))
    if found["Sum"] != checksum:
        raise Failed(f"{name} came with the checksum {found['Sum']}, not {checksum}")
    return pathlib.Path(found["Dir"])


def crds(cache):
    """Lays the definitions into a folder, whose path it returns; its name says what is in it."""
    wanted = sources()
    home = cache / "crds" / hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
    if home.exists():
        return home
    go_version()
    part = home.with_name(home.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, checksum, folder, kinds in wanted:
        say(f"taking {', '.join(kinds)} from {name}")
        source = module(name, checksum) / folder
        for kind in kinds:
            shutil.copyfile(source / f"{kind}.yaml", part / f"{kind}.yaml")
    part.rename(home)
    return home
