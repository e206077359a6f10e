#!/usr/bin/env python3
"""query_peers.py ENGINE CSV FOLDER HOSTS LENGTH RUNS: the queries of bench/query on another engine, in process.

ENGINE is duckdb or chdb (ClickHouse's engine). Prints a line "NAME MILLISECONDS" for each query: the median
of RUNS executions with a random host and window each, after one that does not count. Results are fetched
whole, in the engine's own form.
"""
import random
import statistics
import sys
import time

engine, csv, folder, hosts, length, runs = sys.argv[1:4] + [int(x) for x in sys.argv[4:7]]
BASE = 1700000000
USAGES = "user system idle nice iowait irq softirq steal guest guest_nice".split()
TAGS = "arch datacenter hostname os rack region service service_environment service_version team".split()

if engine == "duckdb":
    import duckdb

    db = duckdb.connect(folder + "/duck.db")
    db.execute("SET TimeZone = 'UTC'")
    columns = "{'time': 'TIMESTAMPTZ', " + ", ".join(f"'{t}': 'VARCHAR'" for t in TAGS) + ", " + \
        ", ".join(f"'usage_{u}': 'DOUBLE'" for u in USAGES) + "}"
    db.execute(f"CREATE TABLE cpu AS SELECT * FROM read_csv('{csv}', header = false, columns = {columns}) ORDER BY hostname, time")
    db.execute("CHECKPOINT")

    def run(sql):
        return db.execute(sql).fetchnumpy()

    def bucket(seconds):
        return f"time_bucket(INTERVAL '{seconds} seconds', time)"

    def at(t):
        return f"to_timestamp({t})"

    LAST = "SELECT DISTINCT ON (hostname) * FROM cpu ORDER BY hostname, time DESC"
else:
    from chdb import session

    db = session.Session(folder + "/chdb")
    db.query("CREATE DATABASE IF NOT EXISTS b ENGINE = Atomic")
    db.query("CREATE TABLE b.cpu (time DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)), " +
             ", ".join(f"{t} LowCardinality(String)" for t in TAGS) + ", " +
             ", ".join(f"usage_{u} Float64 CODEC(Gorilla, ZSTD(1))" for u in USAGES) +
             ") ENGINE = MergeTree ORDER BY (hostname, time)")
    form = "time String, " + ", ".join(f"{t} String" for t in TAGS) + ", " + ", ".join(f"usage_{u} Float64" for u in USAGES)
    db.query(f"INSERT INTO b.cpu SELECT parseDateTimeBestEffort(time), {', '.join(TAGS)}, " +
             ", ".join(f"usage_{u}" for u in USAGES) + f" FROM file('{csv}', CSV, '{form}')")
    db.query("OPTIMIZE TABLE b.cpu FINAL")

    def run(sql):
        return db.query(sql.replace("FROM cpu", "FROM b.cpu"), "Native")

    def bucket(seconds):
        return f"toStartOfInterval(time, INTERVAL {seconds} SECOND)"

    def at(t):
        return f"toDateTime({t}, 'UTC')"

    LAST = "SELECT * FROM cpu ORDER BY hostname, time DESC LIMIT 1 BY hostname"


def window(span):
    start = BASE + random.randint(0, max(length - span, 0))
    return f"time >= {at(start)} AND time < {at(start + span)}"


def host():
    return f"'host_{random.randrange(hosts)}'"


def eight():
    return "hostname IN (" + ", ".join(host() for _ in range(8)) + ")"


def all_of(f, n=10):
    return ", ".join(f"{f}(usage_{u})" for u in USAGES[:n])


QUERIES = {
    "00_select_1": lambda: "SELECT 1",
    "10_single_groupby_1_1_1": lambda: f"SELECT {bucket(60)} AS b, max(usage_user) FROM cpu WHERE hostname = {host()} AND {window(3600)} GROUP BY b ORDER BY b",
    "11_single_groupby_5_8_1": lambda: f"SELECT {bucket(60)} AS b, {all_of('max', 5)} FROM cpu WHERE {eight()} AND {window(3600)} GROUP BY b ORDER BY b",
    "12_cpu_max_all_8": lambda: f"SELECT {bucket(3600)} AS b, {all_of('max')} FROM cpu WHERE {eight()} AND {window(28800)} GROUP BY b ORDER BY b",
    "20_double_groupby_1": lambda: f"SELECT {bucket(3600)} AS b, hostname, avg(usage_user) FROM cpu WHERE {window(43200)} GROUP BY b, hostname ORDER BY b, hostname",
    "21_double_groupby_all": lambda: f"SELECT {bucket(3600)} AS b, hostname, {all_of('avg')} FROM cpu WHERE {window(43200)} GROUP BY b, hostname ORDER BY b, hostname",
    "30_high_cpu_all_count": lambda: f"SELECT count(*) FROM cpu WHERE usage_user > 90 AND {window(43200)}",
    "31_high_cpu_all_rows": lambda: f"SELECT time, hostname, usage_user FROM cpu WHERE usage_user > 90 AND {window(43200)}",
    "32_high_cpu_1": lambda: f"SELECT time, hostname, usage_user FROM cpu WHERE usage_user > 90 AND hostname = {host()} AND {window(43200)}",
    "40_lastpoint": lambda: LAST,
    "41_groupby_orderby_limit": lambda: f"SELECT {bucket(60)} AS b, max(usage_user) FROM cpu WHERE time < {at(BASE + 3600 + random.randint(0, max(length - 3600, 0)))} GROUP BY b ORDER BY b DESC LIMIT 5",
    "50_avg_per_hour_1": lambda: f"SELECT {bucket(3600)} AS b, avg(usage_user) FROM cpu GROUP BY b ORDER BY b",
    "51_avg_per_hour_10": lambda: f"SELECT {bucket(3600)} AS b, {all_of('avg')} FROM cpu GROUP BY b ORDER BY b",
    "60_count": lambda: "SELECT count(*) FROM cpu",
    "61_sum": lambda: "SELECT sum(usage_user) FROM cpu",
    "62_stddev_per_hour": lambda: f"SELECT {bucket(3600)} AS b, avg(usage_user), " + ("stddev" if engine == "duckdb" else "stddevSamp") + "(usage_user) FROM cpu GROUP BY b ORDER BY b",
}

for name, query in QUERIES.items():
    run(query())
    times = []
    for _ in range(runs):
        sql = query()
        began = time.perf_counter()
        run(sql)
        times.append((time.perf_counter() - began) * 1e3)
    print(name, f"{statistics.median(times):.3f}", flush=True)
