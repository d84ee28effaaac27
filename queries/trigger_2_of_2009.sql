-- TAG datasets with trigger 2 of 2009, version 1.0.0: the question that the catalog was designed for
-- expected: ["data09_900GeV.physics_Muon.TAG"]
type = 'TAG' and year = 2009 and trigger = 2 and version = '1.0.0'
