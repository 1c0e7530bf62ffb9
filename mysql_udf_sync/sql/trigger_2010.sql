-- The form of 2010: the whole row, as JSON, URL-encoded, by http_post. Kept for installations that have it; its
-- weaknesses are in README.md. New installations use the outbox.
--
-- For a table sns_feed with an integer key feedid. Needs http_post and urlencode, and `allow = 127.0.0.1:3888` in the
-- configuration file. JSON_OBJECT is the server's own; on a server without it, register json_object and write
--     json_object(feedid AS pkey, uid, username, title, dateline)
--
-- In JSON_OBJECT write TO_BASE64(c) for binary columns, c + 0 for BIT, YEAR and ZEROFILL columns, c + 0e0 for FLOAT,
-- CONVERT(c USING utf8mb4) for text of another character set, and CAST(c AS CHAR) for DATETIME(n), TIME and DECIMAL.

DELIMITER //

CREATE TRIGGER sns_feed_insert AFTER INSERT ON sns_feed FOR EACH ROW
BEGIN
    SET @tcsql_result_json = (
        SELECT JSON_OBJECT('pkey', feedid, 'uid', uid, 'username', username, 'title', title, 'dateline', dateline)
        FROM sns_feed WHERE feedid = NEW.feedid LIMIT 1);
    SET @tcsql_result_eval = (SELECT http_post('127.0.0.1', '3888', 'command=insert&table=sns_feed',
                                               urlencode(@tcsql_result_json)));
END//

-- an insert replaces the row; when the key has changed, the row of the old key goes
CREATE TRIGGER sns_feed_update AFTER UPDATE ON sns_feed FOR EACH ROW
BEGIN
    SET @tcsql_result_json = (
        SELECT JSON_OBJECT('pkey', feedid, 'uid', uid, 'username', username, 'title', title, 'dateline', dateline)
        FROM sns_feed WHERE feedid = NEW.feedid LIMIT 1);
    SET @tcsql_result_eval = (SELECT http_post('127.0.0.1', '3888', 'command=insert&table=sns_feed',
                                               urlencode(@tcsql_result_json)));
    IF NEW.feedid <> OLD.feedid THEN
        SET @tcsql_result_eval = (SELECT http_post('127.0.0.1', '3888',
            CONCAT('command=delete&table=sns_feed&where=pkey:NUMEQ:', OLD.feedid)));
    END IF;
END//

CREATE TRIGGER sns_feed_delete AFTER DELETE ON sns_feed FOR EACH ROW
    SET @tcsql_result_eval = (SELECT http_post('127.0.0.1', '3888',
        CONCAT('command=delete&table=sns_feed&where=pkey:NUMEQ:', OLD.feedid)))//

DELIMITER ;
