-- version: 6
-- The tables of version 6 of the view, as they were when the records began to make them. Never edited: a change of a
-- record makes another version.

CREATE TABLE view_state (version BIGINT, seq BIGINT, bytes BIGINT, chain VARCHAR, origin VARCHAR);
INSERT INTO view_state VALUES (6, 0, 0, '', '');

CREATE TABLE datasets (name VARCHAR, type VARCHAR, version VARCHAR, stream VARCHAR, year BIGINT, run_min BIGINT,
    run_max BIGINT, events BIGINT, files BIGINT, bytes BIGINT, snapshot BIGINT, simulation BOOLEAN, sample VARCHAR,
    state VARCHAR, cut VARCHAR, lumi VARCHAR, seq BIGINT, updated VARCHAR, who VARCHAR);
CREATE TABLE meta (dataset VARCHAR, "key" VARCHAR, kind VARCHAR, "value" VARCHAR);
CREATE TABLE parents (dataset VARCHAR, "position" BIGINT, parent VARCHAR, snapshot BIGINT);
CREATE TABLE members (dataset VARCHAR, "position" BIGINT, member VARCHAR);
CREATE TABLE catalogs (name VARCHAR, kind VARCHAR, settings VARCHAR, patterns VARCHAR, synced VARCHAR);
CREATE TABLE rules (dataset VARCHAR, site VARCHAR, state VARCHAR, done BIGINT, files BIGINT, tries BIGINT,
    error VARCHAR, why VARCHAR);
CREATE TABLE subscriptions (pattern VARCHAR, site VARCHAR);
CREATE TABLE conditions (run BIGINT, "key" VARCHAR, kind VARCHAR, "value" VARCHAR);
CREATE TABLE site_tests (site VARCHAR, tested VARCHAR, good BOOLEAN, seconds DOUBLE, error VARCHAR);
CREATE TABLE links (source VARCHAR, target VARCHAR, rate DOUBLE);
CREATE TABLE downtimes (site VARCHAR, begins VARCHAR, ends VARCHAR, reason VARCHAR);
CREATE TABLE sites (name VARCHAR, prefix VARCHAR, meta VARCHAR);
CREATE TABLE jobs (job VARCHAR, dataset VARCHAR, state VARCHAR, pieces BIGINT, done BIGINT, failed BIGINT,
    events BIGINT, output VARCHAR, folder VARCHAR, note VARCHAR, seq BIGINT, updated VARCHAR, who VARCHAR);
CREATE TABLE requests (job VARCHAR, seq BIGINT, verb VARCHAR, options VARCHAR, who VARCHAR, updated VARCHAR);
CREATE TABLE answers (job VARCHAR, seq BIGINT, state VARCHAR, note VARCHAR, who VARCHAR, updated VARCHAR);
CREATE TABLE pins (dataset VARCHAR, snapshot BIGINT, reason VARCHAR, updated VARCHAR, who VARCHAR);
CREATE TABLE files (dataset VARCHAR, kind VARCHAR, guid VARCHAR, lfn VARCHAR, pfn VARCHAR, entries BIGINT,
    bytes BIGINT, uuid VARCHAR, simulation BOOLEAN, checksum VARCHAR);
CREATE TABLE replicas (guid VARCHAR, site VARCHAR, pfn VARCHAR);
CREATE TABLE bookkeeping (dataset VARCHAR, guid VARCHAR, record VARCHAR);
CREATE TABLE runs (dataset VARCHAR, run BIGINT, lumi_blocks BIGINT, events BIGINT);
CREATE TABLE retractions (dataset VARCHAR, snapshot BIGINT, guid VARCHAR, lfn VARCHAR, events BIGINT, reason VARCHAR,
    retracted VARCHAR, who VARCHAR, record VARCHAR, back BIGINT);
CREATE TABLE queries (seq BIGINT, part BIGINT, verb VARCHAR, dataset VARCHAR, snapshot BIGINT, "text" VARCHAR,
    "read" BIGINT, accepted BIGINT, digest VARCHAR, seconds DOUBLE, updated VARCHAR, who VARCHAR);

-- Where a dataset's files are: per kind and site, how many of how many. Complete where the two are equal.
CREATE VIEW locations AS
    SELECT f.dataset, f.kind, r.site, count(DISTINCT f.guid) AS files, any_value(t.of_files) AS of_files
    FROM files f
    JOIN replicas r ON r.guid = f.guid
    JOIN (SELECT dataset, kind, count(*) AS of_files FROM files GROUP BY ALL) t
        ON t.dataset = f.dataset AND t.kind = f.kind
    GROUP BY f.dataset, f.kind, r.site;
