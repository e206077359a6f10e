/*
 * explain.c
 *	  What EXPLAIN tells of MetricsNodes: the nodes' query, and what came of each of them.
 */
#include "postgres.h"

#include "commands/explain.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "compat.h"
#include "dist/dist.h"

static void
explain_piece(const MdbPiece *piece, ExplainState *es)
{
	uint64 rows = piece->rows + piece->stream.rows, bytes = piece->bytes + piece->stream.bytes;
	StringInfoData buf;
	instr_time took = piece->stream.took;
	double ms = piece->milliseconds;

	/* Until now, where not all was read. */
	if (INSTR_TIME_IS_ZERO(took) && !INSTR_TIME_IS_ZERO(piece->stream.began))
	{
		INSTR_TIME_SET_CURRENT(took);
		INSTR_TIME_SUBTRACT(took, piece->stream.began);
	}
	ms += INSTR_TIME_GET_MILLISEC(took);
	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		ExplainOpenGroup("Node", NULL, true, es);
		ExplainPropertyText("Node", piece->node ? piece->node : "", es);
		ExplainPropertyText("Shard", piece->shard->name, es);
		ExplainPropertyInteger("Rows", NULL, rows, es);
		ExplainPropertyInteger("Bytes", NULL, bytes, es);
		if (es->timing)
			ExplainPropertyFloat("Time", "ms", ms, 3, es);
		ExplainCloseGroup("Node", NULL, true, es);
		return;
	}
	initStringInfo(&buf);
	appendStringInfo(&buf, "shard=%s rows=" UINT64_FORMAT " bytes=" UINT64_FORMAT, piece->shard->name, rows,
					 bytes);
	if (es->timing)
		appendStringInfo(&buf, " time=%.3f ms", ms);
	ExplainPropertyText(psprintf("Node %s", piece->node ? piece->node : "(none)"), buf.data, es);
}

/* Which parts of the query nodes do; what else there is is in the plan above. */
static char *
parts_of_nodes(const Query *q)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, q->groupClause != NIL || q->hasAggs ? "groups"
								 : q->hasDistinctOn                  ? "DISTINCT ON"
																	 : "rows");
	if (q->jointree->quals)
		appendStringInfoString(&buf, ", WHERE");
	if (q->havingQual)
		appendStringInfoString(&buf, ", HAVING");
	if (q->sortClause != NIL)
		appendStringInfoString(&buf, ", ORDER BY");
	if (q->limitCount)
		appendStringInfoString(&buf, ", LIMIT");
	return buf.data;
}

/*
 * mdb_dist_explain - the node's own lines.
 */
void
mdb_dist_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	MdbDistState *state = (MdbDistState *) node;

	if (es->verbose)
		ExplainPropertyText("Node SQL", mdb_dist_shown_sql(state), es);
	else
		ExplainPropertyText("Done by Nodes", parts_of_nodes(state->query), es);
	if (!es->analyze || state->ask.pieces == NULL)
		return;
	ExplainOpenGroup("Nodes", "Nodes", false, es);
	for (int i = 0; i < state->ask.npieces; i++)
		explain_piece(&state->ask.pieces[i], es);
	ExplainCloseGroup("Nodes", "Nodes", false, es);
}
