/*
 * procmetrics.c
 *	  Sends this machine's real metrics, read from /proc, to a Kafka topic.
 *
 *	procmetrics BROKERS TOPIC [SECONDS]      every SECONDS (1), until told to stop
 *
 * cpu_percent {cpu, mode}; load {minutes}; processes {state}; memory_bytes {kind};
 * disk_read_bytes, disk_written_bytes (a second), disk_busy_percent {device};
 * network_received_bytes, network_sent_bytes (a second) {interface};
 * pressure_percent {resource, kind}; process_cpu_percent, process_rss_bytes {pid, command} of the
 * top processes by either.  All with hostname.
 */
#include "wire.h"

#include <dirent.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define TOP         10   /* processes, by CPU and by memory each */
#define MAX_MEMORY  4096 /* counters remembered from one round to the next */
#define MESSAGE_MAX (1 << 20)

/* The last value of an ever-growing counter, by its label. */
typedef struct Counter
{
	char label[96];
	double value;
	long round; /* when it was last seen */
} Counter;

typedef struct Process
{
	int pid;
	char command[32];
	double cpu; /* percent of one core */
	double rss; /* bytes */
} Process;

static Counter *counters;
static int ncounters;
static long round_no;
static double elapsed; /* seconds since the round before */
static int64_t now_ms;
static char hostname[64];
static Wire message;
static volatile sig_atomic_t stopping;

static void
on_signal(int signo)
{
	stopping = 1;
}

/*
 * How much a counter grew a second since the round before; negative if it was not there or went
 * backwards (a new process, a reset).
 */
static double
rate_of(const char *kind, const char *label, double value)
{
	char name[96];
	Counter *oldest = counters;

	snprintf(name, sizeof(name), "%s %s", kind, label);
	for (Counter *c = counters; c < counters + ncounters; c++)
	{
		if (!strcmp(c->label, name))
		{
			double grown = c->round == round_no - 1 ? value - c->value : -1;

			c->value = value;
			c->round = round_no;
			return grown < 0 ? -1 : grown / elapsed;
		}
		if (c->round < oldest->round)
			oldest = c;
	}
	if (ncounters < MAX_MEMORY)
		oldest = counters + ncounters++;
	snprintf(oldest->label, sizeof(oldest->label), "%s", name);
	oldest->value = value;
	oldest->round = round_no;
	return -1;
}

/* Adds a point to the message; key2 may be NULL. */
static void
point(const char *name, const char *key1, const char *value1, const char *key2, const char *value2,
	  double value)
{
	uint8_t room[512];
	Wire series = {room, 0};

	if (message.len > MESSAGE_MAX - 1024)
		return;
	wire_bytes(&series, 1, name, strlen(name));
	wire_tag(&series, "hostname", hostname);
	if (key1)
		wire_tag(&series, key1, value1);
	if (key2)
		wire_tag(&series, key2, value2);
	wire_point(&message, room, series.len, now_ms, value);
}

/* As point(), for the growth of a counter; the first time says nothing. */
static void
rate_point(const char *name, const char *key, const char *label, double value)
{
	double rate = rate_of(name, label, value);

	if (rate >= 0)
		point(name, key, label, NULL, NULL, rate);
}

static void
cpus(void)
{
	static const char *modes[] = {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"};
	FILE *f = fopen("/proc/stat", "r");
	char line[512], cpu[16], label[64];
	double hz = (double) sysconf(_SC_CLK_TCK), cores = (double) sysconf(_SC_NPROCESSORS_ONLN);
	unsigned long long t[8];

	while (f && fgets(line, sizeof(line), f))
	{
		if (sscanf(line, "%15s %llu %llu %llu %llu %llu %llu %llu %llu", cpu, &t[0], &t[1], &t[2], &t[3],
				   &t[4], &t[5], &t[6], &t[7]) == 9 &&
			!strncmp(cpu, "cpu", 3))
			for (int m = 0; m < 8; m++)
			{
				int all = cpu[3] == '\0';
				double rate;

				snprintf(label, sizeof(label), "%s %s", cpu, modes[m]);
				rate = rate_of("cpu", label, (double) t[m]);
				if (rate >= 0)
					point("cpu_percent", "cpu", all ? "all" : cpu + 3, "mode", modes[m],
						  100 * rate / hz / (all ? cores : 1));
			}
		else if (sscanf(line, "ctxt %llu", &t[0]) == 1)
			rate_point("context_switches", "cpu", "all", (double) t[0]);
		else if (sscanf(line, "procs_running %llu", &t[0]) == 1)
			point("processes", "state", "running", NULL, NULL, (double) t[0]);
		else if (sscanf(line, "procs_blocked %llu", &t[0]) == 1)
			point("processes", "state", "blocked", NULL, NULL, (double) t[0]);
	}
	if (f)
		fclose(f);
}

static void
load(void)
{
	FILE *f = fopen("/proc/loadavg", "r");
	double l1, l5, l15;

	if (f && fscanf(f, "%lf %lf %lf", &l1, &l5, &l15) == 3)
	{
		point("load", "minutes", "1", NULL, NULL, l1);
		point("load", "minutes", "5", NULL, NULL, l5);
		point("load", "minutes", "15", NULL, NULL, l15);
	}
	if (f)
		fclose(f);
}

static void
memory(void)
{
	static const char *kinds[][2] = {
		{"MemTotal", "total"}, {"MemFree", "free"}, {"MemAvailable", "available"}, {"Buffers", "buffers"},
		{"Cached", "cached"},  {"Dirty", "dirty"},  {"SwapTotal", "swap_total"},   {"SwapFree", "swap_free"}};
	FILE *f = fopen("/proc/meminfo", "r");
	char line[256], name[64];
	double kb;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63[^:]: %lf", name, &kb) == 2)
			for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
				if (!strcmp(name, kinds[i][0]))
					point("memory_bytes", "kind", kinds[i][1], NULL, NULL, kb * 1024);
	if (f)
		fclose(f);
}

static void
disks(void)
{
	FILE *f = fopen("/proc/diskstats", "r");
	char line[512], device[64];
	unsigned long long read_sectors, written_sectors, busy_ms;

	while (f && fgets(line, sizeof(line), f))
	{
		if (sscanf(line, "%*u %*u %63s %*u %*u %llu %*u %*u %*u %llu %*u %*u %llu", device, &read_sectors,
				   &written_sectors, &busy_ms) != 4 ||
			!strncmp(device, "loop", 4) || !strncmp(device, "ram", 3) || read_sectors + written_sectors == 0)
			continue;
		rate_point("disk_read_bytes", "device", device, (double) read_sectors * 512);
		rate_point("disk_written_bytes", "device", device, (double) written_sectors * 512);
		rate_point("disk_busy_percent", "device", device, (double) busy_ms / 10);
	}
	if (f)
		fclose(f);
}

static void
network(void)
{
	FILE *f = fopen("/proc/net/dev", "r");
	char line[512], interface[64];
	unsigned long long received, sent;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %63[^:]: %llu %*u %*u %*u %*u %*u %*u %*u %llu", interface, &received, &sent) == 3)
		{
			rate_point("network_received_bytes", "interface", interface, (double) received);
			rate_point("network_sent_bytes", "interface", interface, (double) sent);
		}
	if (f)
		fclose(f);
}

/* Time that tasks lost waiting; only on kernels that keep it. */
static void
pressure(void)
{
	static const char *resources[] = {"cpu", "memory", "io"};
	char path[64], line[256], kind[16];
	double avg10;

	for (int r = 0; r < 3; r++)
	{
		FILE *f;

		snprintf(path, sizeof(path), "/proc/pressure/%s", resources[r]);
		if ((f = fopen(path, "r")) == NULL)
			continue;
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "%15s avg10=%lf", kind, &avg10) == 2)
				point("pressure_percent", "resource", resources[r], "kind", kind, avg10);
		fclose(f);
	}
}

/* Fills in what /proc/PID/stat says; false if the process is gone. */
static int
read_process(int pid, Process *p)
{
	char path[64], line[1024], *open, *close;
	unsigned long long user, system;
	long pages;
	double rate;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if ((f = fopen(path, "r")) == NULL)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	/* The command may hold blanks and parentheses of its own. */
	if (!(open = strchr(line, '(')) || !(close = strrchr(line, ')')) ||
		sscanf(close + 2,
			   "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
			   &user, &system, &pages) != 3)
		return 0;
	*close = '\0';
	p->pid = pid;
	snprintf(p->command, sizeof(p->command), "%s", open + 1);
	p->rss = (double) pages * (double) sysconf(_SC_PAGESIZE);
	snprintf(path, sizeof(path), "%d", pid);
	rate = rate_of("process", path, (double) (user + system));
	p->cpu = rate < 0 ? 0 : 100 * rate / (double) sysconf(_SC_CLK_TCK);
	return 1;
}

static int
by_cpu(const void *a, const void *b)
{
	double x = ((const Process *) a)->cpu, y = ((const Process *) b)->cpu;

	return (x < y) - (x > y);
}

static int
by_rss(const void *a, const void *b)
{
	double x = ((const Process *) a)->rss, y = ((const Process *) b)->rss;

	return (x < y) - (x > y);
}

static void
processes(void)
{
	static Process list[MAX_MEMORY / 2];
	int n = 0;
	char pid[16];
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) && n < MAX_MEMORY / 2)
		if (atoi(entry->d_name) > 0)
			n += read_process(atoi(entry->d_name), &list[n]);
	if (dir)
		closedir(dir);
	point("processes", "state", "all", NULL, NULL, n);
	qsort(list, (size_t) n, sizeof(Process), by_cpu);
	for (int i = 0; i < n && i < TOP && list[i].cpu > 0; i++)
	{
		snprintf(pid, sizeof(pid), "%d", list[i].pid);
		point("process_cpu_percent", "command", list[i].command, "pid", pid, list[i].cpu);
	}
	qsort(list, (size_t) n, sizeof(Process), by_rss);
	for (int i = 0; i < n && i < TOP && list[i].rss > 0; i++)
	{
		snprintf(pid, sizeof(pid), "%d", list[i].pid);
		point("process_rss_bytes", "command", list[i].command, "pid", pid, list[i].rss);
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	struct timespec t;
	int64_t before = 0, period_ms = argc > 3 ? atol(argv[3]) * 1000 : 1000;

	if (argc < 3 || period_ms <= 0)
		die("usage", "procmetrics BROKERS TOPIC [SECONDS]");
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	gethostname(hostname, sizeof(hostname) - 1);
	counters = calloc(MAX_MEMORY, sizeof(Counter));
	message.data = malloc(MESSAGE_MAX);
	rk = producer_open(argv[1], "lz4", "0");
	topic = rd_kafka_topic_new(rk, argv[2], NULL);
	producer_partitions(rk, topic);

	for (round_no = 1; !stopping; round_no++)
	{
		clock_gettime(CLOCK_REALTIME, &t);
		now_ms = (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
		elapsed = before ? (double) (now_ms - before) / 1000 : 1;
		before = now_ms;
		message.len = 0;
		cpus();
		load();
		memory();
		disks();
		network();
		pressure();
		processes();
		/* The key keeps this machine's points in one partition. */
		producer_send(rk, topic, RD_KAFKA_PARTITION_UA, hostname, &message);
		usleep((useconds_t) ((period_ms - now_ms % period_ms) * 1000));
	}
	rd_kafka_flush(rk, 5000);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
