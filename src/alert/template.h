/*
 * template.h
 *	  Texts with {{ }} in them: what template.c and template_func.c share.
 */
#ifndef MDB_ALERT_TEMPLATE_H
#define MDB_ALERT_TEMPLATE_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef enum MdbTemplateKind
{
	MDB_TEMPLATE_TEXT,
	MDB_TEMPLATE_NUMBER,
	MDB_TEMPLATE_BOOLEAN,
	MDB_TEMPLATE_LABELS,
	MDB_TEMPLATE_ROOT /* what . is at the top: it has .Labels and .Value */
} MdbTemplateKind;

/* A value in a template. */
typedef struct MdbTemplateValue
{
	MdbTemplateKind kind;
	const char *text;
	double number;
	bool integer; /* a number that was written without a point */
	bool boolean;
	const Jsonb *labels;
} MdbTemplateValue;

typedef struct MdbTemplateFunction
{
	const char *name;
	int min;
	int max; /* arguments, -1 = any number */
	MdbTemplateValue (*call)(const MdbTemplateValue *args, int n);
} MdbTemplateFunction;

extern const MdbTemplateFunction *mdb_template_function(const char *name);
extern const char *mdb_template_text(const MdbTemplateValue *v);
extern bool mdb_template_truth(const MdbTemplateValue *v);
extern MdbTemplateValue mdb_template_of_text(const char *text);
extern const char *mdb_template_label(const Jsonb *labels, const char *name);

#endif /* MDB_ALERT_TEMPLATE_H */
