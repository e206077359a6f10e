#include "postgres.h"
#include "metricsdb.h"
void mdb_admin_init(void) {}
