-- Rows that are inserted into distributed tables on the coordinator: src/dist/write.c and recover.c.

CREATE TABLE dist_transaction (
	gid   text        NOT NULL PRIMARY KEY,	-- without the node's number at its end
	nodes text[]      NOT NULL,
	since timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE dist_transaction IS
	'transactions that have committed here, and whose commit nodes may not have heard of; what nodes have prepared and is not '
	'here is rolled back there. Written by them alone, emptied by metricsdb.recover_transactions()';
REVOKE ALL ON dist_transaction FROM PUBLIC;

CREATE FUNCTION recover_transactions() RETURNS int4
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_recover_transactions';
COMMENT ON FUNCTION recover_transactions() IS
	'end transactions on nodes that were left prepared, as this coordinator has ended them; how many. The maintainer does so by '
	'itself. For superusers';
REVOKE ALL ON FUNCTION recover_transactions() FROM PUBLIC;
