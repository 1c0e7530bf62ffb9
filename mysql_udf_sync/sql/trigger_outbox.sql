-- The outbox: the key is noted in a table, in the writer's own transaction; TCSQL reads that table. Nothing is lost and
-- nothing that was rolled back is seen. The bell only makes it quicker, and may be left out.
--
-- For a table posts with an integer key id. `tcsql mysql setup` writes these triggers for tables with any key: the text
-- of other keys follows exact rules. Needs tcsql_doorbell (if you ring), CREATE, and TRIGGER and INSERT for the account
-- that makes the triggers; writers need no right on the outbox.

CREATE TABLE tcsql_outbox (
    seq BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tab VARCHAR(64) NOT NULL,
    op CHAR(1) NOT NULL,
    pk VARCHAR(6200) NOT NULL
) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin COMMENT='keys of changed rows, for TCSQL';

DELIMITER //

CREATE TRIGGER tcsql_posts_ins AFTER INSERT ON posts FOR EACH ROW
BEGIN
    INSERT INTO tcsql_outbox (tab, op, pk) VALUES ('posts', 'I', CAST(NEW.id AS CHAR));
    DO tcsql_doorbell();
END//

CREATE TRIGGER tcsql_posts_upd AFTER UPDATE ON posts FOR EACH ROW
BEGIN
    INSERT INTO tcsql_outbox (tab, op, pk) VALUES ('posts', 'U', CAST(NEW.id AS CHAR));
    IF NEW.id <> OLD.id THEN
        INSERT INTO tcsql_outbox (tab, op, pk) VALUES ('posts', 'U', CAST(OLD.id AS CHAR));
    END IF;
    DO tcsql_doorbell();
END//

CREATE TRIGGER tcsql_posts_del AFTER DELETE ON posts FOR EACH ROW
BEGIN
    INSERT INTO tcsql_outbox (tab, op, pk) VALUES ('posts', 'D', CAST(OLD.id AS CHAR));
    DO tcsql_doorbell();
END//

DELIMITER ;
