-- Hints: the table and the key of a row that is about to change. TCSQL reads the row again, so that a hint that is
-- wrong, doubled or about a change that was rolled back does no harm.
--
-- For a table posts with an integer key id. `tcsql mysql setup` writes these triggers for tables with any key: the text
-- of other keys follows exact rules. Needs tcsql_push, and TRIGGER on the table.

DELIMITER //

CREATE TRIGGER tcsql_posts_ins AFTER INSERT ON posts FOR EACH ROW
    DO tcsql_push('posts', 'I', NEW.id)//

-- an update that changes the key: both rows, in one message
CREATE TRIGGER tcsql_posts_upd AFTER UPDATE ON posts FOR EACH ROW
    DO tcsql_push('posts', 'U', NEW.id, IF(NEW.id <> OLD.id, OLD.id, NULL))//

CREATE TRIGGER tcsql_posts_del AFTER DELETE ON posts FOR EACH ROW
    DO tcsql_push('posts', 'D', OLD.id)//

DELIMITER ;
