#!/usr/bin/env python3
"""`pack --adapter NAME=DIR`: adapters as PEFT made them (tests/vectors/lora) travel in layers of their own beside the model they were checked
against. The package is taken apart here by tarfile and json; what does not fit is refused in one sentence."""
import base64, hashlib, json, os, re, shutil, struct, subprocess, sys, tarfile, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, ROOT, check, finish
HERE = ROOT + "/tests/vectors/lora"
BASE = HERE + "/base"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
W = tempfile.mkdtemp()
os.environ.pop("INGOT_KEY_PASSPHRASE", None)


def ingot(*args, status=0):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


sha = lambda data: hashlib.sha256(data).hexdigest()
read = lambda path: open(path, "rb").read()


def canonical(doc):
    return json.dumps(doc, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def blob(layout, d):
    return read(f"{layout}/blobs/sha256/{d['digest'][7:]}")


def load(layout, d):
    return json.loads(blob(layout, d))


def entries(layout):
    return {(m.get("annotations") or {}).get("org.opencontainers.image.ref.name"): m for m in json.load(open(layout + "/index.json"))["manifests"]}


def unpack(layout, manifest, folder):
    """As a runtime does: one layer over the other. The paths in the order of the layers."""
    order = []
    for layer in manifest["layers"]:
        if "annotations" in layer:
            with tarfile.open(f"{layout}/blobs/sha256/{layer['digest'][7:]}") as t:
                t.extractall(folder)
                order.append(t.getnames()[-1])
    return order


title = lambda l: l["annotations"]["org.opencontainers.image.title"]
digests = lambda m, prefix: {title(l): l["digest"] for l in m["layers"] if title(l).startswith(prefix)}

# ---- layers ----
plain = json.loads(ingot("pack", BASE, "-o", f"oci:{W}/p0:v1", "--json", "-q").stdout)
one = json.loads(ingot("pack", BASE, "--adapter", f"math={HERE}/plain", "--adapter", f"code={HERE}/rslora", "-o", f"oci:{W}/p1:v1", "--modelpack", "--json", "-q").stdout)
m0, m1 = load(W + "/p0", entries(W + "/p0")["v1"]), load(W + "/p1", entries(W + "/p1")["v1"])
check("the model's layers keep their digests, and come first", digests(m1, "models/") == digests(m0, "models/") and m1["layers"][:3] == m0["layers"])
order = unpack(W + "/p1", m1, W + "/u")
check("adapters lie below adapters/, by name", order[3:] == [f"adapters/{n}/{f}" for n in ("code", "math") for f in (CONFIG, WEIGHTS)], order)
check("unpacked they are the files that were given", all(read(f"{W}/u/adapters/{n}/{f}") == read(f"{HERE}/{s}/{f}") for n, s in (("code", "rslora"), ("math", "plain")) for f in (CONFIG, WEIGHTS)))
check("every layer names its adapter", [l["annotations"].get("ingot.adapter") for l in m1["layers"]] == [None] * 3 + ["code", "code", "math", "math"])
check("the manifest names them all", m1["annotations"]["ingot.adapters"] == "code,math" and "ingot.adapters" not in m0["annotations"])
check("layers that any runtime mounts", {l["mediaType"] for l in m1["layers"]} == {"application/vnd.oci.image.layer.v1.tar"})
mp = load(W + "/p1", entries(W + "/p1")["v1-modelpack"])
kinds = {l["annotations"]["org.cncf.model.filepath"]: l["mediaType"] for l in mp["layers"]}
check("ModelPack: weights and configurations over the same blobs", kinds[f"adapters/math/{WEIGHTS}"] == "application/vnd.cncf.model.weight.v1.tar"
      and kinds[f"adapters/math/{CONFIG}"] == "application/vnd.cncf.model.weight.config.v1.tar" and {l["digest"] for l in mp["layers"]} == {l["digest"] for l in m1["layers"]})
shutil.copytree(HERE + "/plain", W + "/elsewhere")
again = json.loads(ingot("pack", BASE, "--adapter", f"code={HERE}/rslora", "--adapter", f"math={W}/elsewhere", "-o", f"oci:{W}/p2:v1", "--modelpack", "--json", "-q", "-t", "1").stdout)
check("the same digest in another order, from another place, with one thread", again["image"] == one["image"] and subprocess.run(["diff", "-r", W + "/p1", W + "/p2"]).returncode == 0)
ingot("pack", BASE, "--adapter", f"code={HERE}/rslora", "--adapter", f"math={W}/elsewhere", "-o", f"oci-archive:{W}/p.tar:v1", "-q")
with tarfile.open(W + "/p.tar") as t:
    check("the same image in an archive", one["image"] in t.extractfile("index.json").read().decode())
with open(W + "/r.yaml", "w") as f:
    f.write("name: r\nrules:\n  - {role: attention, weights: nvfp4, inputs: none}\n")
ingot("quantize", BASE, "-r", W + "/r.yaml", "-o", W + "/q", "-q")
p = ingot("pack", W + "/q", "--adapter", f"math={HERE}/plain", "--adapter", f"code={HERE}/rslora", "-o", f"oci:{W}/pq:v1", "-q")
mq = load(W + "/pq", entries(W + "/pq")["v1"])
check("beside a quantized model the same layers", digests(mq, "adapters/") == digests(m1, "adapters/") and len(mq["layers"]) > 4)

# ---- signed, verified, attested ----
ingot("keygen", "-o", W + "/k", "-q")
ingot("sign", W + "/pq", "-k", W + "/k.key", "-q")
ingot("verify", f"oci:{W}/pq:v1", "-k", W + "/k.pub", "--report", W + "/report.json", "-q")
report = json.load(open(W + "/report.json"))
check("verify lists their files", {f["path"]: f["sha256"] for f in report["package"]["files"] if f["path"].startswith("adapters/")} ==
      {f"adapters/{n}/{f}": sha(read(f"{HERE}/{s}/{f}")) for n, s in (("code", "rslora"), ("math", "plain")) for f in (CONFIG, WEIGHTS)})
ingot("attest", f"oci:{W}/pq:v1", "-k", W + "/k.key", "-q")
said = {}
for m in json.load(open(W + "/pq/index.json"))["manifests"]:
    if "sigstore.bundle" in m.get("artifactType", ""):
        st = json.loads(base64.b64decode(json.loads(blob(W + "/pq", load(W + "/pq", m)["layers"][0]))["dsseEnvelope"]["payload"]))
        said[st["predicateType"]] = st["predicate"]
sources = {d["name"]: d["digest"].get("sha256") for d in said["https://slsa.dev/provenance/v1"]["buildDefinition"]["resolvedDependencies"]}
check("provenance: what the package was made from", sources.get(f"adapters/math/{WEIGHTS}") == sha(read(f"{HERE}/plain/{WEIGHTS}")), sources)
parts = {c["name"]: c["hashes"][0]["content"] for c in said["https://cyclonedx.org/bom"]["metadata"]["component"]["components"]}
check("bill of materials: files of the adapters", parts.get(f"adapters/code/{CONFIG}") == sha(read(f"{HERE}/rslora/{CONFIG}")), parts)
ingot("verify", f"oci:{W}/pq:v1", "-k", W + "/k.pub", "-q")
ingot("thin", f"oci:{W}/pq:v1", "-o", W + "/thin", "-q")
p = ingot("verify", f"oci:{W}/thin:v1", "-k", W + "/k.pub", "-q", status=9)
check("thin: their weights stay behind, the rest is looked at", not os.path.exists(f"{W}/thin/blobs/sha256/{digests(mq, 'adapters/math')['adapters/math/' + WEIGHTS][7:]}")
      and os.path.exists(f"{W}/thin/blobs/sha256/{digests(mq, 'adapters/math')['adapters/math/' + CONFIG][7:]}"))
where = [json.loads(l) for l in ingot("mount-map", f"oci:{W}/pq:v1", "--json", "-q").stdout.splitlines()]
x = next(w for w in where if w["path"] == f"adapters/math/{WEIGHTS}")
check("mount-map: where they lie in the blobs", read(f"{W}/pq/{x['blob']}")[x["offset"]:][:x["bytes"]] == read(f"{HERE}/plain/{WEIGHTS}"))

# ---- told apart ----
rows = json.loads(ingot("diff", f"oci:{W}/p0:v1", f"oci:{W}/p1:v1", "--json", "-q", status=1).stdout.splitlines()[0])
check("diff: adapters on one side", {(r["what"], r["name"], r["how"]) for r in rows["differences"]} == {("file", f"adapters/{n}/{f}", "only in b") for n in ("code", "math") for f in (CONFIG, WEIGHTS)}, rows)
ingot("pack", BASE, "--adapter", f"math={HERE}/dora", "--adapter", f"code={HERE}/rslora", "-o", f"oci:{W}/p3:v1", "-q")
rows = json.loads(ingot("diff", f"oci:{W}/p1:v1", f"oci:{W}/p3:v1", "--json", "-q", status=1).stdout.splitlines()[0])
check("diff: another adapter under the same name", {(r["name"], r["how"]) for r in rows["differences"]} == {(f"adapters/math/{f}", "values") for f in (CONFIG, WEIGHTS)} and rows["files_same"] == 4, rows)
check("diff: itself", json.loads(ingot("diff", f"oci:{W}/p1:v1", f"oci:{W}/p2:v1", "--json", "-q").stdout)["same"])


def tampered(name, change, words):
    """The manifest changed, and everything that names it; unsigned, so that only what is looked at here can object."""
    shutil.rmtree(W + "/t", ignore_errors=True)
    shutil.copytree(W + "/p3", W + "/t")
    index = json.load(open(W + "/t/index.json"))
    d = index["manifests"][0]
    doc = load(W + "/t", d)
    change(doc)
    os.remove(f"{W}/t/blobs/sha256/{d['digest'][7:]}")
    data = canonical(doc)
    d.update(digest="sha256:" + sha(data), size=len(data))
    open(f"{W}/t/blobs/sha256/{sha(data)}", "wb").write(data)
    open(W + "/t/index.json", "wb").write(canonical(index))
    p = subprocess.run([INGOT, "verify", W + "/t", "-k", W + "/k.pub", "--json"], capture_output=True, text=True)
    check("verify: " + name, p.returncode == 1 and re.search(words, p.stdout), p.stdout[-1500:] + p.stderr)


def last(m):
    return m["layers"][-1]["annotations"]


tampered("an adapter that the manifest does not name", lambda m: m["annotations"].update({"ingot.adapters": "code"}), "names the adapters 'code', the layers are of 'code,math'")
tampered("adapters that are not named at all", lambda m: m["annotations"].pop("ingot.adapters"), "names the adapters ''")
tampered("a layer that claims another adapter", lambda m: last(m).update({"ingot.adapter": "code"}), "is said to belong to adapter 'code'")
tampered("a layer that claims none", lambda m: last(m).pop("ingot.adapter"), "is said to belong to adapter ''")
tampered("a model's layer that claims one", lambda m: m["layers"][0]["annotations"].update({"ingot.adapter": "code"}), "is said to belong to adapter 'code'")

# ---- served ----
GPU = ("b200", "NVIDIA B200 180 GB", "10.0", 191126044672)
profile = "vllm-0.17.1-b200x1-bf16-tp1"
os.makedirs(f"{W}/profiles/{profile}")
json.dump({"schema": "ingot.profile/1", "name": profile, "engine": {"name": "vllm", "version": "0.17.1"}, "gpu": {"id": GPU[0], "name": GPU[1], "count": 1, "compute_capability": GPU[2],
           "memory_bytes": GPU[3]}, "tensor_parallel": 1}, open(f"{W}/profiles/{profile}/profile.json", "w"))
open(f"{W}/profiles/{profile}/vllm.yaml", "w").write("tensor-parallel-size: 1\n")


def make_base(folder):
    os.makedirs(folder + "/blobs/sha256")

    def put(data, media):
        open(f"{folder}/blobs/sha256/{sha(data)}", "wb").write(data)
        return {"mediaType": media, "digest": "sha256:" + sha(data), "size": len(data)}
    layer = put(bytes(1024), "application/vnd.oci.image.layer.v1.tar")
    config = put(canonical({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/engine"]}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}), "application/vnd.oci.image.config.v1+json")
    m = put(canonical({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]}), "application/vnd.oci.image.manifest.v1+json")
    m["annotations"] = {"org.opencontainers.image.ref.name": "engine"}
    open(folder + "/index.json", "wb").write(canonical({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [m]}))
    open(folder + "/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')


make_base(W + "/engine")
args = ["pack", BASE, "-p", W + "/profiles", "-b", f"oci:{W}/engine:engine", "--adapter", f"math={HERE}/plain", "--adapter", f"dora={HERE}/dora"]
p = ingot(*args, "--adapter", f"code={HERE}/rslora", "-o", f"oci:{W}/s:v1")
check("a DoRA is carried and not served, and said so", re.search(r"adapter 'dora' is carried, and no engine is told to load it \(use_dora\)", p.stderr), p.stderr)
e = entries(W + "/s")
config = load(W + "/s", load(W + "/s", e["v1-" + profile])["config"])["config"]
check("vLLM is told of those it can load", config["Entrypoint"] == ["/bin/sh", f"/profiles/{profile}/command.sh", "--enable-lora", "--lora-modules", "code=/adapters/code",
      "math=/adapters/math", "--max-lora-rank", "8"], config["Entrypoint"])
check("NIM finds the folder", "NIM_PEFT_SOURCE=/adapters" in config["Env"], config)
check("the fallback starts what the base starts", load(W + "/s", load(W + "/s", e["v1-any"])["config"])["config"]["Entrypoint"] == ["/engine"])
unpack(W + "/s", load(W + "/s", e["v1-" + profile]), W + "/us")
nim = open(W + "/us/profiles/model_manifest.yaml").read()
check("NIM's tags", 'feat_lora: "true"' in nim and 'feat_lora_max_rank: "8"' in nim and f'"adapters/dora/{WEIGHTS}": {{uri: "file:///adapters/dora/{WEIGHTS}"}}' in nim, nim)
digest = lambda base, names: {n: sha(read(f"{base}/{n}")) for n in names}
tags = {"llm_engine": "vllm", "precision": "bf16", "tp": "1", "pp": "1", "gpu": "B200", "feat_lora": "true", "feat_lora_max_rank": "8"}
identity = {"model": digest(BASE, sorted(os.listdir(BASE))), "profile": digest(f"{W}/profiles/{profile}", ["profile.json", "vllm.yaml"]), "tags": tags,
            "adapters": {f"adapters/{n}/{f}": sha(read(f"{HERE}/{s}/{f}")) for n, s in (("math", "plain"), ("code", "rslora"), ("dora", "dora")) for f in (CONFIG, WEIGHTS)}}
check("the profile's id covers them", f'id: "{sha(canonical(identity))}"' in nim, nim)
ingot("pack", BASE, "-p", W + "/profiles", "-b", f"oci:{W}/engine:engine", "--adapter", f"dora={HERE}/dora", "-o", f"oci:{W}/s2:v1", "-q")
config = load(W + "/s2", load(W + "/s2", entries(W + "/s2")["v1-" + profile])["config"])["config"]
check("none to serve: the command stays", config["Entrypoint"] == ["/bin/sh", f"/profiles/{profile}/command.sh"], config)
shutil.copytree(HERE + "/plain", W + "/trained")
for name in ("training_args.bin", "optimizer.pt"):
    open(f"{W}/trained/{name}", "w").write("x")
for name in ("README.md", "LICENSE"):
    open(f"{W}/trained/{name}", "w").write("text")
p = ingot("pack", BASE, "--adapter", f"a.b-1_x={W}/trained", "-o", f"oci:{W}/tr:v1")
check("what training left stays behind, card and licence travel", set(digests(load(W + "/tr", entries(W + "/tr")["v1"]), "adapters/")) ==
      {f"adapters/a.b-1_x/{f}" for f in (CONFIG, WEIGHTS, "README.md", "LICENSE")} and "2 files" in p.stderr, p.stderr)


# ---- refused ----
def tensors(path):
    data = read(path)
    n = struct.unpack("<Q", data[:8])[0]
    return {k: (v["dtype"], v["shape"], data[8 + n:][slice(*v["data_offsets"])]) for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}


def save(path, content):
    head, data = {}, b""
    for k, (dtype, shape, raw) in content.items():
        head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def refused(name, status, words, *adapters, config=None, content=None, drop=None, source="plain", model=BASE, more=()):
    if not adapters:
        folder = W + "/bad"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(f"{HERE}/{source}", folder)
        if config:
            doc = {**json.load(open(f"{folder}/{CONFIG}")), **config}
            json.dump({k: v for k, v in doc.items() if v != "drop"}, open(f"{folder}/{CONFIG}", "w"))
        if content:
            t = tensors(f"{folder}/{WEIGHTS}")
            content(t)
            save(f"{folder}/{WEIGHTS}", t)
        if drop:
            os.remove(f"{folder}/{drop}")
        adapters = (f"x={folder}",)
    p = subprocess.run([INGOT, "pack", model, *[w for a in adapters for w in ("--adapter", a)], "-o", f"oci:{W}/none:v1", "-q", *more], capture_output=True, text=True)
    lines = [l for l in p.stderr.splitlines() if not l.startswith("usage:")]
    check("refused: " + name, p.returncode == status and words in p.stderr and len(lines) == 1 and not os.path.exists(W + "/none"), (p.returncode, p.stderr))


ok = HERE + "/plain"
for name in ("../x", "a/b", ".x", "-x", "a b", "x" * 65, "é", "a\nb"):
    refused(f"the name {name[:8]!r}", 2, "a name is 1 to 64", f"{name}={ok}")
refused("no name", 2, "expected NAME=DIR", f"={ok}")
refused("no folder", 2, "expected NAME=DIR", "x=")
refused("no equals sign", 2, "expected NAME=DIR", ok)
refused("one name twice", 2, "adapter 'a' is given twice", f"a={ok}", f"b={ok}", f"a={HERE}/dora")
refused("too many", 2, "at most 32", *[f"a{i}={ok}" for i in range(33)])
refused("a folder that is not there", 3, "does not exist", f"a={W}/nowhere")
refused("a model in its place", 3, CONFIG, f"a={BASE}")
refused("no weights", 3, "has no " + WEIGHTS, drop=WEIGHTS)
refused("no configuration", 3, CONFIG, drop=CONFIG)
refused("a bundle", 2, "a bundle is not opened", f"a={ok}", more=["--bundle-only"])
P = "base_model.model.model.layers.0."
A, B = P + "self_attn.q_proj.lora_A.weight", P + "self_attn.q_proj.lora_B.weight"
refused("a tensor without a place", 3, "no place in the model", content=lambda t: t.update({P + "self_attn.z_proj.lora_A.weight": t[A]}))
refused("another model's shapes", 3, "expected shape [32, 4]", content=lambda t: t.update({B: ("F32", [4, 32], t[B][2])}))
refused("another rank than the tensors have", 3, "expected shape [5, ", config={"r": 5})
refused("a rank beyond all bounds", 3, "rank", config={"r": 1 << 40})
refused("half of a pair", 3, "lora_A without lora_B", content=lambda t: t.pop(B))
refused("a target that the model has not", 3, "target_modules: the model has no module 'z_proj'", config={"target_modules": ["q_proj", "z_proj"]})
refused("a target without tensors", 3, "target_modules: of 'k_proj' the adapter holds no tensor", config={"target_modules": ["q_proj", "k_proj"]})
refused("targets that are no list", 3, "target_modules", config={"target_modules": 3})
refused("no targets", 3, "target_modules", config={"target_modules": "drop"})
refused("a NaN", 3, "not finite", content=lambda t: t.update({A: ("F32", t[A][1], t[A][2][:-4] + struct.pack("<f", float("nan")))}))
refused("an infinity in BF16", 3, "not finite", content=lambda t: t.update({A: ("BF16", t[A][1], bytes(len(t[A][2]) // 2 - 2) + b"\x80\x7f")}))
refused("integers", 3, "found I32", content=lambda t: t.update({A: ("I32", t[A][1], t[A][2])}))
refused("an empty adapter", 3, "no tensors", content=lambda t: t.clear())
refused("another kind of adapter", 4, "IA3", config={"peft_type": "IA3"})
refused("a base that training changed", 4, "pissa", config={"init_lora_weights": "pissa_niter_4"})
refused("use_dora without magnitudes", 3, "magnitude", config={"use_dora": True})
with open(W + "/cut", "wb") as f:
    f.write(read(f"{ok}/{WEIGHTS}")[:-1])
shutil.copytree(ok, W + "/short")
shutil.copy(W + "/cut", f"{W}/short/{WEIGHTS}")
refused("cut off", 3, WEIGHTS, f"a={W}/short")
refused("another model", 3, "adapter 'a'", f"a={ok}", model=ROOT + "/examples/nano-hybrid/model")
shutil.rmtree(W, ignore_errors=True)
finish()
