-- Whom a job's end is told to, and how far that has come. Made where callbacks are allowed first: other stores carry none
-- of it. The triggers make the event a part of the very statement that ends the job, whichever that is.
CREATE TABLE IF NOT EXISTS callbacks (
    place INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    -- 0 its job has not ended, 1 pending, 2 delivered, 3 dead.
    state INTEGER NOT NULL DEFAULT 0,
    event TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    due REAL,
    settled REAL,
    error TEXT
);
CREATE INDEX IF NOT EXISTS callbacks_due ON callbacks (host, due) WHERE state = 1;
-- The job is not forgotten before its event is settled, so the time of that is open.
CREATE TRIGGER IF NOT EXISTS callback_of_end AFTER UPDATE OF state ON jobs
WHEN NEW.state > 1 AND OLD.state <= 1 AND EXISTS (SELECT 1 FROM callbacks WHERE place = NEW.place)
BEGIN
    UPDATE callbacks SET state = 1, event = 'msg_' || lower(hex(randomblob(16))), attempts = 0, due = NEW.finished,
        settled = NULL, error = NULL WHERE place = NEW.place;
    UPDATE jobs SET expires = NULL WHERE place = NEW.place;
END;
CREATE TRIGGER IF NOT EXISTS callback_of_retry AFTER UPDATE OF state ON jobs
WHEN NEW.state <= 1 AND OLD.state > 1
BEGIN
    UPDATE callbacks SET state = 0, event = NULL, attempts = 0, due = NULL, settled = NULL, error = NULL
        WHERE place = NEW.place;
END;
CREATE TRIGGER IF NOT EXISTS callback_forgotten AFTER DELETE ON jobs
BEGIN
    DELETE FROM callbacks WHERE place = OLD.place;
END;
-- What ended while this server called nobody back is told now.
UPDATE callbacks SET state = 1, event = 'msg_' || lower(hex(randomblob(16))), due = 0
    WHERE state = 0 AND place IN (SELECT place FROM jobs WHERE state > 1);
UPDATE jobs SET expires = NULL WHERE expires IS NOT NULL AND place IN (SELECT place FROM callbacks WHERE state = 1);
