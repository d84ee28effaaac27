-- Luminosity blocks that were processed, from the files' own bookkeeping, beside those that have rows
-- expected: ["data09_900GeV.physics_MinBias.TAG", 248, 248]
-- expected: ["data09_900GeV.physics_Muon.TAG", 248, 248]
SELECT b.dataset, b.processed, r.with_rows
FROM (SELECT dataset, sum(json_array_length(record, '$.processed'))::BIGINT AS processed FROM bookkeeping GROUP BY dataset) b
JOIN (SELECT dataset, sum(lumi_blocks)::BIGINT AS with_rows FROM runs GROUP BY dataset) r ON r.dataset = b.dataset
ORDER BY b.dataset
