-- Templates of labels and annotations: what Go and Prometheus print for the same.  Numbers and printf were compared with Go 1.19.
SET search_path = metricsdb, public;
CREATE FUNCTION t(text, float8 DEFAULT 1.5) RETURNS text LANGUAGE sql AS
	$$SELECT metricsdb.expand_template($1, '{"host": "web1.example.com:9100", "n": "5", "empty": ""}', $2)$$;
\pset format unaligned
SELECT t('{{ $labels.host }} is at {{ $value }}, {{ .Labels.host }} {{ .Value }} {{ $labels.none }}|{{$value}}|{{ $.Labels.n }}');
SELECT v, t('{{ $value }} | {{ humanize $value }} | {{ $value | humanize1024 }} | {{ humanizeDuration $value }} | {{ humanizePercentage $value }} | {{ humanizeTimestamp $value }}', v)
	FROM unnest('{0,1,1e6,1234567,123456789,1e21,0.0001,0.00001,0.1,100,12.5,-3.25,1e-10,1435065584.128,90061,3661,-65,59.5,NaN,Infinity,-Infinity,999.9999,1048576}'::float8[]) v;
SELECT v, t('{{ printf "%.2f|%8.3f|%e|%g|%v|%d|%s|%-8.1f|%+.1f|%08.2f" $value $value $value $value $value $value $value $value $value $value }}', v)
	FROM unnest('{0,1,1e6,0.00001,-3.25,NaN,Infinity}'::float8[]) v;
SELECT t('{{ printf "%s %d %v %q %.3s" 1.5 2.5 "a" "b\"c" "abcdef" }}|{{ printf "%d" 5 }}|{{ printf "%s" }}|{{ printf "a" 1 "b" }}|{{ print 1 2 "a" 3 "b" "c"}}|{{ and 1 0 }}|{{ len "abc" }}|{{ urlquery "a b&c/ä~-_." }}|{{ printf "%5.1f%%" 3.0 }}|{{ printf "%!" }}|{{"a" | printf "%s-%s" "x"}}|{{ printf "%t %v" true false }}|{{ printf "%6d|%-6d|%06d" 42 42 42 }}');
SELECT t('a {{- if gt $value 1.0 }} big {{ else if eq $labels.host "x" }} x {{ else }} small {{ end -}}  b', v) FROM unnest('{2,1,NaN}'::float8[]) v;
SELECT t('{{ with $labels.host -}} on {{ . | stripPort | toUpper }}{{- end }}{{ with $labels.empty }}never{{ else }} none{{ end }} {{ stripDomain $labels.host }} {{ index $labels "host" | title }} {{/* c */ -}}   .');
SELECT t('{{ if and (eq $labels.n "5") (not (lt $value 1.0)) }}{{ if or $labels.empty $labels.n }}both{{ end }}{{ end }} {{ (printf "%s" $labels.n) | humanize }} {{ ne "a" "b" }} {{ le 1 1 }} {{ ge 1 2 }} {{ eq 1 2 3 1 }}');
SELECT expand_template('{{ $value }} {{ $labels.a }}'), expand_template(NULL), expand_template('no braces } {');
\pset format aligned

-- What is not known is refused, with its place, in branches that are not taken, too.
SELECT t('{{ $labels.host');
SELECT t('{{ query "up" }}');
SELECT t('{{ if false }}{{ reReplaceAll "a" "b" "c" }}{{ end }}');
SELECT t('{{ range $labels }}{{ end }}');
SELECT t('{{ if $value }}');
SELECT t('{{ if $value }}{{ else }}{{ else }}{{ end }}');
SELECT t('{{ end }}');
SELECT t('{{ else }}');
SELECT t('{{ $x := 1 }}');
SELECT t('{{ "abc }}');
SELECT t('{{ "\x" }}');
SELECT t('{{ $labels.host | 5 }}');
SELECT t('{{ $labels.host $value }}');
SELECT t('{{ humanize }}');
SELECT t('{{ humanize 1 2 }}');
SELECT t('{{ }}');
SELECT t('{{ (1 }}');
SELECT t('{{ 1a }}');
SELECT t('{{ .Foo }}');
SELECT t('{{ printf 1 }}');
SELECT t('{{/* ');
SELECT t('{{ $externalLabels.x }}');
\set VERBOSITY sqlstate
SELECT t(repeat('{{ if 1 }}', 100000)) IS NULL;
\set VERBOSITY default
DROP FUNCTION t(text, float8);
