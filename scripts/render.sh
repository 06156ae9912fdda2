#!/bin/bash
# Prints manifests/install.yaml: what the chart renders with its default values, for those who install without Helm.
# HELM names the program where it is not on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
NAMESPACE=spotscale
# Decides what the chart may use: see model.hpaZeroTolerance. Older API servers drop the field.
KUBERNETES=1.35.0
cat <<EOF
# Rendered from manifests/chart by \`make manifests\`: change the chart instead.
# Needs KEDA 2.18 or newer. Another image: kustomize, or \`kubectl set image\` afterwards.
---
apiVersion: v1
kind: Namespace
metadata:
  name: $NAMESPACE
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
EOF
"${HELM:-helm}" template spotscale manifests/chart --namespace "$NAMESPACE" --kube-version "$KUBERNETES"
