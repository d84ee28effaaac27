-- From version 2 to 3: the files that were taken out of datasets.

CREATE TABLE retractions (dataset VARCHAR, snapshot BIGINT, guid VARCHAR, lfn VARCHAR, events BIGINT, reason VARCHAR,
    retracted VARCHAR, who VARCHAR, record VARCHAR, back BIGINT);
