"""A small loopback Hub for the tests: it speaks enough of the Hub's HTTP API for the unmodified clients.

Repositories, NDJSON commits, Git-LFS and Xet uploads, trees, refs, tags, resolve with ranges, card validation,
collections, tokens, private repositories, and faults on demand. Everything lives in memory. It is a model of the Hub,
not the Hub: commit ids are not git's, and card rules are a small subset.

    with HubServer() as hub:
        env = hub.env(hf_home)                                             # for a client in a process of its own
        hub.faults.add(match="POST .*/commit/", status=503, times=1)
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import socket
import struct
import sys
import threading
import time
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import yaml
from xet import XetStore, chunks_of

TYPES = {"models": "model", "datasets": "dataset"}
LFS_SUFFIXES = {".arrow", ".bin", ".ckpt", ".gguf", ".gz", ".model", ".npy", ".onnx", ".parquet", ".pickle", ".pkl",
                ".pt", ".pth", ".safetensors", ".tar", ".zip"}
GITATTRIBUTES = "".join(f"*{s} filter=lfs diff=lfs merge=lfs -text\n" for s in sorted(LFS_SUFFIXES)).encode()
LFS_LIMIT = 10 * 1024 * 1024
LICENSES = ("apache-2.0 mit cc0-1.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-4.0 odc-by gemma llama3.2 "
            "unknown other").split()


class HttpError(Exception):
    def __init__(self, status, message, code=None, headers=None, body=None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers, self.body = dict(headers or {}), body or {}


class Cut(Exception):
    """The connection is dropped here, as an injected fault."""


def now_iso():
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def blob_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def wants_lfs(path: str, size: int, sample: bytes) -> bool:
    return size > 0 and (Path(path).suffix.lower() in LFS_SUFFIXES or size > LFS_LIMIT or b"\0" in sample)


def check_card(text: str) -> list[str]:
    """What is wrong with the front matter of a README, as /api/validate-yaml reports it."""
    front = re.match(r"^\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(?:\r?\n|$)", text, re.S)
    try:
        meta = yaml.safe_load(front.group(1)) if front else None
    except yaml.YAMLError as error:
        return [f"YAML Metadata Error: {error}"]
    if meta is None:
        return []
    if not isinstance(meta, dict):
        return ["YAML metadata must be a mapping"]
    errors = []
    if "license" in meta and meta["license"] not in LICENSES:
        errors.append(f'"license" must be one of the Hub\'s license ids, or "other" (got {meta["license"]!r})')
    for key in ("tags", "datasets", "language", "base_model", "task_categories", "size_categories"):
        values = meta.get(key, [])
        if any(not isinstance(v, str) for v in (values if isinstance(values, list) else [values])):
            errors.append(f'"{key}" must be a string or an array of strings')
    for config in meta.get("configs", []):
        if not isinstance(config, dict) or "config_name" not in config:
            errors.append('"configs" must be an array of {config_name, data_files}')
    for model in meta.get("model-index", []):
        if any("task" not in result or "metrics" not in result for result in model["results"]):
            errors.append('"model-index[0].results" need "task" and "metrics"')
    return errors


class Repo:
    """One repository: refs and the files of every commit, as `{path: {oid, size, lfs?}}`."""

    def __init__(self, kind, name, private, author, attributes):
        self.kind, self.id, self.private, self.author = kind, name, private, author
        self.commits, self.tags, self.head = {}, {}, None
        self.commit({".gitattributes": {"oid": attributes, "size": len(GITATTRIBUTES)}}, "initial commit")

    def commit(self, files, title):
        body = {"parent": self.head, "files": files, "title": title, "date": now_iso(), "nonce": secrets.token_hex(4)}
        self.head = hashlib.sha1(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self.commits[self.head] = {"id": self.head, **body}
        return self.head

    def resolve(self, revision):
        sha = self.head if revision in ("main", "refs/heads/main") else self.tags.get(revision, revision)
        if sha not in self.commits:
            raise HttpError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def history(self):
        """Titles of the commits on main, newest first."""
        commit, titles = self.commits[self.head], []
        while commit:
            titles.append(commit["title"])
            commit = self.commits.get(commit["parent"])
        return titles


def file_info(path, entry):
    lfs = {"lfs": {"oid": entry["lfs"], "size": entry["size"], "pointerSize": 130}} if "lfs" in entry else {}
    return {"type": "file", "oid": entry["oid"], "size": entry["size"], "path": path, **lfs}


def tree(files, path, recursive):
    prefix = f"{path}/" if path else ""
    inside = {p[len(prefix):]: e for p, e in files.items() if p.startswith(prefix)}
    if not inside and prefix:
        raise HttpError(404, f"{path} does not exist on the given revision", "EntryNotFound")
    folders = {"/".join(p.split("/")[:i]) for p in inside for i in range(1, p.count("/") + 1)}
    shown = [file_info(prefix + p, e) for p, e in inside.items() if recursive or "/" not in p]
    shown += [{"type": "directory", "oid": hashlib.sha1(f.encode()).hexdigest(), "size": 0, "path": prefix + f}
              for f in folders if recursive or "/" not in f]
    return sorted(shown, key=lambda entry: entry["path"])


class Faults:
    """Rules tried on every request; the first that fires wins.

    match   regex searched in "METHOD /path?query"
    every   fire on each Nth matching request;  after: skip the first K matches;  times: stop after K firings
    status  answer this status, with `headers`
    cut     "request": read half the body, then reset;  "response": do the work, send nothing, reset;
            "body": send the headers and half of the body, then reset
    """

    def __init__(self):
        self.rules, self.lock = [], threading.Lock()

    def add(self, match="", every=1, after=0, times=None, status=None, cut=None, headers=None):
        rule = {"match": re.compile(match), "every": every, "after": after, "times": times, "status": status,
                "cut": cut, "headers": headers or {}, "seen": 0, "hits": 0}
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear(self):
        with self.lock:
            self.rules.clear()

    def pick(self, line):
        with self.lock:
            for rule in self.rules:
                if not rule["match"].search(line):
                    continue
                rule["seen"] += 1
                spent = rule["times"] is not None and rule["hits"] >= rule["times"]
                if rule["seen"] > rule["after"] and (rule["seen"] - rule["after"]) % rule["every"] == 0 and not spent:
                    rule["hits"] += 1
                    return rule
        return None


class HubServer:
    """The Hub on one port and its storage ("S3") on another. `log` holds every request, `leaks` every token seen where
    none belongs."""

    def __init__(self, page_size=50, ports=(0, 0)):
        self.users = {"hf_test_write": {"name": "tester", "role": "write"},
                      "hf_test_read": {"name": "tester", "role": "read"},
                      "hf_test_fine": {"name": "tester", "role": "fineGrained", "fineGrained": {"scoped": []}},
                      "hf_test_other": {"name": "other", "role": "write"}}
        self.repos, self.objects, self.collections, self.xet = {}, {}, {}, XetStore()
        self.lock, self.faults, self.secret = threading.RLock(), Faults(), secrets.token_bytes(32)
        self.log, self.leaks, self.page_size = [], [], page_size
        self.servers = [_Server(("127.0.0.1", port), type("Bound", (handler,), {"hub": self}))
                        for port, handler in zip(ports, (Api, Storage), strict=True)]
        # Two hosts by name, as the real ones are: clients leave the token out where the host changes.
        self.endpoint, self.storage = (f"http://{host}:{server.server_address[1]}"
                                       for host, server in zip(("127.0.0.1", "localhost"), self.servers, strict=True))
        # A port may come again in the same process, and Xet leaves out what it sent to that address before.
        self.xet_url = f"{self.storage}/_xet/{secrets.token_hex(8)}"

    def __enter__(self):
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exc):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def env(self, hf_home, token="hf_test_write", xet=False):
        """Variables for a client process: a cache of its own, this endpoint, with or without Xet."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(hf_home), "HF_TOKEN": token, "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": str(int(not xet)),
                "HF_HUB_DISABLE_TELEMETRY": "1", "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms",
                "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}

    def writes(self):
        """Requests that change something."""
        reads = re.compile(r"^(GET|HEAD) |/api/validate-yaml|/preupload/|/paths-info/|/telemetry")
        return [entry["request"] for entry in self.log if not reads.search(entry["request"])]

    def read(self, repo, revision, path) -> str:
        """The text of a file, as a reader of that revision gets it."""
        return self.objects[self.repos[repo].resolve(revision)["files"][path]["oid"]].decode()

    def put(self, data: bytes, lfs: bool):
        """Stores content under its hash."""
        oid = hashlib.sha256(data).hexdigest() if lfs else blob_sha1(data)
        self.objects[oid] = data
        return oid

    def create(self, kind, name, private, author):
        with self.lock:
            if (kind, name) in self.repos:
                raise HttpError(409, "You already created this repo", body={"url": self.url(kind, name)})
            self.repos[kind, name] = Repo(kind, name, private, author, self.put(GITATTRIBUTES, lfs=False))
            return self.repos[kind, name]

    def url(self, kind, name):
        return f"{self.endpoint}/{'' if kind == 'models' else f'{kind}/'}{name}"

    def sign(self, verb, oid):
        query = {"verb": verb, "oid": oid}
        return urlencode({**query, "sig": hmac.new(self.secret, json.dumps(query).encode(), "sha256").hexdigest()})


class _Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 64

    def __init__(self, *arguments):
        self.connections = set()
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def server_close(self):
        """Connections that a client keeps alive end too, lest a server that gets this port be passed by."""
        super().server_close()
        for connection in self.connections.copy():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, Cut, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """What both ports share: faults, bodies, answers, the log."""

    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, 1 << 16
    hub: HubServer

    def log_message(self, *args):
        pass

    def do(self):
        url = urlsplit(self.path)
        self.parts = [unquote(part) for part in url.path.split("/")[1:]]
        self.query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.user, self.sent, self.left = None, None, int(self.headers.get("Content-Length") or 0)
        self.chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "").lower()
        line = f"{self.command} {url.path}"
        self.fault = self.hub.faults.pick(line)
        entry = {"request": line, "fault": bool(self.fault), "status": None}
        self.hub.log.append(entry)  # before the answer, so that who has the answer finds it here
        if any(token in self.path for token in self.hub.users):
            self.hub.leaks.append(f"token in the address of {line}")
        try:
            self.apply_fault()
            self.authenticate(line)
            self.route()
        except HttpError as error:
            self.fail(error)
        except Cut:
            self.reset()
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:  # a bug here must look like the Hub's 500, and be seen
            traceback.print_exc()
            self.fail(HttpError(500, f"Internal Error: {error}"))
        finally:
            entry["status"] = self.sent

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do

    def apply_fault(self):
        if self.fault and self.fault["cut"] == "request":
            self.rfile.read(self.left // 2)
            raise Cut
        if self.fault and self.fault["status"]:
            self.body()
            raise HttpError(self.fault["status"], "Injected fault", headers=self.fault["headers"])

    def reset(self):
        """Drops the connection hard: the client sees a reset, not an end of file."""
        self.sent, self.close_connection = "cut", True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def body(self) -> bytes:
        data = b""
        if self.chunked:
            while size := int(self.rfile.readline().split(b";")[0].strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            self.chunked = False
        data += self.rfile.read(self.left)
        self.left = 0
        if any(token.encode() in data for token in self.hub.users):
            self.hub.leaks.append(f"token in the body of {self.command} {self.path.split('?')[0]}")
        return data

    def send(self, status, body=b"", headers=None):
        self.body()  # what the client still has to say
        if self.fault and self.fault["cut"] == "response":
            raise Cut
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.sent = status
        self.send_response_only(status)
        defaults = {"Content-Type": "application/json" if data is not body else "application/octet-stream",
                    "Content-Length": str(len(data)), "X-Request-Id": secrets.token_hex(8)}
        for key, value in {**defaults, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        halved = self.fault and self.fault["cut"] == "body"
        if self.command != "HEAD":
            self.wfile.write(data[:len(data) // 2] if halved else data)
        self.wfile.flush()
        if halved:
            raise Cut

    def send_content(self, data, headers):
        wanted = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range") or "")
        if not wanted:
            return self.send(200, data, {**headers, "Accept-Ranges": "bytes"})
        start, end = int(wanted.group(1)), min(int(wanted.group(2) or len(data) - 1), len(data) - 1)
        if start > end:
            return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        self.send(206, data[start:end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})

    def fail(self, error):
        headers = {"X-Error-Message": re.sub(r"[^\x20-\x7e]", " ", error.message), **error.headers}
        if error.code:
            headers["X-Error-Code"] = error.code
        try:
            self.send(error.status, {"error": error.message, **error.body}, headers)
        except Cut:
            self.reset()
        except (ConnectionError, TimeoutError):
            self.close_connection = True


class Storage(Handler):
    """Plays S3 and Xet's content store: signed addresses and short-lived tokens, and never a token of the Hub."""

    def authenticate(self, line):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in [self.hub.sign(f"xet-{verb}-token", "xet") for verb in ("read", "write")]:
            self.hub.leaks.append(f"Authorization sent to the storage host: {line}")

    def route(self):
        if self.parts[0] == "_xet":
            return self.xet(self.parts[2:])
        oid, verb = self.parts[1], "put" if self.command == "PUT" else "get"
        self.need_signature(urlencode(self.query), verb, oid)
        if verb == "get":
            return self.send_content(self.hub.objects[oid], {"ETag": f'"{oid}"'})
        data = self.body()
        if hashlib.sha256(data).hexdigest() != oid:
            raise HttpError(400, "BadDigest: content does not match its oid")
        self.hub.put(data, lfs=True)
        self.send(200, b"", {"ETag": f'"{oid}"'})

    def need_signature(self, signature, verb, oid):
        if signature != self.hub.sign(verb, oid):
            raise HttpError(403, "Signature invalid")

    def xet(self, parts):
        store = self.hub.xet
        if parts[0] == "xorb":  # signed, no token
            self.need_signature(urlencode(self.query), "xorb", parts[1])
            return self.send_content(store.xorbs[parts[1]], {})
        if parts[0] != "v1":  # other versions of the protocol: clients fall back
            raise HttpError(404, "Not found")
        if parts[1] != "telemetry":
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            verb = "write" if self.command == "POST" or parts[1] == "chunks" else "read"
            if token not in (self.hub.sign("xet-write-token", "xet"), self.hub.sign(f"xet-{verb}-token", "xet")):
                raise HttpError(401, "Invalid Xet token")
        try:
            self.send(200, self.xet_answer(parts[1:], store))
        except (ValueError, IndexError) as error:
            raise HttpError(400, f"Bad upload: {error}") from None

    def xet_answer(self, parts, store):
        if parts[0] == "xorbs" and self.command == "POST":
            data, is_new = self.body(), parts[2] not in store.xorbs
            chunks_of(data)
            store.xorbs[parts[2]] = data
            return {"was_inserted": is_new}
        if parts == ["shards"]:
            for data in store.add_shard(self.body()):
                self.hub.put(data, lfs=True)
            return {"result": 1}
        if parts[0] == "reconstructions" and parts[1] in store.sha256:
            def url_of(xorb):
                return f"{self.hub.xet_url}/xorb/{xorb}?{self.hub.sign('xorb', xorb)}"
            answer = store.reconstruction(parts[1], self.headers.get("Range") or "", url_of)
            if answer is None:
                raise HttpError(416, "Range Not Satisfiable")
            return answer
        if parts == ["telemetry"]:
            return {}
        raise HttpError(404, "Not found")  # unknown chunks: clients go on without them


class Api(Handler):
    """The Hub itself."""

    def authenticate(self, line):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.user = self.hub.users.get(token)
        if token and not self.user:
            raise HttpError(401, "Invalid credentials in Authorization header")

    def need_write(self, namespace):
        if not self.user:
            raise HttpError(401, "Invalid username or password.")
        if self.user["name"] != namespace or self.user["role"] == "read":
            raise HttpError(403, f'You don\'t have the rights to write under the namespace "{namespace}"')

    def repo(self, kind, name, write=False) -> Repo:
        repo, namespace = self.hub.repos.get((kind, name)), name.split("/")[0]
        if repo is None or (repo.private and (not self.user or self.user["name"] != namespace)):
            raise HttpError(404 if self.user else 401, "Repository not found", "RepoNotFound")  # private looks missing
        if write:
            self.need_write(namespace)
        return repo

    def json(self):
        try:
            return json.loads(self.body() or b"{}")
        except ValueError:
            raise HttpError(400, "Malformed JSON body") from None

    def route(self):
        parts = self.parts
        if parts[0] == "api" and parts[1] == "whoami-v2":
            return self.whoami()
        if parts[0] == "api" and parts[1:] == ["repos", "create"]:
            return self.create_repo()
        if parts[0] == "api" and parts[1:] == ["repos", "delete"]:
            return self.delete_repo()
        if parts[0] == "api" and parts[1] == "validate-yaml":
            errors = [{"message": error} for error in check_card(self.json().get("content", ""))]
            return self.send(400 if errors else 200, {"errors": errors, "warnings": []})
        if parts[0] == "api" and parts[1] == "collections":
            return self.collection(parts[2:])
        if parts[0] == "api" and parts[1] in TYPES:
            return self.repo_api(parts[1], "/".join(parts[2:4]), *(parts[4:5] or ["revision"]), parts[5:])
        kind, rest = (parts[0], parts[1:]) if parts[0] in TYPES else ("models", parts)
        if len(rest) > 1 and rest[1].endswith(".git"):
            return self.lfs(kind, f"{rest[0]}/{rest[1][:-4]}", rest[-1])
        if len(rest) > 4 and rest[2] == "resolve":
            return self.resolve_file(kind, "/".join(rest[:2]), rest[3], "/".join(rest[4:]))
        raise HttpError(404, "Sorry, we can't find the page you are looking for.")

    def whoami(self):
        if not self.user:
            raise HttpError(401, "Invalid username or password.")
        self.send(200, {"type": "user", "name": self.user["name"], "orgs": [{"name": "readers", "roleInOrg": "read"}],
                        "auth": {"type": "access_token", "accessToken": {**self.user, "displayName": "test"}}})

    def create_repo(self):
        asked = self.json()
        name = f"{asked.get('organization') or (self.user or {}).get('name')}/{asked['name']}"
        self.need_write(name.split("/")[0])
        kind = f"{asked.get('type') or 'model'}s"
        repo = self.hub.create(kind, name, asked.get("visibility") == "private", self.user["name"])
        self.send(200, {"url": self.hub.url(kind, name), "name": name, "id": name, "private": repo.private})

    def delete_repo(self):
        asked = self.json()
        key = f"{asked.get('type') or 'model'}s", f"{asked.get('organization') or self.user['name']}/{asked['name']}"
        self.repo(*key, write=True)
        del self.hub.repos[key]
        self.send(200, {})

    def repo_api(self, kind, name, verb, rest):
        if verb == "preupload":
            return self.preupload(self.repo(kind, name, write=True), rest[0])
        if verb == "commit":
            return self.make_commit(kind, name)
        if verb in ("xet-write-token", "xet-read-token"):
            return self.xet_token(self.repo(kind, name, write=verb == "xet-write-token"), verb)
        if verb == "tag":
            return self.tag(kind, name, rest[0])
        repo = self.repo(kind, name)
        if verb == "revision":
            return self.send(200, self.info(repo, rest[0] if rest else "main"))
        if verb == "tree":
            files = repo.resolve(rest[0])["files"]
            return self.page(tree(files, "/".join(rest[1:]), self.query.get("recursive", "").lower() in ("true", "1")))
        if verb == "paths-info":
            form, files = parse_qs(self.body().decode()), repo.resolve(rest[0])["files"]
            return self.send(200, [file_info(p, files[p]) for p in form.get("paths", []) if p in files])
        if verb == "refs":
            tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": sha} for t, sha in repo.tags.items()]
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
            return self.send(200, {"branches": [main], "converts": [], "tags": tags})
        raise HttpError(404, "Sorry, we can't find the page you are looking for.")

    def info(self, repo, revision):
        commit = repo.resolve(revision)
        model = {"modelId": repo.id} if repo.kind == "models" else {}
        siblings = [{"rfilename": path} for path in sorted(commit["files"])]
        return {"id": repo.id, "author": repo.author, "sha": commit["id"], "lastModified": commit["date"], "tags": [],
                "createdAt": commit["date"], "private": repo.private, "gated": False, "disabled": False,
                "downloads": 0, "likes": 0, "siblings": siblings, **model}

    def page(self, items):
        start, headers = int(self.query.get("cursor", "0")), {}
        if start + self.hub.page_size < len(items):
            query = urlencode({**self.query, "cursor": start + self.hub.page_size})
            headers["Link"] = f'<{self.hub.endpoint}{urlsplit(self.path).path}?{query}>; rel="next"'
        self.send(200, items[start:start + self.hub.page_size], headers)

    def tag(self, kind, name, revision):
        with self.hub.lock:
            repo, tag = self.repo(kind, name, write=True), self.json()["tag"]
            if tag in repo.tags:
                raise HttpError(409, f"Tag already exists: {tag}")
            repo.tags[tag] = repo.resolve(revision)["id"]
        self.send(200, {"ok": True})

    def xet_token(self, repo, verb):
        token, url, until = self.hub.sign(verb, "xet"), self.hub.xet_url, int(time.time()) + 3600
        self.send(200, {"casUrl": url, "exp": until, "accessToken": token},
                  {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)})

    # ---- publishing ----------------------------------------------------------------------------------------------
    def preupload(self, repo, revision):
        files, shown = repo.resolve(revision)["files"], []
        for file in self.json()["files"]:
            there = files.get(file["path"])
            lfs = wants_lfs(file["path"], file["size"], base64.b64decode(file.get("sample") or ""))
            shown.append({"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False,
                          **({"oid": there.get("lfs") or there["oid"]} if there else {})})
        self.send(200, {"files": shown, "commitOid": repo.head})

    def lfs(self, kind, name, action):
        asked, hub, answers = self.json(), self.hub, []
        self.repo(kind, name, write=True)
        if action == "verify":
            return self.send(200 if asked["oid"] in hub.objects else 404, {})
        for file in asked["objects"]:
            oid, known = file["oid"], file["oid"] in hub.objects
            actions = {"upload": {"href": f"{hub.storage}/lfs/{oid}?{hub.sign('put', oid)}", "header": {}},
                       "verify": {"href": f"{hub.url(kind, name)}.git/info/lfs/objects/verify", "header": {}}}
            answers.append({**file, "authenticated": True, **({} if known else {"actions": actions})})
        self.send(200, {"transfer": "basic", "objects": answers})

    def make_commit(self, kind, name):
        lines = [json.loads(line) for line in self.body().split(b"\n") if line.strip()]
        head = lines[0]["value"]
        with self.hub.lock:
            repo = self.repo(kind, name, write=True)
            if head.get("parentCommit") not in (None, repo.head):
                raise HttpError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(repo.resolve("main")["files"])
            for line in lines[1:]:
                self.apply(files, line["key"], line["value"])
            sha = repo.commit(files, head["summary"])
        self.send(200, {"success": True, "commitUrl": f"{self.hub.url(kind, name)}/commit/{sha}", "commitOid": sha,
                        "hookOutput": ""})

    def apply(self, files, key, value):
        path = value["path"]
        if key == "file":
            data = base64.b64decode(value["content"])
            leaked = [token for token in self.hub.users if token.encode() in data]
            if leaked:
                self.hub.leaks.append(f"token in {path}")
                raise HttpError(400, f"Your files contain valid Hugging Face secrets. Offending files: {path}")
            if path == "README.md" and check_card(data.decode()):
                raise HttpError(400, "Invalid metadata in README.md")
            files[path] = {"oid": self.hub.put(data, lfs=False), "size": len(data)}
        elif key == "lfsFile":
            if value["oid"] not in self.hub.objects:
                raise HttpError(400, f"An LFS pointer pointed to a file that does not exist. Offending file: {path}")
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {value['size']}\n"
            size = len(self.hub.objects[value["oid"]])
            files[path] = {"oid": blob_sha1(pointer.encode()), "size": size, "lfs": value["oid"]}
        elif key == "deletedFile" and path in files:
            del files[path]
        else:
            raise HttpError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")

    # ---- reading -------------------------------------------------------------------------------------------------
    def resolve_file(self, kind, name, revision, path):
        commit = self.repo(kind, name).resolve(revision)
        entry, headers = commit["files"].get(path), {"X-Repo-Commit": commit["id"]}
        if entry is None:
            raise HttpError(404, "Entry not found", "EntryNotFound", headers)
        if "lfs" not in entry:
            return self.send_content(self.hub.objects[entry["oid"]], {**headers, "ETag": f'"{entry["oid"]}"'})
        location = f"{self.hub.storage}/lfs/{entry['lfs']}?{self.hub.sign('get', entry['lfs'])}"
        if name_in_xet := self.hub.xet.hash_of(entry["lfs"]):
            token = f"{self.hub.endpoint}/api/{kind}/{name}/xet-read-token/{commit['id']}"
            headers |= {"X-Xet-Hash": name_in_xet, "X-Xet-Refresh-Route": token}
        self.send(302, b"", {**headers, "X-Linked-Size": str(entry["size"]), "X-Linked-Etag": f'"{entry["lfs"]}"',
                             "Location": location})

    # ---- collections ---------------------------------------------------------------------------------------------
    def collection(self, rest):
        with self.hub.lock:
            asked = self.json() if self.command == "POST" else {}
            if not rest and self.command == "GET":
                mine = self.user and self.user["name"] == self.query["owner"]
                return self.page([{key: value for key, value in made.items() if key != "position"}
                                  for made in self.hub.collections.values()
                                  if made["owner"]["name"] == self.query["owner"] and (mine or not made["private"])])
            if not rest:
                self.need_write(asked["namespace"])
                slug = f"{asked['namespace']}/{re.sub(r'[^a-z0-9]+', '-', asked['title'].lower())}-0123456789ab"
                if slug in self.hub.collections:
                    raise HttpError(409, "A collection with this title already exists", body={"slug": slug})
                owner = {"name": asked["namespace"], "type": "user"}
                self.hub.collections[slug] = {
                    "slug": slug, "title": asked["title"], "owner": owner, "items": [], "lastUpdated": now_iso(),
                    "position": 0, "private": asked["private"], "theme": "orange", "upvotes": 0}
                return self.send(200, self.hub.collections[slug])
            collection = self.hub.collections.get(slug := "/".join(rest[:2]))
            if collection is None:
                raise HttpError(404, "Collection not found")
            if self.command == "DELETE":
                self.need_write(collection["owner"]["name"])
                del self.hub.collections[slug]
            if self.command == "POST":
                self.need_write(collection["owner"]["name"])
                item = asked["item"]
                if any((i["id"], i["type"]) == (item["id"], item["type"]) for i in collection["items"]):
                    raise HttpError(409, "Item already in collection")
                collection["items"].append({"_id": secrets.token_hex(12), "position": 0, **item})
            self.send(200, collection)
