#!/bin/sh
# Installs the clients that the checks use, where they are missing: packages through apt (as root), Go programs of fixed
# versions into .tools/bin. Go itself must be there (1.25 or newer; older ones fetch what they need).
set -eu
cd "$(dirname "$0")/../.."
T=$PWD/.tools
mkdir -p "$T/bin"
PATH=$T/bin:$PATH

missing=
for c in skopeo umoci podman docker-registry curl python3 openssl; do command -v $c >/dev/null || missing="$missing $c"; done
command -v softhsm2-util >/dev/null || missing="$missing softhsm2"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then echo "clients are missing; run: sudo apt-get install$missing"; exit 1; fi
    echo "  installing:$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

go_tool() { # go_tool NAME MODULE VERSION PACKAGE
    command -v "$1" >/dev/null && return
    command -v go >/dev/null || { echo "go is missing: it builds crane, cosign and oras"; exit 1; }
    echo "  building $1 $3"
    if GOBIN=$T/bin go install "$2/$4@$3" 2>"$T/go.log"; then return; fi
    # A proxy that keeps no list of versions refuses `go install`, not the download of an exact version.
    dir=$(go mod download -json "$2@$3" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    [ -d "$dir" ] || { cat "$T/go.log"; exit 1; }
    rm -rf "$T/src/$1"; mkdir -p "$T/src"
    cp -r "$dir" "$T/src/$1"; chmod -R u+w "$T/src/$1"
    (cd "$T/src/$1" && go build -o "$T/bin/$1" "./$4")
    rm -rf "$T/src/$1"
}
go_tool crane github.com/google/go-containerregistry v0.22.1 cmd/crane
go_tool cosign github.com/sigstore/cosign/v3 v3.1.3 cmd/cosign
go_tool oras oras.land/oras v1.2.3 cmd/oras
go_tool notation github.com/notaryproject/notation v1.3.2 cmd/notation
# cosign 2.6 reads bundles only on demand; its program is called cosign too. Four minutes of building for the older of two
# versions: INTEROP_ALL=1 asks for it.
if [ -n "${INTEROP_ALL:-}" ] && ! command -v cosign2 >/dev/null; then
    echo "  building cosign 2.6.1"
    dir=$(go mod download -json github.com/sigstore/cosign/v2@v2.6.1 | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    rm -rf "$T/src/cosign2"; mkdir -p "$T/src"; cp -r "$dir" "$T/src/cosign2"; chmod -R u+w "$T/src/cosign2"
    (cd "$T/src/cosign2" && go build -o "$T/bin/cosign2" ./cmd/cosign)
    rm -rf "$T/src/cosign2"
fi
# containers-policy by its library: distributions ship skopeo and podman without the sigstore half.
if ! command -v cpolicy >/dev/null; then
    echo "  building cpolicy (containers/image 5.36.2)"
    rm -rf "$T/src/cpolicy"; mkdir -p "$T/src/cpolicy"; cp tests/interop/cpolicy/main.go "$T/src/cpolicy/"
    (cd "$T/src/cpolicy" && { go mod init cpolicy && go get github.com/containers/image/v5@v5.36.2 && go mod tidy; } >"$T/go.log" 2>&1 &&
        CGO_ENABLED=0 go build -tags "containers_image_openpgp containers_image_storage_stub containers_image_docker_daemon_stub" -o "$T/bin/cpolicy" .) ||
        { cat "$T/go.log"; exit 1; }
    rm -rf "$T/src/cpolicy"
fi
# model_signing 1.1.1 does not start without pyOpenSSL, which it no longer asks for itself.
"$T/sign/bin/python" -c 'import model_signing, OpenSSL, cyclonedx' 2>/dev/null || {
    echo "  installing model_signing 1.1.1"
    python3 -m venv "$T/sign"
    "$T/sign/bin/pip" install -q model-signing==1.1.1 pyOpenSSL 'cyclonedx-python-lib[json-validation]==11.12.0'
}
# llama.cpp comes as source and is built here, some minutes; the version whose names formats/gguf_*.c follow.
"$T/gguf/bin/python" -c 'import gguf, llama_cpp, numpy' 2>/dev/null || {
    command -v cmake >/dev/null || { echo "cmake is missing: it builds llama.cpp"; exit 1; }
    echo "  building llama.cpp (llama-cpp-python 0.3.36)"
    python3 -m venv "$T/gguf"
    "$T/gguf/bin/pip" install -q numpy gguf llama-cpp-python==0.3.36
}
echo "  clients are there"
