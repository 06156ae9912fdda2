"""What the tests run as a container: it shows what it sees, and ends when its last request is answered."""

import http.server
import json
import os
import signal
import socket
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, _, rest = self.path[1:].partition("/")
        if kind == "env":
            self.answer(200, json.dumps(dict(os.environ)))
        elif kind == "file":
            self.answer(*read("/" + rest))
        elif kind == "write":
            with open("/" + rest, "w") as file:
                file.write("written")
            self.answer(200, "")
        elif kind == "slow":
            mark("slow")
            time.sleep(float(rest))
            self.answer(200, "slow")
        elif kind == "name":
            self.answer(200, addresses(rest))
        elif kind == "gone":
            self.answer(404 if os.path.exists("/" + rest) else 200, "")
        else:
            self.answer(200, " ".join(sys.argv[1:]))

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def mark(name):
    open("/tmp/" + name, "w").close()


def read(path):
    try:
        with open(path) as file:
            return 200, file.read()
    except OSError as error:
        return 404, str(error)


def addresses(name):
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror:
        return ""
    return " ".join(sorted(address[4][0] for address in found))


def drain(*_):
    threading.Thread(target=server.shutdown).start()


host, _, port = sys.argv[1].rpartition(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, drain)
mark("up")
server.serve_forever()
server.server_close()
