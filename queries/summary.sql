-- What there is of every type and year: datasets, rows, files
-- expected: ["TAG", 2009, 2, 22523, 3]
SELECT type, year, count(*) AS datasets, sum(events)::BIGINT AS "rows", sum(files)::BIGINT AS files
FROM datasets
GROUP BY type, year
ORDER BY type, year
