#!/usr/bin/env python3
"""push and pull against a registry of our own on the loopback (tests/tools/fake_registry.py): what goes over and comes back,
resuming, credentials, and everything that a hostile or broken registry may do. Real registries: tests/interop/check_registry.sh."""
import base64, concurrent.futures, filecmp, hashlib, http.server, json, os, random, re, shutil, signal, ssl, stat, subprocess, sys
import tempfile, threading, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/tools")
from fake_registry import Change, Drop, Endless, FakeRegistry, Rule, Say, digest

INGOT = os.environ.get("INGOT", ROOT + "/build/ingot")
WORK = tempfile.mkdtemp()
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
CONFIG, LAYER, EMPTY = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.empty.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
REF, KIND = "org.opencontainers.image.ref.name", "kind"
ENV = {k: v for k, v in os.environ.items() if not re.match(r"(?i)(https?|all|no)_proxy$|DOCKER_CONFIG$|REGISTRY_AUTH_FILE$|XDG_", k)}
ENV.update(HOME=WORK + "/home")
os.mkdir(WORK + "/home")


class Test:
    """One case: collects its checks, so that cases run side by side and print in order."""

    def __init__(self, name):
        self.name, self.lines, self.bad = name, [], 0
        self.dir = tempfile.mkdtemp(dir=WORK)
        self.env = {**ENV, "XDG_CACHE_HOME": self.dir + "/cache"}

    def check(self, what, ok, detail=""):
        self.bad += not ok
        self.lines.append(("ok " if ok else "FAIL ") + self.name + ": " + what + ("" if ok else ": " + str(detail)[:700]))

    def ingot(self, *args, env=None, **kw):
        return subprocess.run([INGOT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.dir, env={**self.env, **(env or {})}, timeout=60, **kw)

    def push(self, layout, to, *more, env=None):
        return self.ingot("push", layout, to, "--plain-http", "-q", "--json", *more, env=env)

    def pull(self, frm, out, *more, env=None):
        return self.ingot("pull", frm, "-o", out, "--plain-http", "-q", "--json", *more, env=env)

    def works(self, what, p):
        self.check(what, p.returncode == 0, p.stderr + p.stdout)
        return json.loads(p.stdout) if p.returncode == 0 else {}

    def fails(self, what, p, status, words):
        ok = p.returncode == status and re.search(words, p.stderr) and p.stderr.startswith("ingot p")
        one_line = p.stderr.count("\n") == (2 if status == 2 else 1)
        self.check(what, ok and one_line, f"status {p.returncode}, expected {status} and '{words}': {p.stderr}")


class Layout:
    def __init__(self, path):
        self.path, self.entries = path, []
        os.makedirs(path + "/blobs/sha256")
        with open(path + "/oci-layout", "w") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data, media="application/octet-stream"):
        d = digest(data)
        with open(f"{self.path}/blobs/sha256/{d[7:]}", "wb") as f:
            f.write(data)
        return {"mediaType": media, "digest": d, "size": len(data)}

    def document(self, doc, media=MANIFEST):
        return self.blob(json.dumps({"schemaVersion": 2, "mediaType": media, **doc}).encode(), media)

    def image(self, *layers, **more):
        config = self.blob(json.dumps({"n": len(layers), "architecture": "amd64", "os": "linux"}).encode(), CONFIG)
        return self.document({"config": config, "layers": [self.blob(x, LAYER) for x in layers], **more})

    def referrer(self, subject, text, artifact=BUNDLE):
        doc = {"artifactType": artifact, "config": self.blob(b"{}", EMPTY), "layers": [self.blob(text, artifact)], "subject": subject}
        d = self.document(doc)
        self.entries.append({**d, "artifactType": artifact})
        return d

    def tag(self, d, name, kind="dev.cosignproject.cosign/image"):
        self.entries.append({**d, "annotations": {REF: name, KIND: kind}})
        return d

    def legacy(self, subject, key, end="sig"):
        """cosign's older form: one payload, a signature per layer."""
        payload = b'{"critical":{"image":"' + subject["digest"].encode() + b'"}}'
        layer = {**self.blob(payload, "application/vnd.dev.cosign.simplesigning.v1+json"), "annotations": {"dev.cosignproject.cosign/signature": key}}
        d = self.document({"config": self.blob(b'{"rootfs":{}}', CONFIG), "layers": [layer]})
        return self.tag(d, subject["digest"].replace(":", "-") + "." + end, "dev.cosignproject.cosign/" + end + "s")

    def save(self):
        with open(self.path + "/index.json", "w") as f:
            json.dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}, f)
        return self


rnd = random.Random(7)
BIG = rnd.randbytes(5 << 20)  # with --chunk 1: five pieces
SMALL = [rnd.randbytes(n) for n in (0, 1, 3000, 70000)]


def full_layout(path):
    """An index of two images that share layers, signatures of both kinds, an attestation of a signature."""
    l = Layout(path)
    a, b = l.image(BIG, *SMALL), l.image(SMALL[3], b"other")
    top = l.document({"manifests": [a, b]}, INDEX)
    l.tag(top, "v1", "dev.cosignproject.cosign/imageIndex")
    s = l.referrer(top, b"signature of the index")
    l.referrer(s, b"attestation of a signature", "application/vnd.example.about+json")
    l.referrer(a, b"signature of a")
    l.legacy(a, "KEY1")
    l.legacy(top, "KEY1", "att")
    other = l.tag(l.image(b"another image"), "v2")
    l.referrer(other, b"signature of another image")
    return l.save()


def simple_layout(path, *layers, tag="v1"):
    l = Layout(path)
    l.tag(l.image(*layers), tag)
    return l.save()


def blobs_of(layout, tag="v1"):
    return {f: open(f"{layout}/blobs/sha256/{f}", "rb").read() for f in sorted(os.listdir(layout + "/blobs/sha256"))}


def is_whole(layout):
    """Every file of the layout has the digest it is named by, and nothing else is there."""
    return all(hashlib.sha256(data).hexdigest() == name for name, data in blobs_of(layout).items()) and sorted(os.listdir(layout)) == ["blobs", "index.json", "oci-layout"]


def entries(layout):
    with open(layout + "/index.json") as f:
        return json.load(f)["manifests"]


def leftovers(folder):
    return [n for n in os.listdir(folder) if n.startswith(".")]


CASES = []


def case(f):
    CASES.append(f)
    return f


# ---- what goes over and comes back -------------------------------------------------------------------------------------
def there_and_back(t, **kind):
    l = full_layout(t.dir + "/l")
    with FakeRegistry(**kind) as r:
        out = t.works("push", t.push("l:v1", f"{r.host}/a/b:v1"))
        repo = r.repo("a/b")
        t.check("counts", (out.get("manifests"), out.get("referrers"), out.get("sent")) == (8, 5, out.get("blobs")), out)
        t.check("the tag is the index", repo.tags.get("v1") == l.entries[0]["digest"])
        t.check("the tag comes last", r.log[-1][:2] == ("PUT", "/v2/a/b/manifests/v1"), r.log[-1][:2])
        t.check("no word of the other image", not any(b"another image" in x for x in repo.blobs.values()))
        n = len(r.log)
        again = t.works("push again", t.push("l:v1", f"{r.host}/a/b:v1"))
        t.check("nothing is sent twice", again.get("sent") == 0 and not any(m in ("POST", "PATCH") for m, _, _ in r.log[n:]), again)
        t.works("pull", t.pull(f"{r.host}/a/b:v1", "oci:back"))
        back, want = t.dir + "/back", [e for e in l.entries if e["digest"] not in (l.entries[6]["digest"], l.entries[7]["digest"])]
        t.check("the layout is whole", is_whole(back))
        key = lambda e: (e["digest"], e["size"], e["mediaType"], e.get("artifactType"), json.dumps(e.get("annotations"), sort_keys=True))
        t.check("the index lists the same", sorted(map(key, entries(back))) == sorted(map(key, want)), entries(back))
        names = set(blobs_of(back))
        t.check("every blob is one of the source's", names <= set(blobs_of(l.path)) and len(names) == len(repo.blobs) + 8)
        bare = t.works("pull without referrers", t.pull(f"{r.host}/a/b:v1", "oci:bare:mine", "--no-referrers"))
        t.check("only the image", bare.get("manifests") == 3 and [e["annotations"][REF] for e in entries(t.dir + "/bare")] == ["mine"], bare)
        t.works("pull by digest", t.pull(f"{r.host}/a/b@{l.entries[0]['digest']}", "oci:by"))
        t.fails("pull of a digest that is not there", t.pull(f"{r.host}/a/b@sha256:{'0' * 64}", "oci:no"), 10, "has no 'sha256:0000")
        t.fails("pull of a tag that is not there", t.pull(f"{r.host}/a/b:v9", "oci:no"), 10, "the registry has no 'v9' in")
        t.works("push without referrers", t.push("l:v1", f"{r.host}/bare:v1", "--no-referrers"))
        t.check("only the image there", len(r.repo("bare").manifests) == 3)
        t.fails("push of another digest", t.push("l:v1", f"{r.host}/x:v1@sha256:{'1' * 64}"), 1, "digest: the package is sha256:")
        t.works("push by digest", t.push("l:v1", f"{r.host}/y@{l.entries[0]['digest']}"))
        t.check("no tag then", "latest" not in r.repo("y").tags and not any(k == "v1" for k in r.repo("y").tags))
    t.check("nothing is left over", not leftovers(t.dir))


@case
def referrers_api(t):
    there_and_back(t, page=1)


@case
def fallback_tag(t):
    there_and_back(t, referrers=False)


@case
def fallback_is_merged(t):
    """Entries that others wrote stay, with members that we do not know."""
    with FakeRegistry(referrers=False) as r:
        l = Layout(t.dir + "/l")
        image = l.tag(l.image(b"x"), "v1")
        theirs = l.blob(b'{"schemaVersion":2,"config":{},"layers":[]}', MANIFEST)
        l.referrer(image, b"ours")
        l.save()
        t.works("push", t.push("l:v1", f"{r.host}/m:v1"))
        repo, tag = r.repo("m"), image["digest"].replace(":", "-")
        index = json.loads(repo.manifests[repo.tags[tag]][1])
        ours = index["manifests"][0]
        t.check("an index of one", [m["artifactType"] for m in index["manifests"]] == [BUNDLE] and index["mediaType"] == INDEX)
        repo.manifests[theirs["digest"]] = (MANIFEST, b'{"schemaVersion":2,"config":{},"layers":[]}')
        text = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**theirs, "x-member": 1}], "annotations": {"a": "b"}}).encode()
        repo.manifests[digest(text)] = (INDEX, text)
        repo.tags[tag] = digest(text)
        t.works("push again", t.push("l:v1", f"{r.host}/m:v1"))
        index = json.loads(repo.manifests[repo.tags[tag]][1])
        t.check("both are there, theirs as it was", index["manifests"] == [{**theirs, "x-member": 1}, ours] and index["annotations"] == {"a": "b"}, index)


def signers_at_once(t, etag):
    """Each pushes its own signature of one image, all at once, to a registry that is slow between reading and writing."""
    with FakeRegistry(referrers=False, etag=etag) as r:
        r.put_delay = 0.03
        for i in range(4):
            l = Layout(f"{t.dir}/l{i}")
            image = l.tag(l.image(b"x"), "v1")
            l.referrer(image, b"signature %d" % i)
            l.legacy(image, f"KEY{i}")
            l.save()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for i, p in enumerate(pool.map(lambda i: t.push(f"l{i}:v1", f"{r.host}/m:v1"), range(4))):
                t.works(f"signer {i}", p)
        repo, tag = r.repo("m"), image["digest"].replace(":", "-")
        listed = {m["digest"] for m in json.loads(repo.manifests[repo.tags[tag]][1])["manifests"]}
        made = {entries(f"{t.dir}/l{i}")[1]["digest"] for i in range(4)}
        t.check("no entry is lost", listed == made, f"{len(listed)} of {len(made)}")
        layers = json.loads(repo.manifests[repo.tags[tag + ".sig"]][1])["layers"]
        keys = sorted(x["annotations"]["dev.cosignproject.cosign/signature"] for x in layers)
        t.check("no layer of the older form is lost", keys == ["KEY0", "KEY1", "KEY2", "KEY3"], keys)


@case
def signers_at_once_bare(t):
    signers_at_once(t, False)


@case
def signers_at_once_etag(t):
    signers_at_once(t, True)


@case
def into_a_layout(t):
    with FakeRegistry() as r:
        full_layout(t.dir + "/l")
        t.works("push", t.push("l:v1", f"{r.host}/m:v1"))
        t.works("push the other", t.push("l:v2", f"{r.host}/m:v2"))
        t.works("pull", t.pull(f"{r.host}/m:v1", "oci:d"))
        out = t.works("add", t.pull(f"{r.host}/m:v2", "oci:d"))
        t.check("both are there", is_whole(t.dir + "/d") and {e["annotations"][REF] for e in entries(t.dir + "/d") if "annotations" in e} >= {"v1", "v2"})
        before = open(t.dir + "/d/index.json").read()
        out = t.works("add again", t.pull(f"{r.host}/m:v2", "oci:d"))
        t.check("all was there", out.get("present") == out.get("blobs") and open(t.dir + "/d/index.json").read() == before, out)
        t.fails("another image under the tag", t.pull(f"{r.host}/m:v1", "oci:d:v2"), 2, r"has the tag 'v2' for another image \(--force")
        t.check("and nothing has changed", open(t.dir + "/d/index.json").read() == before)
        t.works("with --force", t.pull(f"{r.host}/m:v1", "oci:d:v2", "--force"))
        tags = {e["annotations"][REF]: e["digest"] for e in entries(t.dir + "/d") if REF in e.get("annotations", {})}
        t.check("the tag moved", tags["v1"] == tags["v2"] and is_whole(t.dir + "/d"), tags)
        victim = t.dir + "/d/blobs/sha256/" + digest(BIG)[7:]
        with open(victim, "r+b") as f:
            f.write(b"spoiled")
        out = t.works("a spoiled blob is fetched again", t.pull(f"{r.host}/m:v1", "oci:d"))
        t.check("and is right", is_whole(t.dir + "/d") and out.get("present") == out.get("blobs") - 1, out)
        os.mkdir(t.dir + "/plain")
        t.fails("a folder that is no layout", t.pull(f"{r.host}/m:v1", "oci:plain"), 3, "not an OCI image layout")
        t.check("nothing is left over", not leftovers(t.dir))


@case
def profiles(t):
    """A package of several images, as pack writes it: each has a tag of its own, the ModelPack manifest too."""
    model = "application/vnd.cncf.model.manifest.v1+json"
    l = Layout(t.dir + "/l")
    images = [l.image(b"weights", b"profile " + n.encode()) for n in ("any", "b200")]
    named = [{**m, "annotations": {"ingot.profile.name": n}} for m, n in zip(images, ("any", "b200"))]
    top = l.document({"manifests": named}, INDEX)
    l.tag(top, "v1", "dev.cosignproject.cosign/imageIndex")
    l.tag(images[0], "v1-any")
    l.entries.append({**images[1], "annotations": {REF: "v1-b200"}})
    pack = {"artifactType": model, "config": l.blob(b'{"descriptor":{}}', "application/vnd.cncf.model.config.v1+json"), "layers": [l.blob(b"weights", "application/vnd.cncf.model.weight.v1.tar")]}
    l.entries.append({**l.document(pack), "artifactType": model, "annotations": {REF: "v1-modelpack"}})
    l.referrer(top, b"signature")
    l.save()
    with FakeRegistry() as r:
        t.works("push under another tag", t.push("l:v1", f"{r.host}/m:w2"))
        tags, wanted = r.repo("m").tags, {"w2": top["digest"], "w2-any": images[0]["digest"], "w2-b200": images[1]["digest"], "w2-modelpack": l.entries[3]["digest"]}
        t.check("every image has its tag", tags == wanted, tags)
        t.check("the package's comes last", r.log[-1][:2] == ("PUT", "/v2/m/manifests/w2"))
        t.works("pull under the first one", t.pull(f"{r.host}/m:w2", "oci:d:v1"))
        t.check("the layout is the same", sorted(json.dumps(e, sort_keys=True) for e in entries(t.dir + "/d")) == sorted(json.dumps(e, sort_keys=True) for e in l.entries), entries(t.dir + "/d"))
        t.check("and whole", is_whole(t.dir + "/d") and blobs_of(t.dir + "/d") == blobs_of(l.path))
        t.works("one of the images", t.pull(f"{r.host}/m:w2-b200", "oci:one"))
        t.check("alone", [e["digest"] for e in entries(t.dir + "/one")] == [images[1]["digest"]])
        r.repo("m").tags["w2-modelpack"] = images[0]["digest"]
        t.works("a tag that only sounds like it", t.pull(f"{r.host}/m:w2", "oci:e"))
        t.check("is left out", not any("modelpack" in str(e) for e in entries(t.dir + "/e")))
        os.unlink(f"{l.path}/blobs/sha256/{digest(b'weights')[7:]}")
        l.referrer(top, b"a later signature")
        l.save()
        t.works("a layout without the weights, which the registry has", t.push("l:v1", f"{r.host}/m:w2"))
        t.check("its signature is there", any(b"a later signature" in b for b in r.repo("m").blobs.values()))
        t.fails("and where the registry has them not either", t.push("l:v1", f"{r.host}/n:w2"), 3, "is missing")


@case
def mounting(t):
    with FakeRegistry() as r:
        simple_layout(t.dir + "/l", BIG, b"small")
        t.works("push", t.push("l", f"{r.host}/one:v1"))
        out = t.works("mount", t.push("l", f"{r.host}/two:v1", "--mount-from", "none/such,one"))
        t.check("all are mounted", (out.get("mounted"), out.get("sent"), out.get("bytes_sent")) == (3, 0, 0), out)
        l = Layout(t.dir + "/b")
        l.tag(l.image(BIG, b"more", annotations={"org.opencontainers.image.base.name": f"{r.host}/one:v1"}), "v1")
        l.save()
        out = t.works("what the base has is mounted without being asked", t.push("b", f"{r.host}/three:v1"))
        t.check("that and no more", (out.get("mounted"), out.get("sent")) == (1, 2) or (out.get("mounted"), out.get("sent")) == (2, 1), out)
        t.fails("a name that is none", t.push("l", f"{r.host}/two:v1", "--mount-from", "../x"), 2, "'../x' is not the name of a repository")


# ---- names --------------------------------------------------------------------------------------------------------------
@case
def names(t):
    simple_layout(t.dir + "/l", b"x")
    for name, words in [
        ("noregistry", "is not an image in a registry"),
        ("library/x:v1", "'library' is not the host"),
        ("host.example/UPPER", "'UPPER' is not the name of a repository"),
        ("host.example/a/../b", "is not the name of a repository"),
        ("host.example/a//b", "is not the name of a repository"),
        ("host.example/a:-x", "'-x' is not a tag"),
        ("host.example/a@sha256:12", "'sha256:12' is not"),
        ("host.example/a?x=1", "is not the name of a repository"),
        ("host.example:99999/a", "is not the host"),
        ("user@host.example/a", "is not the host"),
        ("host.example/" + "a" * 256, "is not the name of a repository"),
        ("https://host.example/a", "is not the host"),
    ]:
        t.fails("push to " + name[:40], t.ingot("push", "l", name, "-q"), 2, re.escape(words) if "(" in words else words)
    for host in ("example.com", "10.0.0.1:5000", "localhost.example.com", "127.0.0.1.example.com", "[::2]:5000", "128.0.0.1"):
        t.fails("--plain-http to " + host, t.pull(f"{host}/a:v1", "oci:x"), 2, "--plain-http is for loopback addresses only")
    t.fails("a tag that is none", t.pull("localhost:1/a", "oci:x:-y"), 2, "is not a tag")
    t.fails("nobody there", t.pull("localhost:1/a", "oci:x", "--retries", "1"), 10, "localhost:1: ")
    t.fails("TLS is spoken without --plain-http", t.ingot("pull", "localhost:1/a", "-o", "oci:x", "-q", "--retries", "1"), 10, "localhost:1")


# ---- uploads that break --------------------------------------------------------------------------------------------------
@case
def upload_resumes(t):
    with FakeRegistry() as r:
        simple_layout(t.dir + "/l", BIG)
        r.rules.append(Drop("PATCH", "/uploads/", after=300000, skip=2))
        r.rules.append(Drop("PATCH", "/uploads/", after=1, skip=1))
        t.works("push over broken connections", t.push("l", f"{r.host}/m:v1", "--chunk", "1"))
        t.check("both broke", all(x.hits == 1 for x in r.rules))
        sent = [int(h["Content-Length"]) for m, p, h in r.log if m == "PATCH"]
        t.check("no byte was sent twice but those that were lost", sum(sent) < len(BIG) + (2 << 20), sent)
        t.check("one session", r.count("POST", "/uploads/") == 2, r.count("POST", "/uploads/"))
        t.check("it was asked for its range", r.count("GET", "/uploads/") == 2)
    for trap in (True, False):
        with FakeRegistry(append_trap=trap) as r:
            # the registry took all of the piece and its answer was lost
            r.rules.append(Drop("PATCH", "/uploads/", after=0, reply=True, skip=1))
            r.rules.append(Change("PATCH", "/uploads/", lambda s, h, b: (502, {}, b"")))
            t.works(f"an answer is lost, out-of-order pieces are {'appended' if trap else 'refused'}", t.push("l", f"{r.host}/m:v1", "--chunk", "1"))
            t.check("whole", BIG in r.repo("m").blobs.values())


@case
def upload_oddities(t):
    simple_layout(t.dir + "/l", BIG)
    with FakeRegistry() as r:
        r.rules.append(Say("PATCH", "/uploads/", 404, skip=2))  # the session is gone
        r.rules.append(Say("GET", "/uploads/", 404))
        t.works("a lost session", t.push("l", f"{r.host}/m:v1", "--chunk", "1"))
    with FakeRegistry() as r:
        r.rules.append(Say("PUT", "/uploads/", 503, {"Retry-After": "0"}))
        r.rules.append(Say("HEAD", "/blobs/", 500, times=2))
        t.works("a registry that is out of breath", t.push("l", f"{r.host}/m:v1", "--chunk", "1"))
    with FakeRegistry() as r:
        # as docker-registry 2.8.2 answers while another client writes the same links
        r.rules.append(Say("PUT", "/manifests/sha256", 400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}'))
        t.works("a registry that is confused for a moment", t.push("l", f"{r.host}/m:v1"))
        r.rules.append(Say("PUT", "/manifests/sha256", 400, {}, b'{"errors":[{"code":"DIGEST_INVALID"}]}', times=None))
        t.fails("and one that stays so", t.push("l", f"{r.host}/m:v1", "--retries", "1"), 10, r"answers 400 \(DIGEST_INVALID\)")
    with FakeRegistry() as r:
        start = time.time()
        r.rules.append(Say("POST", "/uploads/", 429, {"Retry-After": "1"}))
        t.works("too many requests", t.push("l", f"{r.host}/m:v1"))
        t.check("Retry-After is kept to", time.time() - start >= 1)
    with FakeRegistry() as r:
        r.rules.append(Say("POST", "/uploads/", 429, {"Retry-After": "86400"}, times=None))
        t.fails("a Retry-After of a day", t.push("l", f"{r.host}/m:v1"), 10, "asks to wait 86400 seconds; at most 120")
    with FakeRegistry() as r:
        r.rules.append(Say("PATCH|PUT", "/uploads/", 500, times=None))
        t.fails("a registry that never gets well", t.push("l", f"{r.host}/m:v1", "--retries", "2"), 10, "answers 500")
        t.check("tries are counted", r.count("PUT", "/uploads/") <= 6, r.count("PUT", "/uploads/"))
    with FakeRegistry() as r:
        r.rules.append(Change("PATCH", "/uploads/", lambda s, h, b: (s, {**h, "Range": "0-99999999"}, b)))
        t.fails("a range beyond what was sent", t.push("l", f"{r.host}/m:v1", "--chunk", "1"), 10, "says it has 100000000 bytes")
    with FakeRegistry() as r:
        r.rules.append(Change("POST", "/uploads/", lambda s, h, b: (s, {k: v for k, v in h.items() if k != "Location"}, b), times=None))
        t.fails("no Location", t.push("l", f"{r.host}/m:v1"), 10, "gives an upload no address")
    with FakeRegistry() as r:
        r.rules.append(Change("POST", "/uploads/", lambda s, h, b: (s, {**h, "Location": "file:///etc/passwd"}, b), times=None))
        t.fails("a Location that is a file", t.push("l", f"{r.host}/m:v1"), 10, "not an address of a registry")
    with FakeRegistry() as r:
        r.rules.append(Say("PUT", "/manifests/", 403, {}, json.dumps({"errors": [{"code": "DENIED", "message": "no\x1b[2Jpush\nfor you"}]}).encode()))
        t.fails("what it says is shown, without its control characters", t.push("l", f"{r.host}/m:v1"), 10, r"answers 403 \(DENIED: no\\x1b\[2Jpush\\x0afor you\)")


@case
def upload_of_a_spoiled_package(t):
    l = simple_layout(t.dir + "/l", BIG)
    with FakeRegistry() as r:
        path = l.path + "/blobs/sha256/" + digest(BIG)[7:]
        with open(path, "r+b") as f:
            f.write(b"spoiled")
        t.fails("a spoiled layer", t.push("l", f"{r.host}/m:v1"), 1, "digest: blob sha256:.* of the package: its file has the digest")
        t.check("no tag appears", not r.repo("m").tags)
        os.truncate(path, 100)
        t.fails("a short layer", t.push("l", f"{r.host}/m:v1"), 1, "digest: a blob of the package has another size")
        os.unlink(path)
        t.fails("a missing layer", t.push("l", f"{r.host}/m:v1"), 3, "is missing")
        os.mkfifo(path)
        t.fails("a fifo for a layer", t.push("l", f"{r.host}/m:v1"), 3, "not a regular file")
        with open(l.path + "/blobs/sha256/" + l.entries[0]["digest"][7:], "a") as f:
            f.write(" ")
        t.fails("a spoiled manifest", t.push("l", f"{r.host}/m:v1"), 1, "digest: a manifest of the package")
        t.fails("another tag", t.push("l:v7", f"{r.host}/m:v1"), 3, "no image has the tag 'v7'")


@case
def killed_push(t):
    """The next run takes the upload up where the killed one left it."""
    simple_layout(t.dir + "/l", BIG)
    with FakeRegistry() as r:
        hold = threading.Event()

        class Hold(Rule):
            def before(self, h):
                hold.wait(10)
                return False

        r.rules.append(Hold("PATCH", "/uploads/", skip=3))
        p = subprocess.Popen([INGOT, "push", "l", f"{r.host}/m:v1", "--plain-http", "-q", "--chunk", "1"], cwd=t.dir, env=t.env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not r.rules[0].hits:
            time.sleep(0.01)
        p.kill()
        p.wait()
        state = t.dir + "/cache/ingot/push"
        kept = os.listdir(state)
        t.check("the session is kept for its owner only", len(kept) == 1 and os.stat(f"{state}/{kept[0]}").st_mode & 0o777 == 0o600, kept)
        r.rules[0].path = "nothing"
        hold.set()
        time.sleep(0.2)
        n = len(r.log)
        t.works("push again", t.push("l", f"{r.host}/m:v1", "--chunk", "1"))
        sent = sum(int(h["Content-Length"]) for m, p, h in r.log[n:] if m == "PATCH")
        t.check("only the rest is sent", 0 < sent <= len(BIG) - (3 << 20), sent)
        t.check("whole", BIG in r.repo("m").blobs.values())
        t.check("no state stays behind", os.listdir(state) == [], os.listdir(state))


# ---- downloads that break ------------------------------------------------------------------------------------------------
def stocked(r, t):
    """A registry with one image of BIG and small blobs, filled without our push."""
    l = simple_layout(t.dir + "/src", BIG, *SMALL)
    repo = r.repo("m")
    for name, data in blobs_of(l.path).items():
        repo.blobs["sha256:" + name] = data
    d = l.entries[0]["digest"]
    repo.manifests[d] = (MANIFEST, repo.blobs.pop(d))
    repo.tags["v1"] = d
    return l


BIG_PATH = "/blobs/" + digest(BIG)


@case
def download_resumes(t):
    with FakeRegistry() as r:
        stocked(r, t)
        for after in (0, 1, 70000, 2 << 20):
            r.rules.append(Drop("GET", BIG_PATH, after=after, reply=True))
        t.works("pull over broken connections", t.pull(f"{r.host}/m:v1", "oci:d"))
        t.check("whole", is_whole(t.dir + "/d") and all(x.hits == 1 for x in r.rules))
        ranges = [h.get("Range") for m, p, h in r.log if m == "GET" and BIG_PATH in p]
        t.check("the rest was asked for", ranges == [None, None, "bytes=1-", "bytes=70001-", f"bytes={70001 + (2 << 20)}-"], ranges)
    with FakeRegistry() as r:
        l = Layout(t.dir + "/x")
        repo = r.repo("m")
        image = l.image(BIG)
        for name, data in blobs_of(l.path).items():
            repo.blobs["sha256:" + name] = data
        repo.manifests[image["digest"]] = (MANIFEST, repo.blobs.pop(image["digest"]))
        repo.tags["v1"] = image["digest"]
        r.rules.append(Drop("GET", BIG_PATH, after=100000, reply=True))
        r.rules.append(Change("GET", BIG_PATH, lambda s, h, b: (200, {"Content-Type": "x/y"}, BIG)))
        t.works("a registry that knows no ranges", t.pull(f"{r.host}/m:v1", "oci:e"))
        r.rules[:] = [Drop("GET", BIG_PATH, after=100000, reply=True), Say("GET", BIG_PATH, 416)]
        t.works("416", t.pull(f"{r.host}/m:v1", "oci:f"))
        r.rules[:] = [Drop("GET", BIG_PATH, after=100000, reply=True), Change("GET", BIG_PATH, lambda s, h, b: (206, {**h, "Content-Range": f"bytes 5-{len(BIG) - 1}/{len(BIG)}"}, b))]
        t.fails("another range than was asked for", t.pull(f"{r.host}/m:v1", "oci:g"), 10, "answers with the range 'bytes 5-")
        t.works("and the next run goes on", t.pull(f"{r.host}/m:v1", "oci:g"))
        t.check("all whole", all(is_whole(t.dir + "/" + x) for x in "efg"))
        r.rules[:] = [Say("GET", BIG_PATH, 503, times=2), Say("GET", "/manifests/", 502)]
        t.works("503 and 502 pass", t.pull(f"{r.host}/m:v1", "oci:h"))
        t.check("nothing is left over", not leftovers(t.dir), leftovers(t.dir))


@case
def killed_pull(t):
    """At each of these bytes; the next run ends in the same layout, and what was there is not fetched again."""
    with FakeRegistry() as r:
        stocked(r, t)
        t.works("pull", t.pull(f"{r.host}/m:v1", "oci:want"))
        want = blobs_of(t.dir + "/want")
        for at in (0, 1, 65537, 3 << 20, len(BIG)):
            reached, hold = threading.Event(), threading.Event()

            class Stall(Rule):
                def before(self, h):
                    h.send_response(200)
                    h.send_header("Content-Length", str(len(BIG)))
                    h.end_headers()
                    h.wfile.write(BIG[:at])
                    h.wfile.flush()
                    time.sleep(0.25)
                    reached.set()
                    hold.wait(10)
                    h.close_connection = True
                    return True

            r.rules[:] = [Stall("GET", BIG_PATH)]
            out = f"oci:d{at}"
            p = subprocess.Popen([INGOT, "pull", f"{r.host}/m:v1", "-o", out, "--plain-http", "-q"], cwd=t.dir, env=t.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            reached.wait(20)
            p.kill()
            p.wait()
            hold.set()
            if p.returncode == -signal.SIGKILL and at < len(BIG):
                t.check(f"killed at {at}: no layout yet", not os.path.exists(f"{t.dir}/d{at}"))
            n = len(r.log)
            t.works(f"killed at {at}: again", t.pull(f"{r.host}/m:v1", out))
            t.check(f"killed at {at}: the same", blobs_of(f"{t.dir}/d{at}") == want and filecmp.cmp(f"{t.dir}/d{at}/index.json", t.dir + "/want/index.json", False))
            ranges = [h.get("Range") for m, p, h in r.log[n:] if m == "GET" and BIG_PATH in p]
            t.check(f"killed at {at}: only the rest", ranges == ([] if at == len(BIG) else [f"bytes={at}-"] if at else [None]), ranges)
        part = f"{t.dir}/.z.ingot-partial/blobs/sha256/{digest(BIG)[7:]}.part"
        r.rules[:] = [Drop("GET", BIG_PATH, after=1 << 20, reply=True), Say("GET", BIG_PATH, 403)]
        t.fails("a run that fails", t.pull(f"{r.host}/m:v1", "oci:z"), 10, "answers 403")
        with open(part, "r+b") as f:
            f.write(b"spoiled")
        t.works("what it left was spoiled meanwhile", t.pull(f"{r.host}/m:v1", "oci:z"))
        t.check("whole", is_whole(t.dir + "/z") and not leftovers(t.dir))


# ---- hostile answers -----------------------------------------------------------------------------------------------------
@case
def hostile_blobs(t):
    def bad(what, rule, status, words, **kw):
        with FakeRegistry(**kw) as r:
            shutil.rmtree(t.dir + "/src", ignore_errors=True)
            stocked(r, t)
            rule.times = None
            r.rules.append(rule)
            t.fails(what, t.pull(f"{r.host}/m:v1", "oci:d", "--retries", "1"), status, words)
            t.check(what + ": no layout", not os.path.exists(t.dir + "/d"))
            shutil.rmtree(t.dir + "/.d.ingot-partial", ignore_errors=True)

    wrong = bytes([BIG[0] ^ 1]) + BIG[1:]
    bad("wrong bytes", Change("GET", BIG_PATH, lambda s, h, b: (s, h, wrong)), 1, "digest: blob sha256:.* what the registry sends has the digest")
    bad("too many bytes", Change("GET", BIG_PATH, lambda s, h, b: (s, h, b + b"x")), 1, "digest: .*sends more than its 5242880 bytes")
    bad("an endless body", Endless("GET", BIG_PATH), 1, "digest: ")
    bad("too few bytes", Change("GET", BIG_PATH, lambda s, h, b: (200, {}, BIG[:1000])), 1, "digest: .*sends 1000 of its 5242880 bytes")
    bad("a Content-Length that is not kept", Change("GET", BIG_PATH, lambda s, h, b: (200, {"Content-Length": str(len(BIG))}, BIG[:1000])), 10, "blob sha256")
    bad("an encoding", Change("GET", BIG_PATH, lambda s, h, b: (s, {**h, "Content-Encoding": "gzip"}, b)), 10, "encoded as 'gzip'")
    bad("it is gone", Say("GET", BIG_PATH, 404), 10, "answers 404")
    bad("a redirect to a file", Say("GET", BIG_PATH, 307, {"Location": "file:///etc/passwd"}), 10, "file:///etc/passwd")
    bad("a redirect to another machine without TLS", Say("GET", BIG_PATH, 307, {"Location": "http://192.0.2.1/x"}), 10, "plain HTTP goes to loopback addresses only")
    bad("redirects without end", Say("GET", BIG_PATH, 302, {"Location": BIG_PATH.join(("/v2/m", ""))}), 10, "redirects more than 5 times")
    bad("headers without end", Say("GET", BIG_PATH, 200, {f"X-{i}": "y" * 1000 for i in range(90)}), 10, "headers have more than|too large|header")
    bad("an endless list of referrers", Endless("GET", "/referrers/"), 10, "more than 4194304 bytes")
    bad("an endless error", Say("GET", BIG_PATH, 404, {}, b"x" * 100000), 10, "more than 65536 bytes")


@case
def hostile_manifests(t):
    def manifest(doc, headers=None, kind=MANIFEST, raw=None):
        """Pulls from a registry whose tag is this document."""
        with FakeRegistry() as r:
            repo = r.repo("m")
            text = raw if raw is not None else json.dumps(doc).encode()
            repo.manifests[digest(text)] = (kind, text)
            repo.tags["v1"] = digest(text)
            for b in (b"{}", b"layer"):
                repo.blobs[digest(b)] = b
            if headers:
                r.rules.append(Change("GET", "/manifests/v1", lambda s, h, b: (s, {**h, **headers}, b), times=None))
            return t.pull(f"{r.host}/m:v1", "oci:d", "--retries", "1")

    def d(data, **more):
        return {"mediaType": LAYER, "digest": digest(data), "size": len(data), **more}

    good = {"schemaVersion": 2, "mediaType": MANIFEST, "config": d(b"{}"), "layers": [d(b"layer")]}
    t.works("the good one", manifest(good))
    shutil.rmtree(t.dir + "/d")
    t.fails("the registry calls it another digest", manifest(good, {"Docker-Content-Digest": "sha256:" + "0" * 64}), 1, "digest: manifest v1: the registry calls it")
    t.fails("manifest and index at once", manifest({**good, "manifests": []}), 3, "is a manifest and an index at once")
    t.fails("two media types", manifest(good, kind=INDEX), 3, "expected media type")
    t.fails("an index that says manifest", manifest({"schemaVersion": 2, "mediaType": MANIFEST, "manifests": []}), 3, "but the document is an index")
    t.fails("a kind we do not know", manifest({"schemaVersion": 2, "mediaType": "application/x"}, kind="application/x"), 4, 'media type "application/x"')
    t.fails("schema 1", manifest({**good, "schemaVersion": 1}), 3, "schemaVersion")
    t.fails("a key twice", manifest(None, raw=b'{"schemaVersion":2,"schemaVersion":2}'), 3, "duplicate")
    t.fails("not JSON", manifest(None, raw=b"<html>"), 3, "line 1")
    t.fails("deep", manifest(None, raw=b"[" * 100000), 3, "manifest [0-9a-f]*")
    t.fails("more than 4 MiB", manifest(None, raw=b" " * (5 << 20)), 10, "more than 4194304 bytes")
    t.fails("a digest that is a path", manifest({**good, "layers": [{**d(b"layer"), "digest": "sha256:../../../../etc/passwd"}]}), 3, "is not \"sha256:\" and 64")
    t.fails("another algorithm", manifest({**good, "layers": [{**d(b"layer"), "digest": "md5:" + "0" * 32}]}), 3, "is not \"sha256:\"")
    t.fails("a negative size", manifest({**good, "layers": [{**d(b"layer"), "size": -1}]}), 3, "size")
    t.fails("a size over all limits", manifest({**good, "layers": [{**d(b"layer"), "size": 1 << 60}]}), 3, "size")
    t.fails("more than the disk holds", manifest({**good, "layers": [{**d(b"layer"), "size": 1 << 46}]}), 5, "the disk has room for")
    t.fails("one digest with two sizes", manifest({**good, "layers": [d(b"layer"), {**d(b"layer"), "size": 6}]}), 3, "is said to have")
    t.fails("too many layers", manifest({**good, "layers": [d(b"layer")] * 9000}), 3, "has 9000 items")
    t.fails("an entry that is not there", manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**d(b"gone"), "mediaType": MANIFEST}]}, kind=INDEX), 10, "names it and does not have it")
    t.check("no layout from any of them", not os.path.exists(t.dir + "/d") and not leftovers(t.dir), os.listdir(t.dir))
    with FakeRegistry() as r:
        repo, text = r.repo("m"), json.dumps(good).encode()
        for _ in range(7):
            repo.manifests[digest(text)] = (MANIFEST if _ == 0 else INDEX, text)
            text = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST if _ == 0 else INDEX, "digest": digest(text), "size": len(text)}]}).encode()
        repo.manifests[digest(text)] = (INDEX, text)
        repo.tags["v1"] = digest(text)
        t.fails("indexes in indexes", t.pull(f"{r.host}/m:v1", "oci:d"), 3, "nested more than 4 deep")
        r.rules.append(Change("GET", "/manifests/sha256", lambda s, h, b: (s, h, b + b" "), times=None))
        t.fails("a manifest that is not what its digest says", t.pull(f"{r.host}/m@{repo.tags['v1']}", "oci:d"), 1, "digest: manifest sha256:")


@case
def hostile_referrers(t):
    """What is listed and does not speak of the image is not taken; what cannot be carried does not bar it."""
    with FakeRegistry() as r:
        l = stocked(r, t)
        other = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": l.blob(b"{}"), "layers": [], "subject": {"mediaType": MANIFEST, "digest": digest(b"?"), "size": 1}}).encode()
        odd = json.dumps({"schemaVersion": 2, "mediaType": "application/x", "subject": {"mediaType": MANIFEST, "digest": l.entries[0]["digest"], "size": 1}}).encode()
        listed = []
        for text in (other, odd):
            r.repo("m").manifests[digest(text)] = ("", text)
            listed.append({"mediaType": MANIFEST, "digest": digest(text), "size": len(text)})
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
        r.rules.append(Change("GET", "/referrers/" + l.entries[0]["digest"], lambda s, h, b: (200, {"Content-Type": INDEX}, index), times=None))
        out = t.works("pull", t.pull(f"{r.host}/m:v1", "oci:d"))
        t.check("the image alone", out.get("manifests") == 1 and is_whole(t.dir + "/d"), out)
        r.rules[0].change = lambda s, h, b: (200, {"Content-Type": INDEX, "Link": '<?page=1>; rel="next"'}, index)
        t.fails("pages without end", t.pull(f"{r.host}/m:v1", "oci:e"), 10, "more than 64 pages")
        r.rules[0].change = lambda s, h, b: (200, {"Content-Type": INDEX}, json.dumps({"manifests": listed * 600}).encode())
        t.fails("too many", t.pull(f"{r.host}/m:v1", "oci:e"), 3, "lists more than 1024 manifests")
        r.rules[0].change = lambda s, h, b: (200, {"Content-Type": INDEX}, json.dumps({"manifests": [{**listed[0], "size": 1}]}).encode())
        t.fails("a size that is wrong", t.pull(f"{r.host}/m:v1", "oci:e"), 1, "digest: manifest sha256:.*expected 1 bytes")


# ---- who we are ----------------------------------------------------------------------------------------------------------
def docker_config(t, doc, name="docker"):
    os.makedirs(f"{t.dir}/{name}", exist_ok=True)
    with open(f"{t.dir}/{name}/config.json", "w") as f:
        json.dump(doc, f)
    return {"DOCKER_CONFIG": f"{t.dir}/{name}"}


def pair(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@case
def credentials(t):
    simple_layout(t.dir + "/l", b"x")
    secret = "s3cret:x"
    for auth in ("basic", "token"):
        with FakeRegistry(auth=auth) as r:
            good = docker_config(t, {"auths": {r.host: {"auth": pair(r.user, secret)}}})
            t.works(auth + ": push", t.push("l", f"{r.host}/a/b:v1", env=good))
            t.works(auth + ": pull", t.pull(f"{r.host}/a/b:v1", "oci:" + auth, env=good))
            none = docker_config(t, {"auths": {"other.example": {"auth": pair(r.user, secret)}}}, "none")
            p = t.pull(f"{r.host}/a/b:v1", "oci:x", env=none)
            t.fails(auth + ": none are stored", p, 10, "no credentials for it are stored" if auth == "basic" else "token service answers 401")
            bad = docker_config(t, {"auths": {r.host: {"auth": pair(r.user, "wr0ng")}}}, "bad")
            p = t.pull(f"{r.host}/a/b:v1", "oci:x", env=bad)
            t.fails(auth + ": wrong ones", p, 10, "401")
            t.check(auth + ": they are not shown", "wr0ng" not in p.stderr + p.stdout and pair(r.user, "wr0ng") not in p.stderr)
            if auth == "token":
                t.check("scopes", ["repository:a/b:pull,push"] == r.scopes[0][:1] and ["repository:a/b:pull"] == r.scopes[-1][:1], r.scopes)
                r.token_uses = 2
                t.works("tokens that run out", t.pull(f"{r.host}/a/b:v1", "oci:runout", env=good))
                t.works("push with a mount asks for both", t.push("l", f"{r.host}/c:v1", "--mount-from", "a/b", env=good))
                t.check("both scopes", {"repository:c:pull,push", "repository:a/b:pull"} <= set(r.scopes[-1]), r.scopes[-1])
    with FakeRegistry(auth="identity") as r:
        r.password = "identity-token"
        env = docker_config(t, {"auths": {r.host: {"identitytoken": "identity-token", "auth": ""}}}, "identity")
        t.works("an identity token", t.push("l", f"{r.host}/a:v1", env=env))
    with FakeRegistry(auth="basic") as r:
        run = t.dir + "/run"
        os.makedirs(run + "/containers")
        with open(run + "/containers/auth.json", "w") as f:
            json.dump({"auths": {r.host + "/a": {"auth": pair(r.user, secret)}, r.host: {"auth": pair("no", "no")}}}, f)
        t.works("podman's file, by repository", t.push("l", f"{r.host}/a/b:v1", env={"XDG_RUNTIME_DIR": run}))
        t.fails("and not for others", t.push("l", f"{r.host}/ab:v1", env={"XDG_RUNTIME_DIR": run}), 10, "401")
        t.works("REGISTRY_AUTH_FILE", t.push("l", f"{r.host}/a/b:v1", env={"REGISTRY_AUTH_FILE": run + "/containers/auth.json"}))
        for name, text, words in [("key", '{"auths":[]}', "expected 'auths'"), ("base64", json.dumps({"auths": {r.host: {"auth": "%%"}}}), "is not base64"), ("json", "{", "line 1"),
                                  ("line", json.dumps({"auths": {r.host: {"auth": pair("a\r\nX-Evil: 1", "b")}}}), "control character")]:
            os.makedirs(f"{t.dir}/{name}")
            with open(f"{t.dir}/{name}/config.json", "w") as f:
                f.write(text)
            t.fails("a broken file: " + name, t.push("l", f"{r.host}/a:v1", env={"DOCKER_CONFIG": f"{t.dir}/{name}"}), 3, words)


def helper(t, name, script):
    os.makedirs(t.dir + "/bin", exist_ok=True)
    path = f"{t.dir}/bin/docker-credential-{name}"
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + script)
    os.chmod(path, 0o755)


@case
def helpers(t):
    simple_layout(t.dir + "/l", b"x")
    with FakeRegistry(auth="basic") as r:
        path = {"PATH": t.dir + "/bin:" + os.environ["PATH"]}
        answer = json.dumps({"ServerURL": r.host, "Username": r.user, "Secret": r.password})
        helper(t, "good", f'read -r s; [ "$1 $s" = "get {r.host}" ] || exit 1\necho \'{answer}\'\n')
        helper(t, "none", 'echo "credentials not found in native keychain"; exit 1\n')
        helper(t, "fails", "echo secret-of-the-helper; exit 3\n")
        helper(t, "floods", "yes secret-of-the-helper\n")
        helper(t, "odd", "echo '{\"Username\": 1}'\n")
        for key, doc in [("credHelpers", {"credHelpers": {r.host: "good"}, "credsStore": "fails"}), ("credsStore", {"credsStore": "good", "auths": {r.host: {}}})]:
            t.works(key, t.push("l", f"{r.host}/a:v1", env={**path, **docker_config(t, doc)}))
        for name, status, words in [("none", 10, "no credentials for it are stored"), ("fails", 10, "helper 'docker-credential-fails' failed"), ("floods", 3, "more than 65536 bytes"), ("odd", 3, "expected {\"Username\""),
                                    ("is-not-there", 5, "cannot run the credential helper"), ("../bad", 3, "expected the name of a credential helper")]:
            p = t.push("l", f"{r.host}/a:v1", env={**path, **docker_config(t, {"credsStore": name})})
            t.fails("a helper: " + name, p, status, words)
            t.check(name + ": what it said is not shown", "secret-of" not in p.stderr)


@case
def elsewhere(t):
    """Along a redirect go no credentials."""
    with FakeRegistry(auth="basic") as r, FakeRegistry() as other:
        l = stocked(r, t)
        other.repo("m").blobs[digest(BIG)] = BIG
        env = docker_config(t, {"auths": {r.host: {"auth": pair(r.user, r.password)}}})
        r.rules.append(Say("GET", BIG_PATH, 307, {"Location": f"http://{other.host}/v2/m{BIG_PATH}"}, times=None))
        t.works("pull over another port", t.pull(f"{r.host}/m:v1", "oci:d", env=env))
        t.check("it was asked there", len(other.log) == 1)
        t.check("without credentials", "Authorization" not in other.log[0][2], other.log)
        t.check("with them here", any("Authorization" in h for _, _, h in r.log))
        other.auth = "basic"
        t.fails("who asks for them there gets none", t.pull(f"{r.host}/m:v1", "oci:e", env=env), 10, "answers 401")
        r.rules[:] = [Change("POST", "/uploads/", lambda s, h, b: (s, {**h, "Location": f"http://{other.host}/v2/m/blobs/uploads/0"}, b), times=None)]
        other.auth = None
        n = len(other.log)
        simple_layout(t.dir + "/n", b"new")
        t.fails("an upload that is sent elsewhere", t.push("n", f"{r.host}/m:v1", "--retries", "1", env=env), 10, "answers 404|blob")
        t.check("goes without", len(other.log) > n and not any("Authorization" in h for _, _, h in other.log[n:]))


@case
def tls(t):
    key, cert = t.dir + "/key.pem", t.dir + "/cert.pem"
    p = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=x", "-days", "30",
                        "-addext", "subjectAltName=IP:127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode != 0:
        t.lines.append("skip tls: the openssl program makes no certificate here")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    simple_layout(t.dir + "/l", BIG)
    with FakeRegistry(tls=context) as r:
        go = lambda *more: t.ingot("push", "l", *more, "-q", "--json", "--retries", "1")
        t.works("with --ca-file", go(f"{r.host}/m:v1", "--ca-file", cert))
        t.fails("without", go(f"{r.host}/m:v1"), 10, "(?i)certificate|ssl")
        t.fails("another name", go(f"localhost:{r.port}/m:v1", "--ca-file", cert), 10, "(?i)certificate|ssl|host")
        t.fails("a file that is none", go(f"{r.host}/m:v1", "--ca-file", t.dir + "/l/index.json"), 10, "(?i)certificate|ssl|CAfile")
        r.rules.append(Say("HEAD", "/blobs/", 307, {"Location": "http://127.0.0.1:1/x"}, times=None))
        t.fails("a redirect away from TLS", go(f"{r.host}/m:v1", "--ca-file", cert), 10, "is not https")


@case
def memory(t):
    """The peak does not grow with the package: 96 MiB in three blobs, three at a time, and the limit is 64 MiB."""
    l = Layout(t.dir + "/l")
    l.tag(l.image(*[bytes([i]) * (32 << 20) for i in range(3)]), "v1")
    l.save()

    def peak(*args):
        """Looks at it while it runs: what the kernel counts at the end begins with this interpreter's own size."""
        most, p = 0, subprocess.Popen([INGOT, *args], env=ENV, stdout=subprocess.DEVNULL)
        while p.poll() is None:
            try:
                most = max(most, int(re.search(r"VmHWM:\s+(\d+) kB", open(f"/proc/{p.pid}/status").read())[1]))
            except (OSError, TypeError):
                pass
            time.sleep(0.005)
        return p.returncode, most / 1024

    with FakeRegistry() as r:
        status, mib = peak("push", f"{l.path}:v1", f"{r.host}/m:v1", "--plain-http", "-q", "-j", "3", "--json")
        t.check("push", status == 0 and 2 < mib < 64, f"{status}, {mib:.0f} MiB")
        status, mib = peak("pull", f"{r.host}/m:v1", "-o", f"oci:{t.dir}/d", "--plain-http", "-q", "-j", "3", "--json")
        t.check("pull", status == 0 and 2 < mib < 64, f"{status}, {mib:.0f} MiB")


def run(f):
    t = Test(f.__name__)
    try:
        f(t)
    except Exception as e:
        import traceback
        t.bad += 1
        t.lines.append(f"FAIL {t.name}: {type(e).__name__}: {e} {traceback.format_exc()[-600:]}".replace("\n", " | "))
    return t


try:
    only = sys.argv[1:]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        bad = 0
        for t in pool.map(run, [c for c in CASES if not only or c.__name__ in only]):
            print("\n".join(t.lines), flush=True)
            bad += t.bad
finally:
    shutil.rmtree(WORK, ignore_errors=True)
sys.exit(bad != 0)
