/*
 * settings.c
 *	  Settings of the part store.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "metricsdb.h"
#include "store/store.h"

int mdb_cold_after = 86400;
int mdb_retention_interval = 3600;
int mdb_directory_cache = 64 * 1024;
int mdb_direct_rows = 1000;
int mdb_write_buffer = 64 * 1024;
int mdb_on_corruption = MDB_CORRUPTION_ERROR;

static const struct config_enum_entry corruption_options[] = {
	{"error", MDB_CORRUPTION_ERROR, false},
	{"skip", MDB_CORRUPTION_SKIP, false},
	{NULL, 0, false},
};

/*
 * mdb_store_init - define the settings.
 */
void
mdb_store_init(void)
{
	DefineCustomIntVariable(
		"metricsdb.direct_rows", "Rows of one statement from which on they are written as a compressed part.",
		"Fewer rows go to the table's delta heap, from where they are moved in the background.",
		&mdb_direct_rows, 1000, 1, 1000000, PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"metricsdb.write_buffer",
		"Memory in which the rows of one statement are collected before a part is written.", NULL,
		&mdb_write_buffer, 64 * 1024, 1024, 1024 * 1024, PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"metricsdb.directory_cache", "Memory in which a session keeps directories of parts that it has read.",
		"They are what short queries would read and decode each time.", &mdb_directory_cache, 64 * 1024, 0,
		MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"metricsdb.cold_after",
		"Time after which parts that nothing was added to are written anew, as small as can be.",
		"They take a fifth less or so, and longer to read. -1 leaves them as they are.", &mdb_cold_after,
		86400, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"metricsdb.retention_interval",
		"Time between two looks of the background for rows that are older than their table keeps them.",
		"-1 leaves that to metricsdb.apply_retention(), which pg_cron may call.", &mdb_retention_interval,
		3600, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	/* Not for everybody: it makes queries leave out rows, and with them what checks were to find. */
	DefineCustomEnumVariable(
		"metricsdb.on_corruption", "What a query does that meets damaged bytes of a part.",
		"error ends it; skip leaves out the rows that cannot be read, with a warning for each damaged part.",
		&mdb_on_corruption, MDB_CORRUPTION_ERROR, corruption_options, PGC_SUSET, 0, NULL, NULL, NULL);
}
