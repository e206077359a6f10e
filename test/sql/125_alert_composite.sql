-- Rules over others are read when they are created: what is no expression is refused, and one that would ask for itself, by
-- whatever way; what there is not (yet) is reported; rules that are not the owner's to see are refused.
CREATE SCHEMA alerting;
SET search_path = alerting, metricsdb;
CREATE ROLE alerting_alice;
CREATE ROLE alerting_bob;
CREATE ROLE alerting_group;
GRANT alerting_group TO alerting_bob;
GRANT EXECUTE ON FUNCTION create_alert TO alerting_alice, alerting_bob, alerting_group;
SELECT create_alert('q', query => 'SELECT 1 AS value') > 0 AS q;

-- no expressions
SELECT create_alert('c', expression => 'q');
SELECT create_alert('c', expression => 'alert(''q''');
SELECT create_alert('c', expression => 'alert(''q'') XOR alert(''q'')');
SELECT create_alert('c', expression => 'alert(''q'', ''{host='')');
SELECT create_alert('c', expression => 'alert(''q'', ''{host=~"("}'')');
SELECT create_alert('c', expression => 'alert(''q'', ''{}'', ''burning'')');
SELECT create_alert('c', expression => 'alert(''q'') AND on () NOT');
SELECT create_alert('c', expression => 'alert(''q'') ' || repeat('ü', 30));
SELECT create_alert('c', expression => repeat('NOT ', 1000000) || 'alert(''q'')');
SELECT count(*) FROM alert_rules WHERE rule = 'c';

-- what there is not
SELECT create_alert('c', expression => 'alert(''q'') OR alert(''later'', ''{host="a"}'', ''pending'') UNLESS on (host) alert(''never'')') > 0 AS c;
SELECT create_alert('later', query => 'SELECT 1 AS value') > 0 AS later;
SELECT alter_alert('c', every => '5 s');

-- circles
SELECT create_alert('self', expression => 'alert(''self'')');
SELECT create_alert('self', expression => 'alert(''q'') AND NOT alert(''self'')');
SELECT alter_alert('c', expression => 'alert(''q'') OR alert(''c'')');
SELECT create_alert('d', expression => 'alert(''c'') AND alert(''q'')') > 0 AS d;
SELECT create_alert('e', expression => 'NOT (alert(''q'') OR alert(''d''))') > 0 AS e;
SELECT alter_alert('c', expression => 'alert(''q'') AND NOT alert(''e'')');
-- one that is closed by a name
SELECT alter_alert('c', expression => 'alert(''q'') AND NOT alert(''closing'')');
SELECT alter_alert('e', new_name => 'closing');
SELECT alter_alert('e', new_name => 'f');
-- none: two ways to one rule, and a rule that is taken out of its own way
SELECT create_alert('g', expression => 'alert(''d'') OR alert(''f'') OR alert(''c'')') > 0 AS g;
SELECT alter_alert('d', expression => 'alert(''q'')');
SELECT alter_alert('c', expression => 'alert(''f'')');

-- whose
SET ROLE alerting_alice;
SELECT create_alert('hers', expression => 'alert(''q'')');
SELECT create_alert('hers', query => 'SELECT 1 AS value') > 0 AS hers;
SELECT create_alert('own', expression => 'NOT alert(''hers'')') > 0 AS own;
RESET ROLE;
SELECT alter_alert('own', new_owner => 'alerting_bob');
SET ROLE alerting_group;
SELECT create_alert('shared', query => 'SELECT 1 AS value') > 0 AS shared;
SET ROLE alerting_bob;
SELECT create_alert('his', expression => 'alert(''shared'')') > 0 AS his;
RESET ROLE;

SELECT drop_alert(rule) FROM alert_rules;
DROP SCHEMA alerting CASCADE;
REVOKE EXECUTE ON FUNCTION create_alert FROM alerting_alice, alerting_bob, alerting_group;
DROP ROLE alerting_alice, alerting_bob, alerting_group;
