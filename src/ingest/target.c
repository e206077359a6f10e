/*
 * target.c
 *	  The table that a Kafka source writes to: what it must look like, and making one.
 *
 * The worker appends columns and does not go through the executor.  So whatever the executor
 * would do to an inserted row and the worker does not must be absent from the table; this file
 * is where that is checked, when a source is created and again at each flush.
 *
 * Called by source_sql.c and flush.c.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/varlena.h"

#include "ingest/target.h"
#include "metricsdb.h"
#include "write/write.h"

PG_FUNCTION_INFO_V1(mdb_create_metrics_table);

#define SHAPE_HINT "Create one with SELECT metricsdb.create_metrics_table('metrics')."

/*
 * take_column - note a column under its role; false if the role is already filled.
 */
static bool
take_column(AttrNumber *role, AttrNumber attnum)
{
	if (*role != InvalidAttrNumber)
		return false;
	*role = attnum;
	return true;
}

static void
refuse(Relation rel, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table \"%s\" cannot be the target of a Kafka source", RelationGetRelationName(rel)),
			 errdetail("It has %s, which a Kafka source does not honor.", what)));
}

void
mdb_target_check(Relation rel, MdbTarget *target)
{
	TupleDesc desc = RelationGetDescr(rel);
	TriggerDesc *triggers = rel->trigdesc;
	bool fits = true;

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relam != get_am_oid(MDB_AM_NAME, true))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a metricsdb table", RelationGetRelationName(rel)),
						errdetail("A Kafka source writes to a table that was created USING metricsdb."),
						errhint(SHAPE_HINT)));

	mdb_refuse_elsewhere(RelationGetRelid(rel), "Have the nodes read from Kafka.");
	memset(target, 0, sizeof(*target));
	for (int i = 0; i < desc->natts && fits; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (att->attgenerated != '\0')
			fits = false;
		else if (att->atttypid == TEXTOID)
			fits = take_column(&target->name, att->attnum);
		else if (att->atttypid == JSONBOID)
			fits = take_column(&target->tags, att->attnum);
		else if (att->atttypid == TIMESTAMPTZOID)
			fits = take_column(&target->time, att->attnum);
		else if (att->atttypid == FLOAT8OID)
			fits = take_column(&target->value, att->attnum);
		else
			fits = false;
	}
	if (!fits || desc->natts > MDB_TARGET_COLUMNS || !target->name || !target->tags || !target->time ||
		!target->value)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("table \"%s\" does not have the columns of a metrics table",
						RelationGetRelationName(rel)),
				 errdetail("It must have one column each of type text (the metric's name), jsonb (the tags), "
						   "timestamp with time zone and double precision, and no others."),
				 errhint(SHAPE_HINT)));

	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be the target of a Kafka source", RelationGetRelationName(rel)),
				 errdetail("It is a temporary table, which no other process can write to.")));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table \"%s\" cannot be the target of a Kafka source", RelationGetRelationName(rel)),
			 errdetail("It is an unlogged table: a crash would empty it, and Kafka would not be read again."),
			 errhint("Use ALTER TABLE ... SET LOGGED first.")));
	if (rel->rd_rel->relispartition)
		refuse(rel, "a partition's bound");
	if (desc->constr && desc->constr->num_check > 0)
		refuse(rel, "a CHECK constraint");
	if (triggers && (triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
					 triggers->trig_insert_before_statement || triggers->trig_insert_after_statement))
		refuse(rel, "a trigger on INSERT");
	if (rel->rd_rules)
		refuse(rel, "a rule");
	if (rel->rd_rel->relhasindex)
		refuse(rel, "an index");
	/* Here, not where rows are stored alone: a source that can never go on is told so when it is made. */
	mdb_check_published(rel, CMD_INSERT);
}

void
mdb_target_check_role(Relation rel, Oid role)
{
	Oid relid = RelationGetRelid(rel);

	if (pg_class_aclcheck(relid, role, ACL_INSERT) != ACLCHECK_OK)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for table %s", RelationGetRelationName(rel)),
						errdetail("Role \"%s\" owns the Kafka source and may not insert into its target.",
								  GetUserNameFromId(role, false)),
						errhint("GRANT INSERT ON %s TO %s.",
								quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
														   RelationGetRelationName(rel)),
								quote_identifier(GetUserNameFromId(role, false)))));

	if (check_enable_rls(relid, role, true) == RLS_ENABLED)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("row-level security applies to role \"%s\" on table \"%s\"",
							   GetUserNameFromId(role, false), RelationGetRelationName(rel)),
						errdetail("A Kafka source does not evaluate row-level security policies."),
						errhint("Let the table's owner, or a role with BYPASSRLS, own the source.")));
}

/*
 * mdb_create_metrics_table - metricsdb.create_metrics_table(name text) RETURNS regclass
 *
 * Plain DDL in the caller's name: privileges are CREATE TABLE's own.
 */
Datum
mdb_create_metrics_table(PG_FUNCTION_ARGS)
{
	RangeVar *rv = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	Oid schema = RangeVarGetCreationNamespace(rv);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "CREATE TABLE %s ("
					 "metric_name pg_catalog.text NOT NULL, "
					 "tags pg_catalog.jsonb NOT NULL DEFAULT '{}'::pg_catalog.jsonb, "
					 "\"time\" pg_catalog.timestamptz NOT NULL, "
					 "value pg_catalog.float8) USING %s",
					 quote_qualified_identifier(get_namespace_name(schema), rv->relname), MDB_AM_NAME);

	SPI_connect();
	if (SPI_execute(sql.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not create table \"%s\"", rv->relname);
	SPI_finish();

	PG_RETURN_OID(get_relname_relid(rv->relname, schema));
}
