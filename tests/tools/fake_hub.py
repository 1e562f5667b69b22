"""A Hugging Face hub of our own on the loopback: the list of a commit, small files itself, large ones by a redirect to another port,
with ranges. What goes wrong is set by the tests."""
import hashlib, http.server, json, threading, time
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """files: {path: bytes}, of the model nvidia/nano; those ending in .safetensors are large ones."""

    def __init__(self, files):
        self.files, self.large = files, {n for n in files if n.endswith(".safetensors")}
        self.list, self.cut, self.slow, self.lie, self.fail, self.seen, self.ranges = None, {}, 0, {}, {}, [], []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *a):
                pass

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                hub.seen.append((self.server.server_port, self.path, self.headers.get("Authorization")))
                name = next((n for n in hub.fail if n in self.path), None)
                if name and hub.fail[name]:
                    return self.reply(hub.fail[name].pop(0), b"{}", Retry_After="0")
                if self.path.startswith("/api/models/"):
                    return self.reply(200, json.dumps(hub.listing()).encode()) if self.path.startswith("/api/models/nvidia/nano/revision/") else self.reply(404)
                prefix = f"/nvidia/nano/resolve/{COMMIT}/"
                if self.path.startswith(prefix):
                    file = unquote(self.path[len(prefix):])
                    if file in hub.large:  # as the hub does: the bytes lie elsewhere
                        return self.reply(302, Location=f"http://127.0.0.1:{hub.cdn.server_port}/blob/{file}")
                    return self.reply(200, hub.lie.get(file, hub.files[file]))
                if self.path.startswith("/blob/"):
                    return self.blob(self.path[6:])
                self.reply(404)

            def blob(self, file):
                data, start = hub.lie.get(file, hub.files[file]), 0
                r = self.headers.get("Range")
                hub.ranges.append((file, r))
                if r:
                    start = int(r[6:].rstrip("-"))
                cut = hub.cut.get(file, [])
                end = cut.pop(0) if cut else len(data)
                self.send_response(206 if r else 200)
                if r:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                for at in range(start, max(end, start), 65536):
                    self.wfile.write(data[at:min(at + 65536, end)])
                    time.sleep(hub.slow)
                if end < len(data):
                    self.close_connection = True
                    self.connection.close()

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *a):
                pass

        self.server, self.cdn = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
        for s in (self.server, self.cdn):
            threading.Thread(target=s.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def listing(self):
        if self.list:
            return self.list
        rows = [{"rfilename": n, "size": len(d), "blobId": git_id(d)} for n, d in self.files.items()]
        for r in rows:
            if r["rfilename"] in self.large:
                r["lfs"] = {"sha256": hashlib.sha256(self.files[r["rfilename"]]).hexdigest(), "size": r["size"], "pointerSize": 134}
        return {"sha": COMMIT, "siblings": rows}
