-- Jobs in the order in which they came. Bodies and results are apart, so that a change of state touches little.
CREATE TABLE jobs (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    digest BLOB NOT NULL,
    rows INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    version INTEGER,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    not_before REAL,
    deadline REAL,
    ttl_s REAL NOT NULL,
    expires REAL,
    error TEXT
);
CREATE INDEX waiting ON jobs (priority DESC, place) WHERE state = 0;
CREATE INDEX running ON jobs (place) WHERE state = 1;
CREATE INDEX dated ON jobs (deadline) WHERE state = 0 AND deadline IS NOT NULL;
CREATE INDEX expiring ON jobs (expires) WHERE expires IS NOT NULL;
CREATE TABLE bodies (place INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE results (place INTEGER PRIMARY KEY, body BLOB NOT NULL);
PRAGMA user_version = 1;
