-- Takes the functions away. Drop the triggers that call them FIRST: a trigger that calls a function which is not there
-- makes every write on its table fail. This finds them:
--     SELECT trigger_schema, trigger_name FROM information_schema.triggers
--     WHERE action_statement REGEXP 'tcsql_|http_post|urlencode';
-- The code stays in the server's memory until it restarts; the file may be removed at any time.
DROP FUNCTION IF EXISTS tcsql_push;
DROP FUNCTION IF EXISTS tcsql_doorbell;
DROP FUNCTION IF EXISTS tcsql_udf_info;
DROP FUNCTION IF EXISTS http_post;
DROP FUNCTION IF EXISTS urlencode;
DROP FUNCTION IF EXISTS tcsql_json_object;
-- only where it was registered (elsewhere this is an error, since the name is the server's own):
-- DROP FUNCTION IF EXISTS json_object;
