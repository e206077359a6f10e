\ir begin.sql
\set ECHO all
SET client_min_messages = warning;
-- A table for each type: some values, over and over, in rows enough for several blocks, with
-- NULLs.  What is read must be what a heap table holds, by text and by the bytes of binary output.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE DOMAIN label AS text CHECK (VALUE <> '');
CREATE DOMAIN moods AS mood[];
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nested AS (p pair, q int[]);
CREATE TABLE kinds (type text, vals text[]) USING heap;
INSERT INTO kinds VALUES
	('bool', '{t,f}'),
	('"char"', '{a,z,"",~}'),
	('int2', '{0,1,-1,32767,-32768}'),
	('int4', '{0,1,-1,2147483647,-2147483648}'),
	('int8', '{0,1,-1,9223372036854775807,-9223372036854775808,5000000000}'),
	('oid', '{0,1,4294967295}'),
	('xid', '{0,3,4294967295}'),
	('cid', '{0,3,4294967295}'),
	('xid8', '{0,18446744073709551615}'),
	('tid', '{"(0,1)","(4294967294,65535)"}'),
	('float4', '{0,-0,1,1.5,-1e38,1e-45,1.17549e-38,NaN,Infinity,-Infinity,3.4028235e38}'),
	('float8', '{0,-0,1,0.1,-1e308,5e-324,2.2250738585072014e-308,NaN,Infinity,-Infinity,1.7976931348623157e308,0.30000000000000004}'),
	('numeric', '{0,0.000,1,-1.50,123456789012345678901234567890.123456789,1e-50,NaN,Infinity,-Infinity}'),
	('numeric(10,2)', '{0,1.50,-99999999.99}'),
	('money', '{0,-1.50,92233720368547758.07}'),
	('text', '{"",a,"tab\tnew","ünï日本😀","quote''\"\\\\"}'),
	('varchar(5)', '{"",abc,"ab   "}'),
	('char(5)', '{"",abc,"ab   "}'),
	('name', '{"",pg_class,"with blank"}'),
	('bytea', '{"\\x","\\x00","\\x00ff00"}'),
	('bit(5)', '{00000,10101}'),
	('bit varying', '{"",1,1010101010101010101}'),
	('date', '{2024-01-01,"4713-01-01 BC",infinity,-infinity,5874897-12-31}'),
	('time', '{00:00,24:00,12:34:56.789012}'),
	('timetz', '{00:00+15,24:00-12,12:34:56.789012+02}'),
	('timestamp', '{2024-01-01,"4713-01-01 BC",infinity,-infinity,"294276-12-31 23:59:59.999999"}'),
	('timestamptz', '{2024-01-01,"4713-01-01 BC",infinity,-infinity,"294276-12-31 23:59:59.999999Z"}'),
	('interval', '{0,"1 mon","30 days","720:00:00","-1 mon 2 days -3:04:05.678901"}'),
	('uuid', '{00000000-0000-0000-0000-000000000000,ffffffff-ffff-ffff-ffff-ffffffffffff}'),
	('inet', '{10.0.0.1,10.0.0.0/8,::1,2001:db8::/32}'),
	('cidr', '{10.0.0.0/8,2001:db8::/32}'),
	('macaddr', '{08:00:2b:01:02:03}'),
	('macaddr8', '{08:00:2b:01:02:03:04:05}'),
	('json', '{"{\"a\": 1}","[1,2]",null,"{\"a\":1,\"a\":2}"}'),
	('jsonb', '{"{\"a\": {\"b\": [1, 2.50, null]}}","[]","1","\"x\""}'),
	('jsonpath', '{"$.a[*]"}'),
	('xml', '{<a>x</a>,text}'),
	('tsvector', '{"","''a'':1 ''b'':2A"}'),
	('tsquery', '{"","''a'' & !''b''"}'),
	('point', '{"(1,2)","(-0,1e300)"}'),
	('line', '{"{1,2,3}"}'),
	('lseg', '{"[(1,2),(3,4)]"}'),
	('box', '{"(3,4),(1,2)"}'),
	('path', '{"((1,2),(3,4))","[(1,2)]"}'),
	('polygon', '{"((1,2),(3,4),(5,6))"}'),
	('circle', '{"<(1,2),3>"}'),
	('int4range', '{"[1,5)","(,)",empty}'),
	('numrange', '{"[1.5,2.50]","(,1)"}'),
	('tstzrange', '{"[2024-01-01,2024-02-01)"}'),
	('int4multirange', '{"{[1,2),[5,7)}","{}"}'),
	('int4[]', '{"{}","{1,NULL,3}","{{1,2},{3,4}}","[5:6]={1,2}"}'),
	('text[]', '{"{}","{a,\"b c\",NULL,\"\"}"}'),
	('numeric[]', '{"{1.50,NaN}"}'),
	('timestamptz[]', '{"{2024-01-01,infinity}"}'),
	('mood', '{sad,ok,happy}'),
	('mood[]', '{"{sad,happy}"}'),
	('moods', '{"{sad,happy}"}'),
	('posint', '{1,2147483647}'),
	('label', '{x,yy}'),
	('pair', '{"(1,x)","(,)","(-5,\"a,b\")"}'),
	('pair[]', '{"{\"(1,x)\",NULL}"}'),
	('nested', '{"(\"(1,x)\",\"{1,2}\")","(,)"}'),
	('int2vector', '{"","1 2 3"}'),
	('oidvector', '{"","1 2 3"}'),
	('regclass', '{pg_class,pg_type}'),
	('regtype', '{int4}'),
	('pg_lsn', '{0/0,FFFFFFFF/FFFFFFFF}'),
	('pg_snapshot', '{"10:20:10,14,15"}');
-- As a value column, and (where that makes sense or not) as a series column
CREATE FUNCTION check_type(type text, vals text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	role text;
BEGIN
	FOREACH role IN ARRAY '{value,series}'::text[] LOOP
		EXECUTE format('CREATE TABLE got (time timestamptz, host text, v %s)', type);
		IF current_setting('default_table_access_method') = 'metricsdb' THEN
			PERFORM metricsdb.set_options('got', 'time', CASE role WHEN 'series' THEN '{host,v}'::text[] ELSE '{host}' END);
		END IF;
		EXECUTE format('CREATE TABLE want (time timestamptz, host text, v %s) USING heap', type);
		EXECUTE format('INSERT INTO want SELECT %L::timestamptz + i * %L::interval, %L || i %% 3, '
			'CASE WHEN i %% 7 = 6 THEN NULL ELSE ($1)[1 + i / 3 %% cardinality($1)]::%s END FROM generate_series(1, 1300) i',
			'2024-01-01Z', '1 s', 'h', type) USING vals;
		INSERT INTO got SELECT * FROM want;
		INSERT INTO got SELECT * FROM want LIMIT 5;
		INSERT INTO want SELECT * FROM want LIMIT 5;
		result := compare('got', 'want');
		IF result <> 'equal' THEN
			RETURN role || ': ' || result;
		END IF;
		ALTER TABLE got ADD COLUMN copy int;
		ALTER TABLE got DROP COLUMN copy;
		-- once more, all from parts
		IF current_setting('default_table_access_method') = 'metricsdb' THEN
			ALTER TABLE got SET UNLOGGED;
			result := compare('got', 'want');
			IF result <> 'equal' THEN
				RETURN role || ', rewritten: ' || result;
			END IF;
		END IF;
		DROP TABLE got, want;
	END LOOP;
	RETURN 'equal';
END $$;
SELECT type, check_type(type, vals) FROM kinds ORDER BY type COLLATE "C";
-- Floats by their bits, not their text
CREATE TABLE f (time timestamptz, host text, f8 float8, f4 float4);
INSERT INTO f SELECT '2024-01-01Z', 'h', v::float8, v::float8::float4 FROM unnest('{0,-0,NaN,Infinity,-Infinity,0.1,1e-30}'::text[]) v, generate_series(1, 10);
SELECT encode(float8send(f8), 'hex') AS f8, encode(float4send(f4), 'hex') AS f4, count(*) FROM f GROUP BY 1, 2 ORDER BY 1;
-- Text that is equal without being the same stays what it was
CREATE COLLATION nocase (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false);
CREATE TABLE n (time timestamptz, host text COLLATE nocase, d numeric, v int);
INSERT INTO n SELECT '2024-01-01Z', v, w::numeric, 1 FROM unnest('{abc,ABC,Abc}'::text[]) v, unnest('{1,1.0,1.00}'::text[]) w, generate_series(1, 5);
SELECT host COLLATE "C", d::text, count(*) FROM n GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM n WHERE host = 'aBC';
SELECT count(*) FROM (SELECT DISTINCT host, d FROM n) x;
-- Every type in one row
CREATE TABLE many (time timestamptz, a bool, b "char", c int2, d text, e float4, f name, g uuid, h inet, i numeric, j int8, k interval, l char(3), m timetz, n point, o mood, p jsonb, q bytea, r text[]);
INSERT INTO many SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, i % 2 = 0, chr(65 + i % 5)::"char", i, 't' || i % 4, i / 7.0, 'n' || i, md5(i::text)::uuid, '10.0.0.1'::inet + i, i / 8.0, i, i * '1 h'::interval, i % 10, '10:00+01', point(i, -i), (enum_range(NULL::mood))[1 + i % 3], jsonb_build_object('k', i % 3), decode(md5(i::text), 'hex'), ARRAY['a', i::text] FROM generate_series(1, 50) i;
INSERT INTO many (time) SELECT '2024-01-02Z' FROM generate_series(1, 15);
INSERT INTO many (time, j) VALUES ('2024-01-02Z', 1);
SELECT md5(string_agg(many::text, E'\n' ORDER BY many::text COLLATE "C")), count(*) FROM many;
SELECT * FROM many WHERE c IN (7, 49) ORDER BY c;
\set ECHO none
