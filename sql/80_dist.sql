-- Many nodes, one table: src/dist/README.md.  A node is a server of postgres_fdw; who reads through it is a matter of
-- its user mappings.  Written by the functions below alone, and by who restores a dump.

CREATE TABLE node (
	name       text        NOT NULL PRIMARY KEY,	-- of its server
	shard      text        NOT NULL,	-- what it holds; nodes with the same shard hold the same
	replica    int4        NOT NULL,	-- which is asked first
	draining   bool        NOT NULL,	-- is sent no new data; what it has counts
	own_server bool       NOT NULL,	-- add_node() made the server
	added_at   timestamptz NOT NULL,
	state      text        NOT NULL DEFAULT 'whole' CHECK (state IN ('whole', 'joining', 'evicted')),	-- only what is whole counts
	UNIQUE (shard, replica)
) USING heap;
COMMENT ON TABLE node IS 'nodes of distributed tables; written by metricsdb.add_node() and the like';
SELECT pg_catalog.pg_extension_config_dump('metricsdb.node', '');

CREATE TABLE distributed (
	"table"   regclass    NOT NULL PRIMARY KEY,
	since     timestamptz NOT NULL
) USING heap;
COMMENT ON TABLE distributed IS 'tables whose rows are on the nodes; written by metricsdb.distribute() and undistribute()';
SELECT pg_catalog.pg_extension_config_dump('metricsdb.distributed', '');

CREATE TABLE node_view (
	view    regclass NOT NULL PRIMARY KEY,	-- here, with the query
	"table" regclass NOT NULL,	-- distributed
	options text     NOT NULL	-- as behind WITH
) USING heap;
COMMENT ON TABLE node_view IS 'continuous aggregates of distributed tables, which nodes keep; written by CREATE MATERIALIZED VIEW ... WITH (metricsdb.continuous)';
SELECT pg_catalog.pg_extension_config_dump('metricsdb.node_view', '');

REVOKE ALL ON node, distributed, node_view FROM PUBLIC;

-- Whoever writes these rows, be it a dump that is restored, those who remember must hear of it.
CREATE FUNCTION distributed_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'mdb_distributed_changed' LANGUAGE C;
COMMENT ON FUNCTION distributed_changed() IS 'tells sessions that a table is distributed, or not any more';
CREATE TRIGGER distributed_changed AFTER INSERT OR UPDATE OR DELETE ON distributed
	FOR EACH ROW EXECUTE FUNCTION distributed_changed();

CREATE FUNCTION add_node(name text, conninfo text DEFAULT NULL, shard text DEFAULT NULL, replica int4 DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_add_node' LANGUAGE C;
COMMENT ON FUNCTION add_node(text, text, text, int4) IS
	'let a server take part: conninfo makes a server of postgres_fdw and the caller''s user mapping, without it they must exist; '
	'shard: what it holds, by default its own; replica: which one of the shard''s, by default the next. If the shard''s others '
	'have a distributed table already, it counts when metricsdb.rejoin_node() has found that it has what they have. For superusers';

CREATE FUNCTION remove_node(name text, force bool DEFAULT false) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_remove_node' LANGUAGE C STRICT;
COMMENT ON FUNCTION remove_node(text, bool) IS
	'forget a node, and its server if add_node() made it; false if there is none. With rows in distributed tables of which no '
	'other node of its shard is left only by force. For superusers';

CREATE FUNCTION drain_node(name text, drain bool DEFAULT true, move_rows bool DEFAULT false) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_drain_node' LANGUAGE C STRICT;
COMMENT ON FUNCTION drain_node(text, bool, bool) IS
	'send a node no new data, or with drain false send it some again; its rows stay where they are and are read, or with '
	'move_rows go to other shards, unless another node of its shard, which is not drained, has them, too. True if draining is a '
	'change. For superusers';

CREATE FUNCTION evict_node(name text, force bool DEFAULT false) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_evict_node' LANGUAGE C STRICT;
COMMENT ON FUNCTION evict_node(text, bool) IS
	'let nothing of a node count any more, so that others go on without it; false if it is so already. The last node that has a '
	'shard''s rows only by force. For superusers';

CREATE FUNCTION rejoin_node(name text) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_rejoin_node' LANGUAGE C STRICT;
COMMENT ON FUNCTION rejoin_node(text) IS
	'let an evicted node, whose tables must be empty, or a new replica, get what its shard has: tables by metricsdb.distribute(), partitions by '
	'metricsdb.assign_partitions(). Called again, when it has all, let it count: true then. For superusers';

CREATE FUNCTION distribute("table" regclass) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_distribute' LANGUAGE C STRICT;
COMMENT ON FUNCTION distribute(regclass) IS
	'make an empty table stand for the tables of its name on all nodes, where it is made if it is not there; false if it does '
	'already: then nodes get what columns and continuous aggregates they lack. For the table''s owner';

CREATE FUNCTION undistribute("table" regclass) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_undistribute' LANGUAGE C STRICT;
COMMENT ON FUNCTION undistribute(regclass) IS
	'make a distributed table an ordinary, empty one again; tables on nodes stay as they are. False if it was none. For the table''s owner';

CREATE FUNCTION all_nodes(
	OUT node text, OUT shard text, OUT replica int4, OUT draining bool, OUT healthy bool, OUT error text,
	OUT server_version text, OUT version text, OUT lag interval, OUT series int8, OUT bytes int8,
	OUT round_trip interval, OUT breaker text, OUT failures int4, OUT failed_at timestamptz) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_all_nodes' LANGUAGE C;
COMMENT ON FUNCTION all_nodes() IS 'rows of the view metricsdb.nodes';
REVOKE ALL ON FUNCTION all_nodes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION all_nodes() TO pg_monitor;

CREATE VIEW nodes WITH (security_invoker = true) AS SELECT * FROM all_nodes();
COMMENT ON VIEW nodes IS
	'the nodes as the reader''s user mappings find them now, asked all at once: versions, how far a standby is behind its primary, or the '
	'node what Kafka has for distributed tables, series '
	'and bytes of distributed tables, or the error; and how they did before: breaker closed, open (asked last for a while), or '
	'half-open (about to be tried), failures in a row, the last one. For pg_monitor';
GRANT SELECT ON nodes TO pg_monitor;

CREATE FUNCTION missing_shards() RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'mdb_missing_shards' LANGUAGE C;
COMMENT ON FUNCTION missing_shards() IS
	'shards that queries of this transaction have done without, as metricsdb.partial_results allowed them to';
