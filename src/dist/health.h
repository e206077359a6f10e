/*
 * health.h
 *	  How nodes do: see health.c.
 */
#ifndef MDB_DIST_HEALTH_H
#define MDB_DIST_HEALTH_H

#include "datatype/timestamp.h"

typedef enum MdbBreaker
{
	MDB_BREAKER_CLOSED,
	MDB_BREAKER_OPEN,
	MDB_BREAKER_HALF_OPEN
} MdbBreaker;

typedef struct MdbHealth
{
	MdbBreaker state;
	bool probed;  /* half-open, and somebody is asking */
	int failures; /* in a row */
	TimestampTz failed_at;
	bool slow; /* the last one took long */
	char error[200];
	int64 lag_ms; /* 0: none that is known */
} MdbHealth;

extern void mdb_node_failed(const char *node, const char *message, TimestampTz began);
extern void mdb_node_answered(const char *node);
extern void mdb_node_lags(const char *node, int64 ms);
extern MdbHealth mdb_node_health(const char *node, bool probe);
extern const char *mdb_breaker_name(MdbBreaker state);
extern void mdb_health_init(void);

#endif /* MDB_DIST_HEALTH_H */
