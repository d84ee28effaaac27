-- Files of every dataset by kind, and how many of them have a copy at each site
-- expected: ["data09_900GeV.physics_MinBias.TAG", "AOD", 4, "HOME", 4]
-- expected: ["data09_900GeV.physics_MinBias.TAG", "TAG", 2, null, 0]
-- expected: ["data09_900GeV.physics_Muon.TAG", "AOD", 2, "HOME", 2]
-- expected: ["data09_900GeV.physics_Muon.TAG", "TAG", 1, null, 0]
SELECT f.dataset, f.kind, count(DISTINCT f.guid) AS files, r.site, count(DISTINCT r.guid) AS copies
FROM files f LEFT JOIN replicas r ON r.guid = f.guid
GROUP BY ALL
ORDER BY ALL
