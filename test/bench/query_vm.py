#!/usr/bin/env python3
"""query_vm.py BINARY CSV FOLDER HOSTS LENGTH RUNS: the queries of bench/query that PromQL can say, on VictoriaMetrics.

Starts the server on loopback, loads the CSV, and prints a line "NAME MILLISECONDS" for each query: the median of
RUNS executions with a random host and window each, after one that does not count; over HTTP, on one connection,
without its cache of results.
"""
import http.client
import json
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse

binary, csv, folder, hosts, length, runs = sys.argv[1:4] + [int(x) for x in sys.argv[4:7]]
BASE = 1700000000
USAGES = "user system idle nice iowait irq softirq steal guest guest_nice".split()
TAGS = "arch datacenter hostname os rack region service service_environment service_version team".split()

with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
server = subprocess.Popen([binary, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}",
                           "-retentionPeriod=100y", "-search.latencyOffset=0s", "-search.disableCache"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def connect():
    return http.client.HTTPConnection("127.0.0.1", port, timeout=600)


def request(conn, method, path, body=None):
    conn.request(method, path, body)
    answer = conn.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{path}: {answer.status} {data[:300]!r}")
    return data


def wait_ready():
    for _ in range(100):
        try:
            return request(connect(), "GET", "/health")
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("VictoriaMetrics does not start")


def load():
    columns = ["1:time:custom:2006-01-02 15:04:05-07"]
    columns += [f"{i + 2}:label:{t}" for i, t in enumerate(TAGS)]
    columns += [f"{i + 12}:metric:usage_{u}" for i, u in enumerate(USAGES)]
    path = "/api/v1/import/csv?" + urllib.parse.urlencode({"format": ",".join(columns)})
    conn = connect()
    with open(csv, "rb") as f:
        while True:
            lines = f.readlines(16 << 20)
            if not lines:
                break
            request(conn, "POST", path, b"".join(lines))
    request(conn, "GET", "/internal/force_flush")
    request(conn, "GET", "/internal/force_merge")
    # Merging goes on in the background.
    time.sleep(10)
    path = instant("sum(count_over_time(usage_user[1w]))", END)
    count = float(json.loads(request(conn, "GET", path))["data"]["result"][0]["value"][1])
    if count != hosts * length / 10:
        raise RuntimeError(f"VictoriaMetrics has {count} samples of a usage")


def window(span):
    start = BASE + random.randint(0, max(length - span, 0))
    return start, start + span


def host():
    return f'hostname="host_{random.randrange(hosts)}"'


def eight():
    return 'hostname=~"' + "|".join(f"host_{random.randrange(hosts)}" for _ in range(8)) + '"'


def names(n):
    return '__name__=~"usage_(' + "|".join(USAGES[:n]) + ')"'


def steps(query, span, step):
    """At the end of each step of a window."""
    start, end = window(span)
    return "/api/v1/query_range?" + urllib.parse.urlencode(
        {"query": query, "start": start + step, "end": end, "step": step, "nocache": 1})


def instant(query, at):
    return "/api/v1/query?" + urllib.parse.urlencode({"query": query, "time": at, "nocache": 1})


END = BASE + length
QUERIES = {
    "10_single_groupby_1_1_1": lambda: steps(f"max_over_time(usage_user{{{host()}}}[1m])", 3600, 60),
    "11_single_groupby_5_8_1": lambda: steps(f"max(max_over_time({{{names(5)},{eight()}}}[1m])) by (__name__)", 3600, 60),
    "12_cpu_max_all_8": lambda: steps(f"max(max_over_time({{{names(10)},{eight()}}}[1h])) by (__name__)", 28800, 3600),
    "20_double_groupby_1": lambda: steps("avg_over_time(usage_user[1h])", 43200, 3600),
    "21_double_groupby_all": lambda: steps(f"avg_over_time({{{names(10)}}}[1h])", 43200, 3600),
    "30_high_cpu_all_count": lambda: instant("sum(count_gt_over_time(usage_user[12h], 90))", END),
    "31_high_cpu_all_rows": lambda: steps("usage_user > 90", 43200, 10),
    "32_high_cpu_1": lambda: steps(f"usage_user{{{host()}}} > 90", 43200, 10),
    "40_lastpoint": lambda: instant(f"last_over_time({{{names(10)}}}[12h])", END),
    "41_groupby_orderby_limit": lambda: steps("max(max_over_time(usage_user[1m]))", 300, 60),
    "50_avg_per_hour_1": lambda: steps("avg(avg_over_time(usage_user[1h]))", 43200, 3600),
    "51_avg_per_hour_10": lambda: steps(f"avg(avg_over_time({{{names(10)}}}[1h])) by (__name__)", 43200, 3600),
    "60_count": lambda: instant("sum(count_over_time(usage_user[12h]))", END),
    "61_sum": lambda: instant("sum(sum_over_time(usage_user[12h]))", END),
}

try:
    wait_ready()
    load()
    conn = connect()
    for name, query in QUERIES.items():
        request(conn, "GET", query())
        times = []
        for _ in range(runs):
            path = query()
            began = time.perf_counter()
            request(conn, "GET", path)
            times.append((time.perf_counter() - began) * 1e3)
        print(name, f"{statistics.median(times):.3f}", flush=True)
finally:
    server.terminate()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)
