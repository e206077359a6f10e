/*
 * series_check.c
 *	  Rules over series of a table: is it one that they can watch, and does it have such series?
 *
 * Threshold and dead-man rules are evaluated from what writers of the table tell, not by a query of the owner's.  So he
 * must have the right to read all of the table when he defines one, and no policy may hide rows from him.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "alert/define.h"
#include "func/func.h"
#include "metricsdb.h"
#include "series/guard.h"
#include "store/store.h"

/*
 * mdb_is_number_type - can a value be of it?
 */
bool
mdb_is_number_type(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID || type == FLOAT4OID || type == FLOAT8OID ||
		   type == NUMERICOID;
}

static void
check_rights(Relation rel, Oid owner)
{
	const char *name = RelationGetRelationName(rel);

	if (pg_class_aclcheck(RelationGetRelid(rel), owner, ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, name);
	if (check_enable_rls(RelationGetRelid(rel), owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security of table \"%s\" applies to role \"%s\"", name,
						GetUserNameFromId(owner, false)),
				 errdetail("Rules of this kind are evaluated from what was written, whoever may see it."),
				 errhint("Write a rule with a \"query\", which sees what its owner sees.")));
}

/* The column that is measured: the one named, or the only one there is, or "value". */
static void
check_value_column(Relation rel, const MdbTable *table, MdbDraft *draft)
{
	MdbParam *p = &draft->p[MDB_P_VALUE_COLUMN];
	TupleDesc desc = RelationGetDescr(rel);
	const char *found = NULL;
	int numbers = 0;

	for (int i = 0; i < table->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool number;

		if (att->attisdropped || table->columns[i].role != MDB_ROLE_VALUE)
			continue;
		number = mdb_is_number_type(getBaseType(att->atttypid));
		numbers += number;
		if (p->given ? strcmp(NameStr(att->attname), p->text) == 0
					 : number && (found == NULL || strcmp(NameStr(att->attname), "value") == 0))
		{
			found = NameStr(att->attname);
			if (!number)
				ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
								errmsg("column \"%s\" of table \"%s\" is not a number", found,
									   RelationGetRelationName(rel))));
		}
	}
	if (found == NULL || (!p->given && numbers > 1 && strcmp(found, "value") != 0))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 p->given
				 ? errmsg("table \"%s\" has no value column \"%s\"", RelationGetRelationName(rel), p->text)
				 : errmsg("table \"%s\" has %s", RelationGetRelationName(rel),
						  numbers == 0 ? "no value column that is a number" : "several value columns"),
			 errhint("Name one by \"value_column\". %s.describe() lists them.", MDB_SCHEMA)));
	p->given = true;
	p->text = pstrdup(found);
}

/* Has the table such a label? */
static bool
has_label(Relation rel, const MdbTable *table, AttrNumber tags, const char *label)
{
	if (tags > 0)
		return true;
	for (int i = 0; i < table->nseries_columns; i++)
		if (strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), table->series_attnos[i] - 1)->attname),
				   label) == 0)
			return true;
	return false;
}

static void
check_labels(Relation rel, const MdbTable *table, AttrNumber tags, MdbParamId id, const MdbDraft *draft)
{
	ListCell *lc;

	foreach (lc, draft->p[id].texts)
		if (!has_label(rel, table, tags, lfirst(lc)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table \"%s\" has no series column \"%s\"", RelationGetRelationName(rel),
							(char *) lfirst(lc)),
					 errdetail("\"%s\" of alert rule \"%s\" names it.", mdb_param_name(id), draft->name)));
}

/* Which series: the name of the metric and matchers. */
static void
check_matchers(Relation rel, const MdbTable *table, AttrNumber name, AttrNumber tags, MdbDraft *draft)
{
	MdbParam *metric = &draft->p[MDB_P_METRIC];
	MdbParam *matchers = &draft->p[MDB_P_MATCHERS];

	if (matchers->given)
	{
		MdbSelector *selector =
			mdb_selector_of(matchers->text, strlen(matchers->text), CurrentMemoryContext, false);

		for (int i = 0; i < selector->n; i++)
		{
			char *label = pnstrdup(selector->v[i].label.p, selector->v[i].label.len);

			if (!mdb_is_metric_label(selector->v[i].label) && !has_label(rel, table, tags, label))
				ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
								errmsg("table \"%s\" has no series column \"%s\"",
									   RelationGetRelationName(rel), label),
								errdetail("\"matchers\" of alert rule \"%s\" name it.", draft->name)));
		}
	}
	if (name == 0 && metric->given && strcmp(metric->text, RelationGetRelationName(rel)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" has no column of metrics' names", RelationGetRelationName(rel)),
				 errhint("Leave out \"metric\"; name the column that is measured by \"value_column\".")));
	if (name > 0 && !metric->given && !matchers->given)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("alert rule \"%s\" lacks \"metric\"", draft->name),
						errdetail("Table \"%s\" has series of many metrics.", RelationGetRelationName(rel))));
}

/*
 * mdb_series_source_check - can a threshold or dead-man rule watch its source?  Completes value_column.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE, ERRCODE_INSUFFICIENT_PRIVILEGE, ERRCODE_UNDEFINED_COLUMN,
 * ERRCODE_INVALID_PARAMETER_VALUE.
 */
void
mdb_series_source_check(MdbDraft *draft)
{
	Oid relid = draft->p[MDB_P_SOURCE].oid;
	Relation rel;
	MdbTable *table;
	AttrNumber name, tags;

	if (!mdb_is_metricsdb_oid(relid))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a metricsdb table", get_rel_name(relid)),
						errhint("Give the table that the series are in as \"source\".")));
	mdb_refuse_elsewhere(relid, "Write a rule with a \"query\", or create the rule on each node.");
	rel = table_open(relid, AccessShareLock);
	check_rights(rel, draft->owner);
	table = mdb_table(rel);
	if (table->time_type != TIMESTAMPTZOID && table->time_type != TIMESTAMPOID)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("table \"%s\" has no time column of type timestamp with time zone",
							   RelationGetRelationName(rel)),
						errhint("Write a rule with a \"query\".")));
	mdb_guard_shape(rel, table, &name, &tags);
	check_matchers(rel, table, name, tags, draft);
	if (draft->kind == MDB_RULE_THRESHOLD)
		check_value_column(rel, table, draft);
	if (draft->p[MDB_P_BY].given && draft->p[MDB_P_WITHOUT].given)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("alert rule \"%s\" has both \"by\" and \"without\"", draft->name)));
	check_labels(rel, table, tags, MDB_P_BY, draft);
	check_labels(rel, table, tags, MDB_P_WITHOUT, draft);
	table_close(rel, NoLock);
}
