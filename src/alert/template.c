/*
 * template.c
 *	  Texts with {{ }} in them, as in Prometheus.
 */
#include "postgres.h"

#include "alert/define.h"

void
mdb_template_check(const char *text, const char *what, bool *uses_value)
{
}

Jsonb *
mdb_annotations_make(const MdbRule *rule, const Jsonb *labels, double value)
{
	return rule->annotations;
}
