-- Rows and luminosity blocks of every run, all datasets together
-- expected: [140541, 2, 2085, 24]
-- expected: [141749, 2, 3535, 40]
-- expected: [141811, 2, 5933, 64]
-- expected: [142154, 2, 4377, 48]
-- expected: [142165, 2, 1530, 16]
-- expected: [142193, 2, 5063, 56]
SELECT run, count(*) AS datasets, sum(events)::BIGINT AS "rows", max(lumi_blocks) AS lumi_blocks
FROM runs
GROUP BY run
ORDER BY run
