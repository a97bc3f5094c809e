-- A response log of schema version 2: the rows of response-log-1.sql, one decision explained.
PRAGMA application_id = 1415007303;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    request_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    policy TEXT NOT NULL,
    policy_version INTEGER NOT NULL,
    explored INTEGER NOT NULL,
    floor_tenths INTEGER NOT NULL,
    tier TEXT NOT NULL,
    model TEXT NOT NULL,
    serving_node TEXT NOT NULL,
    fallback_model TEXT NOT NULL,
    deadline_ms REAL NOT NULL,
    predicted_ms REAL,                   -- what the agent expected; NULL in all seven: it did not say why
    predicted_sd_ms REAL,
    runner_up TEXT,                      -- the next best action, as in d0@edge; NULL: there was no other
    runner_up_ms REAL,
    runner_up_sd_ms REAL,
    bounds TEXT,                         -- what held: floor, load, entry, with commas between; '': nothing
    reason TEXT,                         -- best, uncertain, probe, held; NULL: it did not say why
    UNIQUE (request_id, node),           -- in this order: a report asks whose request it was
    UNIQUE (node, time_ns)
);
INSERT INTO "decision" VALUES(1,1700000000000000000,'home','s1','request-s1',41,'q_learning',2,0,850,'end','d7','s1','d4',5000.0,97.25,8.5,'d0@edge',120.0,9.0,'floor','best');
INSERT INTO "decision" VALUES(2,1700000000000000000,'home','s2','request-s2',41,'q_learning',2,0,850,'edge','d0','edge','d4',5000.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE response (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    request_id TEXT NOT NULL,
    round INTEGER,                       -- NULL: the device was never told one
    policy TEXT NOT NULL,                -- 'none': it ran without a decision; 'unknown': that is lost
    policy_version INTEGER,
    explored INTEGER NOT NULL,
    floor_tenths INTEGER,                -- Top-5, tenths of a point
    outcome TEXT NOT NULL,
    tier TEXT NOT NULL,                  -- what was really done, with model and serving_node
    model TEXT NOT NULL,
    serving_node TEXT NOT NULL,
    accuracy_tenths INTEGER,             -- of that model; NULL: not in the manifest
    response_ms REAL NOT NULL,
    decide_ms REAL NOT NULL,
    encode_ms REAL NOT NULL,
    uplink_ms REAL NOT NULL,
    queue_ms REAL NOT NULL,
    compute_ms REAL NOT NULL,
    downlink_ms REAL NOT NULL,
    label TEXT,
    trained INTEGER NOT NULL,
    emulated INTEGER NOT NULL,
    reason TEXT,
    UNIQUE (node, request_id),
    UNIQUE (node, time_ns)
);
INSERT INTO "response" VALUES(1,1700000000000000000,'home','s1','request-s1',41,'q_learning',2,0,850,'done','end','d7','s1',728,100.5,1.5,0.0,0.0,0.0,0.0,0.0,'tabby',1,0,NULL);
INSERT INTO "response" VALUES(2,1700000000000000000,'home','s2','request-s2',41,'q_learning',2,0,850,'done','edge','d0','edge',899,201.0,1.5,0.0,0.0,0.0,0.0,0.0,'tabby',1,0,NULL);
CREATE TABLE telemetry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    tier TEXT,                           -- NULL: heard before its birth
    seq INTEGER NOT NULL,
    cpu_percent REAL NOT NULL,
    memory_percent REAL NOT NULL,
    link TEXT NOT NULL,
    rtt_ms REAL,
    uplink_mbit_s REAL,
    queue_length INTEGER NOT NULL,
    overruns INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    emulated INTEGER NOT NULL,
    UNIQUE (node, time_ns)
);
INSERT INTO "telemetry" VALUES(1,1700000000000000000,'home','s1','end',1,5.0,20.0,'regular',NULL,NULL,0,0,0,0);
INSERT INTO "telemetry" VALUES(2,1700000000000000000,'home','s2','end',2,5.0,20.0,'regular',NULL,NULL,0,0,0,0);
CREATE INDEX decision_round ON decision (round);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('response',2);
INSERT INTO "sqlite_sequence" VALUES('decision',2);
INSERT INTO "sqlite_sequence" VALUES('telemetry',2);
COMMIT;
