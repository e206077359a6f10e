/*
 * clock.c
 *	  A clock that is wrong by as much as a file says: preloaded (LD_PRELOAD), for tests of what hours do.
 *
 * $METRICSDB_CLOCK has microseconds, as eight bytes of this machine, that are added to the time of day.  It is mapped, so
 * whoever writes to it moves the clock of all processes that were started so, at once.  What measures durations
 * (CLOCK_MONOTONIC) goes on as it is.  Safe in signal handlers and threads.
 *
 * links: -shared -fPIC -Wl,--as-needed
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *wrong_by = NULL;

__attribute__((constructor)) static void
map(void)
{
	const char *path = getenv("METRICSDB_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		wrong_by = at;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;
	int64_t us;

	if (syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts) != 0)
		return -1;
	us = (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000 + (wrong_by ? *wrong_by : 0);
	tv->tv_sec = us / 1000000;
	tv->tv_usec = us % 1000000;
	return 0;
}

time_t
time(time_t *at)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	if (at)
		*at = tv.tv_sec;
	return tv.tv_sec;
}
