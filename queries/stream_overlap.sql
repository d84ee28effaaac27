-- Events that are in both streams of the sample
-- expected: [514]
SELECT count(*) AS events
FROM (
    SELECT run, event FROM "data09_900GeV.physics_MinBias.TAG"
    INTERSECT
    SELECT run, event FROM "data09_900GeV.physics_Muon.TAG"
)
