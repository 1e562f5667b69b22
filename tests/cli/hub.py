#!/usr/bin/env python3
"""hf://ORG/NAME@REVISION from the Hugging Face cache, offline: what is read is the snapshot that the revision means; what is not
there whole is refused."""
import hashlib, json, os, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
MODEL = ROOT + "/examples/nano-hybrid/model"
W = tempfile.mkdtemp()
SHARD = sorted(f for f in os.listdir(MODEL) if f.endswith(".safetensors"))[0]
COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40


def ingot(*args, **env):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "XDG_"))}
    return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**keep, "HOME": W + "/nobody", **env})


def cache(hub, commit=COMMIT, ref="main", source=MODEL, org="nvidia", name="nano"):
    """As huggingface_hub leaves it: blobs by their tag, a link for each file."""
    base = f"{hub}/models--{org}--{name}" if org else f"{hub}/models--{name}"
    for d in ("blobs", "refs", f"snapshots/{commit}"):
        os.makedirs(f"{base}/{d}", exist_ok=True)
    os.makedirs(os.path.dirname(f"{base}/refs/{ref}"), exist_ok=True)
    with open(f"{base}/refs/{ref}", "w") as f:
        f.write(commit)
    for file in os.listdir(source):
        with open(f"{source}/{file}", "rb") as f:
            tag = hashlib.sha256(f.read()).hexdigest()
        if not os.path.exists(f"{base}/blobs/{tag}"):
            shutil.copy(f"{source}/{file}", f"{base}/blobs/{tag}")
        os.symlink(f"../../blobs/{tag}", f"{base}/snapshots/{commit}/{file}")
    return base


hub = W + "/hub"
base = cache(hub)
want = json.loads(ingot("inspect", MODEL, "--json").stdout)
for text, env in (("hf://nvidia/nano", {"HF_HUB_CACHE": hub}), ("hf://nvidia/nano@main", {"HF_HOME": W}), (f"hf://nvidia/nano@{COMMIT}", {"HF_HOME": W})):
    p = ingot("inspect", text, "--json", **env)
    check(f"{text} with {next(iter(env))}", p.returncode == 0 and json.loads(p.stdout) == want, p.stderr)
os.makedirs(W + "/x/huggingface"), os.symlink(hub, W + "/x/huggingface/hub")
p = ingot("inspect", "hf://nvidia/nano", XDG_CACHE_HOME=W + "/x")
check("the cache below XDG_CACHE_HOME", p.returncode == 0, p.stderr)
os.makedirs(W + "/nobody/.cache/huggingface"), os.symlink(hub, W + "/nobody/.cache/huggingface/hub")
check("the cache below HOME", ingot("inspect", "hf://nvidia/nano").returncode == 0)
cache(hub, org="", name="early", ref="pr/1")
p = ingot("inspect", "hf://early@pr/1", HF_HOME=W)
check("a name without organisation, a revision with a slash", p.returncode == 0, p.stderr)
outs = []
for source in (MODEL, "hf://nvidia/nano"):
    p = ingot("quantize", source, "-r", "nvfp4-data-free", "-o", W + "/out", "--force", "-q", HF_HOME=W)
    outs.append((p.returncode, hashlib.sha256(open(W + "/out/model.safetensors", "rb").read()).hexdigest() if p.returncode == 0 else p.stderr))
check("quantize writes the same from both", outs[0][0] == 0 and outs[0] == outs[1], outs)


def refused(name, text, status, part, **env):
    p = ingot("inspect", text, **(env or {"HF_HOME": W}))
    check(f"refused: {name}", p.returncode == status and part in p.stderr and p.stderr.count("\n") == (2 if status == 2 else 1), (p.returncode, p.stderr))


refused("a model that is not there", "hf://nvidia/other", 3, "no such model")
refused("a revision that was never fetched", "hf://nvidia/nano@v2", 3, "revision 'v2' is not in the cache")
refused("a commit without files", f"hf://nvidia/nano@{OTHER}", 3, f"no files of commit {OTHER}")
for text in ("hf://", "hf:///x", "hf://a/b/c", "hf://../x", "hf://a/..", "hf://a--b/c", "hf://a/b@", "hf://a/b@../../x", "hf://a/b@/etc", "hf://a/" + "b" * 97):
    refused(text, text, 2, "hf://")
refused("no place for a cache", "hf://nvidia/nano", 2, "HF_HUB_CACHE", HOME="")
open(f"{base}/refs/torn", "w").write(COMMIT[:20])
refused("a torn reference", "hf://nvidia/nano@torn", 3, "expected a commit")
open(f"{base}/blobs/{'a' * 64}.incomplete", "w").write("half")
refused("a download that broke off", "hf://nvidia/nano", 3, "broke off")
os.rename(f"{base}/blobs/{'a' * 64}.incomplete", f"{base}/blobs/{'a' * 64}.1b2c3d4e.incomplete")
refused("one of several at once", "hf://nvidia/nano", 3, "broke off")
os.remove(f"{base}/blobs/{'a' * 64}.1b2c3d4e.incomplete")
tag = os.path.basename(os.readlink(f"{base}/snapshots/{COMMIT}/{SHARD}"))
open(f"{base}/blobs/{tag}.incomplete", "w").write("left over")
check("a left-over beside the whole file is none", ingot("inspect", "hf://nvidia/nano", HF_HOME=W).returncode == 0)
os.remove(f"{base}/blobs/{tag}")
refused("a whole file that is gone", "hf://nvidia/nano", 3, "broke off")
os.remove(f"{base}/blobs/{tag}.incomplete")
refused("a link that leads nowhere", "hf://nvidia/nano", 3, SHARD + "' leads to no file")

shutil.rmtree(W, ignore_errors=True)
finish()
