#!/usr/bin/env python3
"""scraped.py DIR DATABASE TABLE: what a Prometheus scrapes, and where it writes to, for tests that compare with it.

GET /metrics says what is in DIR/metrics, with @AGO(n)@ replaced by the time n milliseconds ago; 500 while there is DIR/fail.
POST /write, Prometheus' remote write, puts samples, markers of a series' end among them, into TABLE (metric_name, tags,
time, value) of DATABASE (psql -d); the answer is 200 when they are committed, else 500, after which Prometheus sends them
again.  DIR/port has the port when it is there.
"""
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

where, database, table = sys.argv[1:]


def path(name):
    return os.path.join(where, name)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def unsnappy(data):
    """Snappy's block format."""
    length, at = varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            n = tag >> 2
            if n >= 60:
                more = n - 59
                n = int.from_bytes(data[at:at + more], "little")
                at += more
            out += data[at:at + n + 1]
            at += n + 1
            continue
        if tag & 3 == 1:
            n, back = (tag >> 2 & 7) + 4, tag >> 5 << 8 | data[at]
            at += 1
        else:
            size = 2 if tag & 3 == 2 else 4
            n, back = (tag >> 2) + 1, int.from_bytes(data[at:at + size], "little")
            at += size
        for _ in range(n):
            out.append(out[-back])
    assert len(out) == length
    return bytes(out)


def fields(data):
    """Number and value of each field of a protobuf message; numbers of eight bytes as bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            n = 8 if kind == 1 else 4
            if kind == 2:
                n, at = varint(data, at)
            value, at = data[at:at + n], at + n
        yield key >> 3, value


def rows(body):
    """Rows of COPY BINARY: metric_name, tags, time, value."""
    for number, series in fields(unsnappy(body)):
        if number != 1:
            continue
        labels, samples = {}, []
        for number, value in fields(series):
            if number == 1:
                pair = dict(fields(value))
                labels[pair[1].decode()] = pair.get(2, b"").decode()
            elif number == 2:
                # An integer of which nothing is told is 0.
                one = dict(fields(value))
                samples.append((one.get(2, 0), one.get(1, bytes(8))))
        name = labels.pop("__name__").encode()
        tags = b"\x01" + json.dumps(labels).encode()
        for ms, value in samples:
            at = (ms - 946684800000) * 1000
            yield struct.pack(">hi", 4, len(name)) + name + struct.pack(">i", len(tags)) + tags + \
                struct.pack(">iqi", 8, at, 8) + value[::-1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if os.path.exists(path("fail")):
            return self.answer(500)
        with open(path("metrics")) as f:
            text = f.read()
        now = int(time.time() * 1000)
        text = re.sub(r"@AGO\((\d+)\)@", lambda m: str(now - int(m.group(1))), text)
        self.answer(200, text.encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(rows(body)) + struct.pack(">h", -1)
        run = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c",
                              "COPY %s (metric_name, tags, time, value) FROM STDIN (FORMAT binary)" % table],
                             input=data, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        self.answer(200 if run.returncode == 0 else 500)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):
        pass


parent = os.getppid()


def end_with_parent():
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()
server = Server(("127.0.0.1", 0), Handler)
with open(path("port.new"), "w") as f:
    f.write(str(server.server_address[1]))
os.rename(path("port.new"), path("port"))
server.serve_forever()
