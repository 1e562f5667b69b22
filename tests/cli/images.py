#!/usr/bin/env python3
"""Packages of several images: the index, manifests, configs, layers and the NIM manifest are taken apart here, by the specifications of
OCI and tar, and held against the folders that were packed. The same digest for another place, date and number of threads. `ingot
profiles` chooses by rules that are written down again here. What cannot be packed is refused with its name."""
import hashlib, json, os, random, re, shutil, struct, subprocess, sys, tarfile, tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/tools")
from checks import INGOT, check, finish
WORK = tempfile.mkdtemp()
INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
REF, KIND = "org.opencontainers.image.ref.name", "kind"


def run(*args, status=0, **env):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True, env={**os.environ, **env})
    if p.returncode != status:
        check(" ".join(args), False, f"status {p.returncode}, expected {status}: {p.stderr}")
    return p


def refused(name, status, words, *args, **env):
    p = subprocess.run([INGOT, *args], capture_output=True, text=True, env={**os.environ, **env})
    lines = [l for l in p.stderr.splitlines() if not l.startswith("usage:")]
    check(name, p.returncode == status and re.search(words, p.stderr) and len(lines) == 1, f"status {p.returncode}: {p.stderr}")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def canonical(doc):
    return json.dumps(doc, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def save(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def model(folder, seed=1):
    rnd = random.Random(seed)
    for i in (1, 2):
        head = json.dumps({f"w{i}": {"dtype": "F8_E4M3", "shape": [70, 1000], "data_offsets": [0, 70000]}}).encode()
        head += b" " * (-len(head) % 8)
        save(f"{folder}/model-0000{i}-of-00002.safetensors", struct.pack("<Q", len(head)) + head + rnd.randbytes(70000))
    save(folder + "/model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": {f"w{i}": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}}))
    save(folder + "/config.json", '{"model_type":"nemotron_h"}\n')
    save(folder + "/sub/a \"b\" é.jinja", "{{ x }}")
    save(folder + "/sub/empty", "")


GPUS = {"b200": ("NVIDIA B200 180 GB", "10.0", 191126044672), "h100-80": ("NVIDIA H100 SXM 80 GB", "9.0", 84825604096)}


def profile(root, gpu_id, count, **change):
    """As `ingot profile` names and writes them; the fields that pack reads."""
    name, capability, memory = GPUS[gpu_id]
    doc = {"schema": "ingot.profile/1", "name": f"vllm-0.17.1-{gpu_id}x{count}-nvfp4-tp{count}", "engine": {"name": "vllm", "version": "0.17.1"},
           "gpu": {"id": gpu_id, "name": name, "count": count, "compute_capability": capability, "memory_bytes": memory}, "tensor_parallel": count}
    path = f"{root}/{change.pop('folder', doc['name'])}"
    for k, v in change.items():
        doc[k] = v
    save(path + "/profile.json", json.dumps({k: v for k, v in doc.items() if v is not None}))
    save(path + "/vllm.yaml", f"tensor-parallel-size: {count}\n")
    return doc["name"]


class Layout:
    def __init__(self, folder):
        self.dir = folder
        self.index = json.load(open(folder + "/index.json"))

    def blob(self, digest):
        with open(f"{self.dir}/blobs/sha256/{digest[7:]}", "rb") as f:
            data = f.read()
        assert digest == "sha256:" + sha(data), digest
        return data

    def load(self, descriptor):
        data = self.blob(descriptor["digest"])
        assert len(data) == descriptor["size"] and canonical(json.loads(data)) == data
        return json.loads(data)

    def entry(self, tag):
        return next(m for m in self.index["manifests"] if (m.get("annotations") or {}).get(REF) == tag)

    def files(self, manifest):
        """{path: bytes} of the layers; every rule that a layer and its descriptor must keep is checked on the way."""
        out, order = {}, []
        for layer in manifest["layers"]:
            assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
            path = f"{self.dir}/blobs/sha256/{layer['digest'][7:]}"
            assert os.path.getsize(path) == layer["size"] and sha(open(path, "rb").read()) == layer["digest"][7:]
            with tarfile.open(path, "r:") as t:
                members = t.getmembers()
                m = members[-1]
                assert m.isreg() and all(x.isdir() for x in members[:-1]) and m.offset_data % 4096 == 0
                assert all((x.mtime, x.uid, x.gid, x.uname, x.gname) == (0, 0, 0, "", "") for x in members)
                data = t.extractfile(m).read()
            title = layer["annotations"]["org.opencontainers.image.title"]
            assert m.name == title and layer["annotations"]["ingot.file.sha256"] == sha(data)
            with open(path, "rb") as f:
                f.seek(m.offset_data)
                assert f.read(m.size) == data
            out[title] = data
            order.append(title.encode())
        assert order == sorted(order)
        config = self.load(manifest["config"])
        assert config["rootfs"] == {"type": "layers", "diff_ids": [x["digest"] for x in manifest["layers"]]}
        assert [h["created_by"].encode() for h in config["history"]] == order
        return out


def tree(folder, prefix):
    return {f"{prefix}/{os.path.relpath(d + '/' + f, folder)}": open(d + "/" + f, "rb").read() for d, _, fs in os.walk(folder) for f in fs}


M, P = WORK + "/model", WORK + "/profiles"
model(M)
names = sorted([profile(P, "b200", 2), profile(P, "b200", 8), profile(P, "h100-80", 1)])
save(P + "/README", "beside the profiles\n")
out = json.loads(run("pack", M, "-p", P, "-o", f"oci:{WORK}/p:v1", "--json", "-q").stdout)
L = Layout(WORK + "/p")

# ---- structure ----
entries = L.index["manifests"]
tags = ["v1", "v1-any"] + ["v1-" + n for n in names]
check("index.json lists the package, the fallback, and one image a profile", [m["annotations"][REF] for m in entries] == tags, entries)
check("cosign's marks", [m["annotations"].get(KIND) for m in entries] == ["dev.cosignproject.cosign/imageIndex", "dev.cosignproject.cosign/image"] + [None] * 3)
check("media types", [m["mediaType"] for m in entries] == [INDEX] + [MANIFEST] * 4)
index = L.load(entries[0])
check("the printed digest is the index's", out["image"] == entries[0]["digest"] and [x["tag"] for x in out["images"]] == tags[1:])
check("the index holds images alone, the fallback first",
      [(m["digest"], m["size"]) for m in index["manifests"]] == [(m["digest"], m["size"]) for m in entries[1:]]
      and all(m["mediaType"] == MANIFEST and "artifactType" not in m and m["platform"] == {"architecture": "amd64", "os": "linux"} for m in index["manifests"]))
manifests = [L.load(m) for m in index["manifests"]]
files = [L.files(m) for m in manifests]
nim = files[0]["profiles/model_manifest.yaml"]
own = tree(M, "models")
check("every image holds the model", all({k: v for k, v in f.items() if k.startswith("models/")} == own for f in files))
check("the fallback holds all profiles", {k: v for k, v in files[0].items() if k.startswith("profiles/")} == {**tree(P, "profiles"), "profiles/model_manifest.yaml": nim})
for name, f in zip(names, files[1:]):
    check(f"{name} holds its own files", {k: v for k, v in f.items() if k.startswith("profiles/")} ==
          {**tree(f"{P}/{name}", "profiles/" + name), "profiles/model_manifest.yaml": nim}, sorted(f))
used = {m["digest"] for m in entries} | {x["digest"] for m in manifests for x in m["layers"] + [m["config"]]}
check("shared blobs lie there once, and nothing else", {"sha256:" + b for b in os.listdir(WORK + "/p/blobs/sha256")} == used)
check("one label set on all", all(m["annotations"].items() >= index["annotations"].items() for m in manifests))
told = [m["annotations"] for m in index["manifests"]]
check("descriptors say what manifests say", all(a.items() <= m["annotations"].items() for a, m in zip(told, manifests)))
check("what the fallback is", told[0] == {"ingot.profile.name": "any"}, told[0])
a = told[1 + names.index("vllm-0.17.1-b200x2-nvfp4-tp2")]
check("what a profile is", {k: v for k, v in a.items() if k != "ingot.profile.id"} == {
    "ingot.profile.name": "vllm-0.17.1-b200x2-nvfp4-tp2", "ingot.profile.engine": "vllm", "ingot.profile.engine.version": "0.17.1",
    "ingot.profile.precision": "nvfp4", "ingot.profile.gpu": "b200", "ingot.profile.gpu.name": GPUS["b200"][0], "ingot.profile.gpu.count": "2",
    "ingot.profile.gpu.memory": str(GPUS["b200"][2]), "ingot.profile.gpu.capability": "10.0"}, a)

# ---- ids and the NIM manifest ----
for name, a in zip(names, told[1:]):
    gpu, count = re.match(r"vllm-0.17.1-(.*)x(\d+)-", name).groups()
    what = {"model": {k[7:]: sha(v) for k, v in own.items()}, "profile": {k: sha(v) for k, v in ((os.path.basename(k), v) for k, v in tree(f"{P}/{name}", "x").items())},
            "tags": {"llm_engine": "vllm", "precision": "nvfp4", "tp": count, "pp": "1", "gpu": gpu.upper(), "feat_lora": "false"}}
    check(f"id of {name}", a["ingot.profile.id"] == sha(canonical(what)), a)
text = nim.decode()
check("NIM manifest: schema and ids", text.startswith("schema_version: 2.0.0\n") and re.findall(r'^  - id: "([0-9a-f]{64})"$', text, re.M) == [a["ingot.profile.id"] for a in told[1:]])
check("NIM manifest: every tag a string", re.findall(r'^      tp: (.*)$', text, re.M) == ['"2"', '"8"', '"1"'])
check("NIM manifest: names are quoted, addresses escaped", '"sub/a \\"b\\" é.jinja": {uri: "file:///models/sub/a%20%22b%22%20%C3%A9.jinja"}' in text, text)
try:
    import yaml
except ImportError:
    print("skip the NIM manifest read by PyYAML: it is not installed")
else:
    doc = yaml.safe_load(text)
    uri = {k: v["uri"] for k, v in doc["profiles"][0]["workspace"]["files"].items()}
    check("PyYAML reads the NIM manifest", doc["schema_version"] == "2.0.0" and len(uri) == 8 and uri["config.json"] == "file:///models/config.json"
          and all(isinstance(v, str) for p in doc["profiles"] for v in p["tags"].values()), doc)

# ---- the same again elsewhere ----
shutil.copytree(M, WORK + "/elsewhere/m")
shutil.copytree(P, WORK + "/elsewhere/p")
subprocess.run(["find", WORK + "/elsewhere", "-exec", "touch", "-d", "@1", "{}", "+"], check=True)
for threads in ("1", "3"):
    again = json.loads(run("pack", WORK + "/elsewhere/m", "-p", WORK + "/elsewhere/p", "-o", f"oci:{WORK}/p{threads}:v1", "--json", "-q", "-t", threads, TZ="Asia/Tokyo").stdout)
    check(f"the same digest from another place with {threads} threads", again["image"] == out["image"]
          and subprocess.run(["diff", "-r", WORK + "/p", f"{WORK}/p{threads}"]).returncode == 0)
dated = json.loads(run("pack", M, "-p", P, "-o", f"oci:{WORK}/dated:v1", "--json", "-q", SOURCE_DATE_EPOCH="1763000000").stdout)
D = Layout(WORK + "/dated")
config = D.load(D.load(D.load(D.entry("v1"))["manifests"][0])["config"])
check("SOURCE_DATE_EPOCH is the one time that counts", dated["image"] != out["image"] and config["created"] == "2025-11-13T02:13:20Z"
      and {h["created"] for h in config["history"]} == {config["created"]})
check("layers do not depend on it", {x for m in manifests for x in (y["digest"] for y in m["layers"])} <= {"sha256:" + b for b in os.listdir(WORK + "/dated/blobs/sha256")})
refused("a time that is none", 2, "SOURCE_DATE_EPOCH", "pack", M, "-o", f"oci:{WORK}/x:v1", "-q", SOURCE_DATE_EPOCH="yesterday")

# ---- read and verified ----
run("keygen", "-o", WORK + "/k", "-q")
for ref in (f"{WORK}/p", f"oci:{WORK}/p:v1"):
    run("sign", ref, "-k", WORK + "/k.key", "-q")
    v = run("verify", ref, "-k", WORK + "/k.pub", "-q", status=1)     # the folder is no model that anybody computes
    failed = [l for l in v.stdout.splitlines() if not l.startswith("pass")][:-2]
    check(f"{ref.replace(WORK, '')}: every image and layer is right", len(failed) == 1 and "model: " in failed[0] and v.stdout.count("config: ") == 4, v.stdout + v.stderr)
check("signing moves no digest", Layout(WORK + "/p").entry("v1") == entries[0])

# ---- choosing ----
def chosen(select):
    doc = json.loads(run("profiles", WORK + "/p", "-s", select, "--json", "-q").stdout)
    return doc["selected"], {p["name"]: p["why"] for p in doc["profiles"]}


B2, B8, H1 = names
for select, want in (("gpu=b200,count=8", B8), ("gpu=b200,count=7", B2), ("gpu=b200,count=1", "any"), ("gpu=b200", "any"), ("gpu=NVIDIA B200,count=2", B2),
                     ("gpu=h100,count=4", H1), ("gpu=NVIDIA H100 80GB HBM3,count=1", H1), ("gpu=NVIDIA GB200,count=8", "any"), ("count=0", "any"),
                     ("count=8", B8), ("capability=9.0,count=8", H1), ("capability=12.0,count=8", "any"), ("capability=10.0,count=8,memory=180GB", "any"),
                     ("capability=10.0,count=8,memory=192GB", B8), ("memory=79GiB", H1), ("memory=191126044672,count=2", B2), ("memory=191126044671,count=2", H1)):
    got, why = chosen(select)
    check(f"for {select}: {want}", got == want, (got, why))
why = chosen("gpu=b200,count=1")[1]
check("why not", why["any"] is None and why[B2] == "made for 2 GPUs, there is 1" and why[H1] == "made for NVIDIA H100 SXM 80 GB, this is b200", why)
check("why not: memory", "made for 178.00 GiB a GPU, there is 93.13 GiB" == chosen("memory=100GB,count=8")[1][B8], chosen("memory=100GB,count=8")[1])
check("why not: capability", "made for compute capability 9.0, this is 10.0" == chosen("capability=10.0")[1][H1])
text = run("profiles", f"oci:{WORK}/p:v1", "-s", "gpu=b200,count=2").stdout
check("people see the same", text.endswith(f"SELECTED\n- {B2}: oci:{WORK}/p:v1-{B2}\n") and told[2]["ingot.profile.id"] in text, text)
for words in ("", "gpu", "gpu=", "x=1", "count=-1", "count=1,count=2", "memory=1TB", "capability=10", "gpu=a,", "count=99999", "memory=0"):
    refused(f"--select '{words}'", 2, "option --select", "profiles", WORK + "/p", "-s", words, "-q")
run("pack", M, "-o", f"oci:{WORK}/one:v1", "-q")
one = json.loads(run("profiles", WORK + "/one", "--json", "-q").stdout)
check("a package without profiles runs anywhere", one["selected"] == "any" and len(one["profiles"]) == 1 and one["profiles"][0]["tag"] == "v1", one)

# ---- what cannot be packed ----
def refuse_pack(name, words, make, tag="v1", status=3):
    folder = tempfile.mkdtemp(dir=WORK) + "/p"
    os.mkdir(folder)
    make(folder)
    refused(name, status, words, "pack", M, "-p", folder, "-o", f"oci:{WORK}/no:{tag}", "-q")
    check(name + ": nothing is left", not [x for x in os.listdir(WORK) if x.startswith((".no", "no"))], os.listdir(WORK))


refuse_pack("an empty folder of profiles", "holds no profiles", lambda f: None)
refuse_pack("a profile under another name", "the folder has another name", lambda f: profile(f, "b200", 1, folder="other"))
refuse_pack("two folders of one profile", "the folder has another name", lambda f: (profile(f, "b200", 1), profile(f, "b200", 1, folder="copy")))
refuse_pack("a profile without a GPU", "'gpu' is missing", lambda f: profile(f, "b200", 1, gpu=None))
refuse_pack("a profile that is no JSON", "profile.json", lambda f: save(f + "/a/profile.json", "{"))
refuse_pack("a profile of a reserved name", "names another image", lambda f: profile(f, "b200", 1, folder="any", name="any"))
refuse_pack("a profile whose name is no tag", "cannot be a tag", lambda f: profile(f, "b200", 1, folder="a b", name="a b"))
refuse_pack("a file where the NIM manifest goes", "which pack makes itself", lambda f: (profile(f, "b200", 1), save(f + "/model_manifest.yaml", "")))
refuse_pack("a tag too long for the images'", "cannot be a tag", lambda f: profile(f, "b200", 1), tag="t" * 120)
refuse_pack("257 profiles", "at most 256", lambda f: [profile(f, "b200", 1, folder=f"p{i}", name=f"p{i}") for i in range(257)])
loose = tempfile.mkdtemp(dir=WORK)
save(loose + "/notes/b200.yaml", "gpu: b200\n")
plain = json.loads(run("pack", M, "-p", loose, "-o", f"oci:{WORK}/plain:v1", "--json", "-q").stdout)
check("files that are no profile make no index", Layout(WORK + "/plain").entry("v1")["mediaType"] == MANIFEST and len(plain["images"]) == 1)

# ---- where things lie ----
import mmap
spots = {d["path"]: d for d in map(json.loads, run("mount-map", WORK + "/p", "--json", "-q").stdout.splitlines())}
check("mount-map names every file", spots.keys() == files[0].keys())
right = True
for path, d in spots.items():
    with open(f"{WORK}/p/{d['blob']}", "rb") as f:
        right = right and d["offset"] % 4096 == 0
        if d["bytes"]:
            with mmap.mmap(f.fileno(), d["bytes"], offset=d["offset"], access=mmap.ACCESS_READ) as view:
                right = right and view[:] == files[0][path]
check("every file mapped from its blob is the file", right)
for i in (1, 2):
    d = spots[f"models/model-0000{i}-of-00002.safetensors"]
    t = d["tensors"][0]
    with open(f"{WORK}/p/{d['blob']}", "rb") as f:
        f.seek(t["offset"])
        data = f.read(t["bytes"])
    check(f"tensor w{i} lies where mount-map says", [t["name"], t["dtype"], t["shape"], data] == [f"w{i}", "F8_E4M3", [70, 1000], own[d["path"]][-70000:]])

# ---- thin, signed there, merged ----
before = set(os.listdir(WORK + "/p/blobs/sha256"))
thin = json.loads(run("thin", WORK + "/p", "-o", WORK + "/t", "--json", "-q").stdout)
T = Layout(WORK + "/t")
weights = {l["digest"] for l in manifests[0]["layers"] if l["annotations"]["org.opencontainers.image.title"].endswith(".safetensors")}
check("thin: everything but the weights", set(os.listdir(WORK + "/t/blobs/sha256")) == before - {w[7:] for w in weights} and len(weights) == 2)
check("thin: the same index.json, marked", T.index["annotations"] == {"ingot.thin": "true"} and T.index["manifests"] == Layout(WORK + "/p").index["manifests"])
check("thin: what it says", thin["image"] == out["image"] and thin["blobs_left_out"] == 2)
run("keygen", "-o", WORK + "/k2", "-q")
run("sign", WORK + "/t", "-k", WORK + "/k2.key", "-q")
v = run("verify", WORK + "/t", "-k", WORK + "/k2.pub", "-q", status=1)  # these models have no ingot.json
check("a thin layout is undecided where it is thin", "verdict: fail (" in v.stdout and ", 1 failed" in v.stdout and v.stdout.count("this layout is thin") == 9, v.stdout)
v = run("verify", WORK + "/t", "-k", WORK + "/k2.pub", "-w", WORK + "/p", "-q", status=1)
check("with the weights beside it every layer of every image is read", "this layout is thin" not in v.stdout and v.stdout.count("from beside the thin layout") == 2, v.stdout)
added = json.loads(run("merge", WORK + "/p", "--from", WORK + "/t", "--json", "-q").stdout)["added"]
v = run("verify", WORK + "/p", "-k", WORK + "/k2.pub", "-q", status=1)
check("merged signatures count", added >= 1 and "signed by key" in v.stdout and "unsigned" not in v.stderr and Layout(WORK + "/p").entry("v1") == entries[0], v.stdout)
check("merging again changes nothing", json.loads(run("merge", WORK + "/p", "--from", WORK + "/t", "--json", "-q").stdout)["added"] == 0)
check("another package's signatures are not taken", json.loads(run("merge", WORK + "/one", "--from", WORK + "/t", "--json", "-q").stdout)["added"] == 0
      and len(Layout(WORK + "/one").index["manifests"]) == 1)
os.unlink(next(f"{WORK}/t/blobs/sha256/{l['digest'][7:]}" for l in manifests[0]["layers"] if l["annotations"]["org.opencontainers.image.title"].endswith("config.json")))
v = run("verify", WORK + "/t", "-k", WORK + "/k2.pub", "-q", status=1)
check("what a thin layout may not lack", "layout: layer 1 of" in v.stderr and "is missing" in v.stderr, v.stderr)
refused("thin over the package", 2, "would replace", "thin", WORK + "/p", "-o", WORK + "/p", "--force", "-q")
refused("thin over what exists", 2, "exists already", "thin", WORK + "/p", "-o", WORK + "/t", "-q")

# ---- ModelPack ----
run("pack", M, "-p", P, "-o", f"oci:{WORK}/mp:v1", "--modelpack", "-q")
MP = Layout(WORK + "/mp")
e = MP.entry("v1-modelpack")
m = MP.load(e)
config = MP.load(m["config"])
model_layers = [(l["digest"], l["size"]) for l in manifests[0]["layers"] if l["annotations"]["org.opencontainers.image.title"].startswith("models/")]
check("ModelPack: the same blobs under its own tag", e["artifactType"] == m["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
      and [(l["digest"], l["size"]) for l in m["layers"]] == model_layers and MP.entry("v1")["digest"] == out["image"])
check("ModelPack: config", m["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json" and sorted(config) == ["config", "descriptor", "modelfs"]
      and config["modelfs"] == {"type": "layers", "diffIds": [d for d, _ in model_layers]}, config)
check("ModelPack: what each file is", {l["annotations"]["org.cncf.model.filepath"]: l["mediaType"].split(".model.")[1] for l in m["layers"]} ==
      {k: "weight.v1.tar" if k.endswith(".safetensors") else "weight.config.v1.tar" for k in own})
check("the one package of the layout is still found", json.loads(run("profiles", WORK + "/mp", "--json", "-q").stdout)["image"] == out["image"])

# ---- on a base ----
def make_base(folder, change=None, media_type=True):
    """An engine's image as another builder leaves it: a gzip layer, a history with lines that made none, no media type."""
    import gzip, io
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as t:
        t.addfile(tarfile.TarInfo("engine"), io.BytesIO(b""))
    layer = gzip.compress(tar.getvalue(), mtime=0)
    config = {"architecture": "arm64", "os": "linux", "created": "2024-01-01T00:00:00.123Z", "author": "x",
              "config": {"Env": ["PATH=/bin", "MODEL=/old"], "Entrypoint": ["/engine"], "Cmd": ["serve"], "ExposedPorts": {"9/tcp": {}}, "User": "1000"},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(tar.getvalue())]},
              "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "ADD engine"}, {"created_by": "ENTRYPOINT", "empty_layer": True}]}
    if change:
        change(config)
    put = lambda data: (save(f"{folder}/blobs/sha256/{sha(data)}", data), {"digest": "sha256:" + sha(data), "size": len(data)})[1]
    m = {"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
         "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **put(layer)}]}
    if media_type:
        m["mediaType"] = MANIFEST
    e = {"mediaType": MANIFEST, **put(json.dumps(m, indent=1).encode()), "annotations": {REF: "engine"}}
    save(folder + "/oci-layout", '{"imageLayoutVersion": "1.0.0"}')
    save(folder + "/index.json", json.dumps({"schemaVersion": 2, "manifests": [e]}))
    return e["digest"], m["layers"][0], config


base, base_layer, base_config = make_base(WORK + "/base", media_type=False)
save(f"{P}/{B2}/env", "# two\nVLLM_X=1\nPATH=/opt/bin:/bin\n")
save(f"{P}/{B2}/vllm.yaml", "tensor-parallel-size: 2\nport: 8123\n")
save(f"{P}/{B2}/command.sh", "exec true\n")
run("pack", M, "-p", P, "-o", f"oci:{WORK}/based:v1", "-b", f"oci:{WORK}/base:engine@{base}", "-q")
S = Layout(WORK + "/based")
ix = S.load(S.entry("v1"))
on = [S.load(x) for x in ix["manifests"]]
configs = [S.load(x["config"]) for x in on]
check("a base: its layer first, as it was", all(x["layers"][0] == base_layer and len(x["layers"]) > 5 for x in on) and S.blob(base_layer["digest"]))
check("a base: recorded", all({k: v for k, v in x["annotations"].items() if "base" in k} == {"org.opencontainers.image.base.digest": base,
      "org.opencontainers.image.base.name": "engine", "ingot.base.layers": "1"} for x in on))
check("a base: its platform", {(x["platform"]["architecture"], c["architecture"]) for x, c in zip(ix["manifests"], configs)} == {("arm64", "arm64")})
check("a base: diff ids and history", all(c["rootfs"]["diff_ids"] == base_config["rootfs"]["diff_ids"] + [l["digest"] for l in x["layers"][1:]]
      and c["history"][:2] == base_config["history"] and [h["created_by"] for h in c["history"][2:]] ==
      [l["annotations"]["org.opencontainers.image.title"] for l in x["layers"][1:]] for x, c in zip(on, configs)))
any_, two = configs[0]["config"], configs[1 + names.index(B2)]["config"]
check("the fallback starts what the base starts", any_["Entrypoint"] == ["/engine"] and any_["Cmd"] == ["serve"] and any_["User"] == "1000"
      and any_["Env"] == ["PATH=/bin", "MODEL=/models", "NIM_MANIFEST_PATH=/profiles/model_manifest.yaml"], any_)
check("a profile's image starts the profile", two["Entrypoint"] == ["/bin/sh", f"/profiles/{B2}/command.sh"] and "Cmd" not in two and two["User"] == "1000"
      and two["Env"] == ["PATH=/opt/bin:/bin", "MODEL=/models", "NIM_MANIFEST_PATH=/profiles/model_manifest.yaml", "VLLM_X=1"]
      and two["ExposedPorts"] == {"9/tcp": {}, "8123/tcp": {}} and two["Labels"]["ingot.profile.name"] == B2, two)
check("no port is said: 8000", "8000/tcp" in configs[1 + names.index(H1)]["config"]["ExposedPorts"])
run("sign", WORK + "/based", "-k", WORK + "/k.key", "-q")
v = run("verify", WORK + "/based", "-k", WORK + "/k.pub", "-q", status=1)
failed = [l for l in v.stdout.splitlines() if not l.startswith("pass")][:-2]
check("a package on a base verifies", len(failed) == 1 and "model: " in failed[0], v.stdout)
check("and reads as the model", len(run("mount-map", WORK + "/based", "--json", "-q").stdout.splitlines()) == len(own) + 3 * 2 + 1 + 1 + 2)
refused("another base than the one named", 3, "the base must be sha256:0000", "pack", M, "-o", f"oci:{WORK}/no:v1", "-b", f"oci:{WORK}/base:engine@sha256:{'0' * 64}", "-q")
refused("no such base", 3, "no image has the tag 'x'", "pack", M, "-o", f"oci:{WORK}/no:v1", "-b", f"oci:{WORK}/base:x", "-q")
refused("a base that is not there", 3, "does not exist", "pack", M, "-o", f"oci:{WORK}/no:v1", "-b", f"oci:{WORK}/nowhere:x", "-q")
refused("a digest that is none", 2, "no sha256 digest", "pack", M, "-o", f"oci:{WORK}/no:v1", "-b", f"oci:{WORK}/base:engine@sha256:12", "-q")
refused("the base as output", 2, "would replace the base", "pack", M, "-o", f"oci:{WORK}/base:engine", "-b", f"oci:{WORK}/base:engine", "--force", "-q")
make_base(WORK + "/base2", lambda c: c["rootfs"].update(diff_ids=[]))
refused("a base with too few diff ids", 3, "0 diff ids, the manifest has 1 layers", "pack", M, "-o", f"oci:{WORK}/no:v1", "-b", f"oci:{WORK}/base2:engine", "-q")
make_base(WORK + "/base3", lambda c: c["config"].update(Env="x"))
refused("a base whose environment is no list", 3, "'Env': expected an array", "pack", M, "-o", f"oci:{WORK}/no:v1", "-b", f"oci:{WORK}/base3:engine", "-q")
_, broken, _ = make_base(WORK + "/base4")
with open(f"{WORK}/base4/blobs/sha256/{broken['digest'][7:]}", "r+b") as f:
    f.seek(20)
    f.write(b"X")
refused("a base with another byte", 3, "another digest", "pack", M, "-o", f"oci:{WORK}/no:v1", "-b", f"oci:{WORK}/base4:engine", "-q")
check("nothing is left of them", not [x for x in os.listdir(WORK) if x.startswith((".no", "no"))], os.listdir(WORK))

shutil.rmtree(WORK)
finish()
