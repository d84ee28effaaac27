-- From version 2 to 3: containers, other catalogs, wished copies, downtimes, retracted files, checksums.

CREATE TABLE members (dataset VARCHAR, "position" BIGINT, member VARCHAR);
CREATE TABLE catalogs (name VARCHAR, kind VARCHAR, settings VARCHAR, patterns VARCHAR, synced VARCHAR);
CREATE TABLE rules (dataset VARCHAR, site VARCHAR, state VARCHAR, done BIGINT, files BIGINT, tries BIGINT,
    error VARCHAR, why VARCHAR);
CREATE TABLE subscriptions (pattern VARCHAR, site VARCHAR);
CREATE TABLE conditions (run BIGINT, "key" VARCHAR, kind VARCHAR, "value" VARCHAR);
CREATE TABLE site_tests (site VARCHAR, tested VARCHAR, good BOOLEAN, seconds DOUBLE, error VARCHAR);
CREATE TABLE links (source VARCHAR, target VARCHAR, rate DOUBLE);
CREATE TABLE downtimes (site VARCHAR, begins VARCHAR, ends VARCHAR, reason VARCHAR);
ALTER TABLE files ADD COLUMN checksum VARCHAR DEFAULT '';
CREATE TABLE retractions (dataset VARCHAR, snapshot BIGINT, guid VARCHAR, lfn VARCHAR, events BIGINT, reason VARCHAR,
    retracted VARCHAR, who VARCHAR, record VARCHAR, back BIGINT);
