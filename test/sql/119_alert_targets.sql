-- needs: preload
-- Targets of alerts: what may be said about them, who may do so, and who sees what.
\set VERBOSITY terse
SET search_path = metricsdb, public;
CREATE ROLE mdb_pager;
CREATE ROLE mdb_other;
GRANT EXECUTE ON FUNCTION create_alert_target, alter_alert_target, set_alert_secrets TO mdb_pager;

-- Who is not asked to may not.
SET ROLE mdb_other;
SELECT create_alert_target('x', 'notify', '{c}');
SELECT alter_alert_target('x');
SELECT set_alert_secrets('x', NULL);
SELECT * FROM alert_target;
SELECT * FROM alert_secret;
SELECT * FROM alert_receiver;
SELECT * FROM alert_outbox;
SELECT * FROM alert_sent;

SET ROLE mdb_pager;
-- What is no target
SELECT create_alert_target('', 'notify', '{c}');
SELECT create_alert_target(NULL, 'notify', '{c}');
SELECT create_alert_target('x', 'mail', '{c}');
SELECT create_alert_target('x', 'notify');
SELECT create_alert_target('x', 'notify', '{a,b}');
SELECT create_alert_target('x', 'notify', '{c}', '{"timeout": "1s"}');
SELECT create_alert_target('x', 'notify', ARRAY[NULL]);
SELECT create_alert_target('x', 'webhook');
\set VERBOSITY default
SELECT create_alert_target('x', 'webhook', '{http://user:pass-Geheim@h/}');
SELECT create_alert_target('x', 'webhook', '{file:///etc/passwd}');
SELECT create_alert_target('x', 'webhook', '{http://h/}', '{"password": "pass-Geheim", "user": "u"}');
SELECT create_alert_target('x', 'webhook', '{http://h/}', '{"ca_file": "/etc/passwd"}');
SELECT create_alert_target('x', 'webhook', '{http://h/}', '{"colour": "red"}');
\set VERBOSITY terse
SELECT create_alert_target('x', 'webhook', '{gopher://h/}');
SELECT create_alert_target('x', 'webhook', '{h}');
SELECT create_alert_target('x', 'webhook', '{"http://h/ a"}');
SELECT create_alert_target('x', 'webhook', '{http://h/#f}');
SELECT create_alert_target('x', 'webhook', '{http://h/,http://h/}');
SELECT create_alert_target('x', 'webhook', ARRAY['http://h/' || repeat('x', 2000)]);
SELECT create_alert_target('x', 'alertmanager', '{http://h/?a=b}');
SELECT create_alert_target('x', 'alertmanager', (SELECT array_agg('http://h' || i) FROM generate_series(1, 17) i));
SELECT create_alert_target('x', 'webhook', '{https://h/}', '[]');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"timeout": "1 h"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"timeout": {}}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"parallel": 0}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"headers": {"Host": "other"}}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"headers": {"X-A b": "1"}}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"headers": {"X-A": "1\r\nX-B: 2"}}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"headers": {"Authorization": "Bearer t"}}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"headers": "X: y"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"ca_pem": "abc"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"generator_url": "javascript:alert(1)"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"user": "a:b"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{}', '{"password": "p"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{"user": "u"}', '{"token": "t"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{}', '{"token": "a\nb"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{}', '{"key_pem": "-----BEGIN PRIVATE KEY-----"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{}', '{"user": "u"}');
SELECT create_alert_target('x', 'webhook', '{https://h/}', '{}', '{"url": "https://other/"}');
SELECT create_alert_target('x', 'webhook', '{}', '{}', '{"url": "https://u:p@other/"}');
SELECT create_alert_target('x', 'alertmanager', '{https://h/}', '{}', '{"hmac_key": "k"}');
SELECT count(*) FROM alert_targets WHERE name = 'x';

-- What is one, and how it changes.  None of these answers.
SELECT create_alert_target('am', 'alertmanager', '{http://127.0.0.1:1,http://127.0.0.1:2/am}', '{"timeout": "2s"}') > 0 AS created;
SELECT create_alert_target('am', 'webhook', '{http://h/}');
SELECT alter_alert_target('am', enabled => false);
SELECT create_alert_target('slack', 'webhook', secrets => '{"url": "https://127.0.0.1:1/services/T0/url-Geheim", "hmac_key": "hmac-Geheim"}') > 0 AS created;
SELECT create_alert_target('plain', 'webhook', '{http://127.0.0.1:1/}', '{"user": "u"}', '{"password": "pass-Geheim"}') > 0 AS created;
SELECT alter_alert_target('plain', options => '{"timeout": "3s", "parallel": 2}', enabled => false);
SELECT alter_alert_target('plain', options => '{"parallel": null}');
-- What goes together is changed together.
SELECT alter_alert_target('plain', options => '{"user": "u"}', secrets => '{"password": "geheim"}', urls => '{https://h/x}');
SELECT alter_alert_target('plain', options => '{"user": null}');
SELECT set_alert_secrets('plain', '{"token": "geheim"}');
SELECT alter_alert_target('plain', options => '{"user": null}', secrets => '{"token": "geheim"}');
SELECT alert_secrets('plain'), options FROM alert_targets WHERE name = 'plain';
SELECT alter_alert_target('plain', secrets => '{}', urls => '{http://h/x}');
SELECT alert_secrets('plain');
SELECT alter_alert_target('plain', options => '{"parallel": 99}');
SELECT alter_alert_target('plain', urls => '{ftp://h}');
SELECT alter_alert_target('slack', enabled => false);
SELECT name, kind, url, options, enabled, state, queued FROM alert_targets WHERE owner = 'mdb_pager'::regrole ORDER BY name, url;
SELECT alert_secrets('slack');
SELECT set_alert_secrets('slack', NULL);
SELECT set_alert_secrets('slack', '{"url": "https://127.0.0.2:1/other-Geheim"}');
SELECT url, alert_secrets('slack') FROM alert_targets WHERE name = 'slack';
SELECT alert_secrets('am') IS NULL AS none;
SELECT url, ok, answer ~ 'connect' AS told FROM test_alert_target('am') ORDER BY url;
SELECT resume_alert_targets();

-- Others see nothing of it and change nothing; who looks after the server sees how they do.
RESET ROLE;
GRANT EXECUTE ON FUNCTION alter_alert_target, set_alert_secrets TO mdb_other;
SET ROLE mdb_other;
SELECT count(*) FROM alert_targets;
SELECT alert_secrets('slack');
SELECT set_alert_secrets('slack', NULL);
SELECT alter_alert_target('am', urls => '{http://127.0.0.1:9/}');
SELECT drop_alert_target('am');
SELECT test_alert_target('am');
SELECT drop_alert_target('nothing');
RESET ROLE;
GRANT pg_monitor TO mdb_other;
SET ROLE mdb_other;
SELECT count(*) >= 4 FROM alert_targets;
SELECT alert_secrets('slack');
RESET ROLE;

-- One that rules tell something stays.
INSERT INTO alert_rule (name, owner, kind, definition, every, targets)
	SELECT 'r', 'mdb_pager', 'query', '{}', '1 min', ARRAY[target_id] FROM alert_target WHERE name = 'am';
SELECT drop_alert_target('am');
DELETE FROM alert_rule WHERE name = 'r';
-- What was still to be told goes with it.
INSERT INTO alert_outbox SELECT target_id, 1, '\x01', 'r', 'mdb_pager', 'firing', '{}', '{}', 1, now(), NULL, '1 min', 1, now() FROM alert_target WHERE name = 'am';
SELECT name, url, queued FROM alert_targets WHERE name = 'am' ORDER BY url;
SET ROLE mdb_pager;
SELECT drop_alert_target(name) FROM (SELECT DISTINCT name FROM alert_targets) t;
RESET ROLE;
SELECT (SELECT count(*) FROM alert_target), (SELECT count(*) FROM alert_secret), (SELECT count(*) FROM alert_outbox), (SELECT count(*) FROM alert_receiver);
REVOKE ALL ON FUNCTION create_alert_target, alter_alert_target, set_alert_secrets FROM mdb_pager, mdb_other;
DROP ROLE mdb_pager, mdb_other;
