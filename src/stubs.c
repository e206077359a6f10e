#include "postgres.h"
#include "metricsdb.h"
void mdb_ingest_init(void) {}
void mdb_workers_init(void) {}
