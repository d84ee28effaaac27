-- From version 4 to 5: what members of a group ask of another's job, and what became of it.

CREATE TABLE requests (job VARCHAR, seq BIGINT, verb VARCHAR, options VARCHAR, who VARCHAR, updated VARCHAR);
CREATE TABLE answers (job VARCHAR, seq BIGINT, state VARCHAR, note VARCHAR, who VARCHAR, updated VARCHAR);
