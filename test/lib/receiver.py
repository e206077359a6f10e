#!/usr/bin/env python3
"""receiver.py DIR [CERT KEY CLIENT_CA]: an HTTP or HTTPS server on loopback, for tests of what tells it something.

DIR/port has its port when it is there.  What it is told goes to DIR/requests, a JSON object a line: path, headers, body.
DIR/mode says how it answers, anew for each request:
    200              any status; further words are headers, Name:value
    hang             says nothing until DIR/mode says otherwise
    reset            breaks the connection off
    huge             200, and a body without end
    headers          200, and headers without end
    hold             notes the request at once, and answers 200 when DIR/go is there
DIR/mode.PATH, where it is there, for that path alone (slashes are left out).
"""
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

where = sys.argv[1]
lock = threading.Lock()
DEADLINE = 120  # seconds that anything lasts


def read(name):
    try:
        with open(os.path.join(where, name)) as f:
            return f.read().strip()
    except OSError:
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def mode(self):
        return (read("mode." + self.path.replace("/", "")) or read("mode") or "200").split()

    def log_message(self, *args):
        pass

    def note(self, body):
        with lock, open(os.path.join(where, "requests"), "a") as f:
            f.write(json.dumps({"path": self.path, "headers": dict(self.headers.items()), "body": body,
                                "at": time.time()}) + "\n")

    def endless(self, line):
        until = time.time() + DEADLINE
        try:
            while time.time() < until:
                self.wfile.write(line)
        except OSError:
            pass
        self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        words = self.mode()
        until = time.time() + DEADLINE
        while words[0] == "hang" and time.time() < until:
            time.sleep(0.05)
            words = self.mode()
            self.close_connection = True
        if words[0] == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.note(body)
        if words[0] == "hold":
            while read("go") is None and time.time() < until:
                time.sleep(0.01)
            words = ["200"]
        if words[0] == "headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            return self.endless(b"X-More: " + b"x" * 8000 + b"\r\n")
        if words[0] == "huge":
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            return self.endless(b"x" * 65536)
        try:
            self.send_response(int(words[0]))
            # What comes in goes out, as some do: secrets must not get into views by that.
            text = json.dumps(dict(self.headers.items())).encode() if int(words[0]) >= 400 else b""
            for word in words[1:]:
                name, _, value = word.partition(":")
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):
        pass


server = Server(("127.0.0.1", int(read("port") or 0)), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    if len(sys.argv) > 4:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(sys.argv[4])
    # Not in the one thread that accepts
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
with open(os.path.join(where, "port.new"), "w") as f:
    f.write(str(server.server_address[1]))
os.rename(os.path.join(where, "port.new"), os.path.join(where, "port"))
server.serve_forever()
