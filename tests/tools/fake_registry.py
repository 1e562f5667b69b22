"""A registry on the loopback that speaks the distribution API (spec 1.1) and misbehaves on request: for
tests/cli/registry.py and bench/push_peers.py's dry run. Not a model of any product; where one is imitated it says so.

    with FakeRegistry(referrers=False) as r:
        r.rules.append(Drop("PATCH", "/blobs/uploads/", after=1000, times=1))
        ... http://127.0.0.1:{r.port} ...
        r.log: [(method, path, headers)]
"""
import base64, hashlib, http.server, json, re, socket, struct, threading, time, urllib.parse

INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Rule:
    """Does something else than a good registry would, `times` times (None: always), for requests of `method` (a regular
    expression) whose path holds `path`."""

    def __init__(self, method, path, times=1, skip=0):
        self.method, self.path, self.times, self.skip, self.hits = method, path, times, skip, 0

    def fits(self, method, path):
        if not re.fullmatch(self.method, method) or self.path not in path or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        self.hits += 1
        return True

    def before(self, h):
        """True: the request has been answered."""
        return False

    drop_body_after = None  # of the request: the connection ends there, what came is kept
    drop_reply_after = None
    change = None  # (status, headers, body) -> the same


class Drop(Rule):
    """Ends the connection after so many bytes of the request's (or, `reply`, of the answer's) body."""

    def __init__(self, method, path, after, reply=False, **kw):
        super().__init__(method, path, **kw)
        if reply:
            self.drop_reply_after = after
        else:
            self.drop_body_after = after


class Say(Rule):
    """Answers with this."""

    def __init__(self, method, path, status, headers=None, body=b"", **kw):
        super().__init__(method, path, **kw)
        self.answer = (status, headers or {}, body)

    def before(self, h):
        h.read_body()
        h.reply(*self.answer)
        return True


class Change(Rule):
    """Changes an answer on its way."""

    def __init__(self, method, path, change, **kw):
        super().__init__(method, path, **kw)
        self.change = change


class Endless(Rule):
    """A chunked body without an end."""

    def before(self, h):
        h.send_response(200)
        h.send_header("Transfer-Encoding", "chunked")
        h.send_header("Content-Type", INDEX)
        h.end_headers()
        piece = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
        try:
            for _ in range(4096):
                h.wfile.write(piece)
        except OSError:
            pass
        h.close_connection = True
        return True


class Repository:
    def __init__(self):
        self.blobs, self.manifests, self.tags = {}, {}, {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # ---- one request ----
    def handle_any(self):
        r = self.server.registry
        self.body_read, self.rule = False, None
        with r.lock:
            r.log.append((self.command, self.path, dict(self.headers)))
            for rule in r.rules:
                if rule.fits(self.command, self.path):
                    self.rule = rule
                    break
        if self.rule and self.rule.before(self):
            return self.flush()
        if not self.allowed():
            return self.flush()
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        for pattern, name in ROUTES:
            m = re.fullmatch(pattern, url.path)
            if m:
                getattr(self, name)(query, *m.groups())
                return self.flush()
        self.read_body()
        self.error(404, "NAME_UNKNOWN")
        return self.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def flush(self):
        try:
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def read_body(self):
        if self.body_read:
            return b""
        self.body_read = True
        left, out = int(self.headers.get("Content-Length") or 0), bytearray()
        limit = self.rule.drop_body_after if self.rule else None
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while True:
                n = int(self.rfile.readline(), 16)
                out += self.rfile.read(n)
                self.rfile.readline()
                if n == 0:
                    return bytes(out)
        while left > 0:
            want = min(left, 65536) if limit is None else min(left, 65536, limit - len(out))
            piece = self.rfile.read(want) if want else b""
            if not piece:
                self.dropped = True
                break
            out += piece
            left -= len(piece)
        return bytes(out)

    def hang_up(self):
        """A reset, as from a machine that went away."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    dropped = False

    def reply(self, status, headers=None, body=b""):
        headers = dict(headers or {})
        if self.rule and self.rule.change:
            status, headers, body = self.rule.change(status, headers, body)
        headers.setdefault("Content-Length", str(len(body)))
        self.send_response(status)
        for k, v in headers.items():
            for one in v if isinstance(v, list) else [v]:
                self.send_header(k, one)
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.rule.drop_reply_after if self.rule else None
        self.wfile.write(body if limit is None else body[:limit])
        if limit is not None or int(headers["Content-Length"]) > len(body):
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def error(self, status, code, message="", headers=None):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.reply(status, {"Content-Type": "application/json", **(headers or {})}, body)

    # ---- who may ----
    def allowed(self):
        r = self.server.registry
        if r.auth is None or self.path.startswith("/token"):
            return True
        given = self.headers.get("Authorization") or ""
        if r.auth == "basic":
            if given == "Basic " + base64.b64encode(f"{r.user}:{r.password}".encode()).decode():
                return True
            challenge = 'Basic realm="here"'
        else:
            token = given[7:] if given.startswith("Bearer ") else ""
            if token in r.tokens and r.tokens[token] > 0:
                r.tokens[token] -= 1
                return True
            scope = "repository:" + re.sub(r"^/v2/(.*?)/(blobs|manifests|referrers)/.*", r"\1", self.path) + ":pull"
            challenge = f'Negotiate, Bearer realm="http://127.0.0.1:{r.port}/token",service="fake",scope="{scope}"'
        self.read_body()
        self.error(401, "UNAUTHORIZED", "who are you", {"WWW-Authenticate": challenge})
        return False

    def token(self, query):
        r = self.server.registry
        if self.command == "POST":
            form = urllib.parse.parse_qs(self.read_body().decode())
            good = r.auth == "identity" and form.get("refresh_token") == [r.password]
            scopes = form["scope"][0].split(" ")
        else:
            pair = base64.b64encode(f"{r.user}:{r.password}".encode()).decode()
            good = self.headers.get("Authorization") == "Basic " + pair
            scopes = query["scope"]
        if not good:
            return self.error(401, "UNAUTHORIZED")
        r.scopes.append(scopes)
        token = f"t{len(r.tokens)}.secret"
        r.tokens[token] = r.token_uses
        key = "access_token" if self.command == "POST" else "token"
        self.reply(200, {"Content-Type": "application/json"}, json.dumps({key: token}).encode())

    # ---- blobs ----
    def blob(self, _, name, d):
        data = self.server.registry.repo(name).blobs.get(d)
        if data is None:
            return self.error(404, "BLOB_UNKNOWN")
        headers, status = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": d}, 200
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if m:
            a, b = int(m[1]), int(m[2] or len(data) - 1)
            if a >= len(data):
                return self.error(416, "RANGE_INVALID")
            headers["Content-Range"] = f"bytes {a}-{min(b, len(data) - 1)}/{len(data)}"
            data, status = data[a : b + 1], 206
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(data))
        self.reply(status, headers, data)

    def begin(self, query, name):
        r = self.server.registry
        self.read_body()
        if "mount" in query:
            d, source = query["mount"][0], r.repos.get(query["from"][0])
            if source and d in source.blobs:
                r.repo(name).blobs[d] = source.blobs[d]
                return self.reply(201, {"Location": f"/v2/{name}/blobs/{d}", "Docker-Content-Digest": d})
        with r.lock:
            session = f"s{r.n_sessions}"
            r.n_sessions += 1
            r.sessions[session] = bytearray()
        # docker-registry 2.8.2 says 0-0 of nothing
        self.reply(202, {"Location": f"/v2/{name}/blobs/uploads/{session}?state=0", "Range": "0-0", "Docker-Upload-UUID": session})

    def session(self, query, name, session):
        r = self.server.registry
        data = r.sessions.get(session)
        if data is None:
            self.read_body()
            return self.error(404, "BLOB_UPLOAD_UNKNOWN")
        if self.command == "DELETE":
            del r.sessions[session]
            return self.reply(204)
        m = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range") or "")
        body = self.read_body()
        if self.command == "PATCH" and not m:
            return self.error(400, "SIZE_INVALID", "no Content-Range")
        # docker-registry 2.8.2 appends whatever it is given; a strict one refuses
        if m and int(m[1]) != len(data) and not r.append_trap:
            return self.error(416, "RANGE_INVALID")
        data += body
        if self.dropped:
            return self.hang_up()
        here = {"Location": f"/v2/{name}/blobs/uploads/{session}?state={len(data)}", "Range": f"0-{max(len(data) - 1, 0)}"}
        if self.command == "GET":
            return self.reply(204, here)
        if self.command == "PATCH":
            return self.reply(202, here)
        d = query["digest"][0]
        if digest(data) != d:
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        r.repo(name).blobs[d] = bytes(data)
        del r.sessions[session]
        self.reply(201, {"Location": f"/v2/{name}/blobs/{d}", "Docker-Content-Digest": d})

    # ---- manifests ----
    def manifest(self, _, name, ref):
        r = self.server.registry
        repo = r.repo(name)
        if self.command == "PUT":
            return self.put_manifest(r, repo, name, ref)
        d = repo.tags.get(ref, ref)
        if d not in repo.manifests:
            return self.error(404, "MANIFEST_UNKNOWN")
        kind, data = repo.manifests[d]
        headers = {"Content-Type": kind, "Docker-Content-Digest": d}
        if r.etag:
            headers["ETag"] = f'"{d}"'
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(data))
        self.reply(200, headers, data)

    def put_manifest(self, r, repo, name, ref):
        data = self.read_body()
        doc, d = json.loads(data), digest(data)
        wants = [x["digest"] for x in [doc.get("config")] + doc.get("layers", []) if x]
        lacks = [x for x in wants if x not in repo.blobs] + [x["digest"] for x in doc.get("manifests", []) if x["digest"] not in repo.manifests]
        # (fallback indexes may list what is gone; real registries check them as any index)
        if lacks:
            return self.error(400, "MANIFEST_BLOB_UNKNOWN", lacks[0])
        if ref.startswith("sha256:") and ref != d:
            return self.error(400, "DIGEST_INVALID")
        time.sleep(r.put_delay)
        with r.lock:
            had = repo.tags.get(ref)
            match, none = self.headers.get("If-Match"), self.headers.get("If-None-Match")
            if r.etag and ((match and match != f'"{had}"') or (none == "*" and had)):
                return self.error(412, "DENIED", "changed meanwhile")
            repo.manifests[d] = (self.headers.get("Content-Type"), data)
            if not ref.startswith("sha256:"):
                repo.tags[ref] = d
        headers = {"Location": f"/v2/{name}/manifests/{d}", "Docker-Content-Digest": d}
        if r.referrers and "subject" in doc:
            headers["OCI-Subject"] = doc["subject"]["digest"]
        self.reply(201, headers)

    def referrers(self, query, name, d):
        r = self.server.registry
        if not r.referrers:
            return self.error(404, "NOT_FOUND")
        found = []
        for m, (kind, data) in r.repo(name).manifests.items():
            doc = json.loads(data)
            if doc.get("subject", {}).get("digest") == d:
                found.append({"mediaType": kind, "digest": m, "size": len(data), "artifactType": doc.get("artifactType", "")})
        page, per = int(query.get("page", ["0"])[0]), r.page
        headers = {"Content-Type": INDEX}
        if len(found) > (page + 1) * per:
            headers["Link"] = f'</v2/{name}/referrers/{d}?page={page + 1}>; rel="next"'
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found[page * per : (page + 1) * per]}
        self.reply(200, headers, json.dumps(index).encode())


NAME, DIGEST = r"/v2/(.+)", r"(sha256:[0-9a-f]{64})"
ROUTES = [
    (r"/token", "token"),
    (NAME + r"/blobs/uploads/", "begin"),
    (NAME + r"/blobs/uploads/(\w+)", "session"),
    (NAME + r"/blobs/" + DIGEST, "blob"),
    (NAME + r"/manifests/([^/]+)", "manifest"),
    (NAME + r"/referrers/" + DIGEST, "referrers"),
]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients are killed and hang up: that is what is tested


class FakeRegistry:
    def __init__(self, referrers=True, auth=None, etag=False, append_trap=True, page=100, tls=None):
        self.referrers, self.auth, self.etag, self.append_trap, self.page = referrers, auth, etag, append_trap, page
        self.user, self.password, self.token_uses, self.put_delay, self.n_sessions = "ann", "s3cret:x", 10**9, 0, 0
        self.repos, self.sessions, self.tokens, self.scopes, self.rules, self.log = {}, {}, {}, [], [], []
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.registry = self
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"

    def repo(self, name):
        with self.lock:
            return self.repos.setdefault(name, Repository())

    def count(self, method, part):
        return sum(m == method and part in p for m, p, _ in self.log)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()
