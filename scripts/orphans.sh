#!/usr/bin/env bash
# Lists the Rust files that no module names: the compiler never sees them, so nobody would notice that they rot.
# Usage: scripts/orphans.sh TARGET_DIR   (after a build of all targets)
set -euo pipefail
cd "$(dirname "$0")/.."
seen=$(cat "${1:-target}"/debug/deps/*.d | tr ' ' '\n' | grep -oE '[^: ]+\.rs' | sort -u | xargs realpath -ms --relative-to=. | sort -u)
orphans=$(git ls-files --cached --others --exclude-standard '*.rs' | grep -vE '(^|/)(fuzz|gen)/' | sort -u | comm -23 - <(echo "$seen"))
[ -z "$orphans" ] || { printf 'no module names these files:\n%s\n' "$orphans" >&2; exit 1; }
