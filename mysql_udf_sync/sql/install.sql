-- Registers the functions. By an account that may INSERT on mysql.* (root), after `make install`:
--     mariadb < sql/install.sql
-- Register only what your triggers call: every SQL user may call every registered function.

-- hints to TCSQL, and the bell that wakes it
CREATE FUNCTION tcsql_push     RETURNS INTEGER SONAME 'tcsql_udf_1.0.so';
CREATE FUNCTION tcsql_doorbell RETURNS INTEGER SONAME 'tcsql_udf_1.0.so';
-- how that goes: SELECT tcsql_udf_info()
CREATE FUNCTION tcsql_udf_info RETURNS STRING  SONAME 'tcsql_udf_1.0.so';

-- for triggers of 2010 (trigger_2010.sql): take the dashes away
-- CREATE FUNCTION http_post         RETURNS INTEGER SONAME 'tcsql_udf_1.0.so';
-- CREATE FUNCTION urlencode         RETURNS STRING  SONAME 'tcsql_udf_1.0.so';
-- only on servers without JSON_OBJECT (MySQL before 5.7.8, MariaDB before 10.2.3):
-- CREATE FUNCTION json_object       RETURNS STRING  SONAME 'tcsql_udf_1.0.so';
-- the same function under a name that is free everywhere:
-- CREATE FUNCTION tcsql_json_object RETURNS STRING  SONAME 'tcsql_udf_1.0.so';
