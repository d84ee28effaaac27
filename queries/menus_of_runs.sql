-- Trigger menu of every run of the sample's muon stream, and its rows
-- expected: [140541, 2714778887386909798, 420]
-- expected: [141749, 2714778887386909798, 703]
-- expected: [141811, 2714778887386909798, 1182]
-- expected: [142154, 7258888295933932940, 868]
-- expected: [142165, 7258888295933932940, 309]
-- expected: [142193, 7258888295933932940, 1035]
SELECT run, menu, count(*) AS "rows" FROM "data09_900GeV.physics_Muon.TAG" GROUP BY run, menu ORDER BY run
