-- Where a dataset's files are: per kind and site, how many of how many. Complete where the two are equal.
CREATE VIEW locations AS
    SELECT f.dataset, f.kind, r.site, count(DISTINCT f.guid) AS files, any_value(t.of_files) AS of_files
    FROM files f
    JOIN replicas r ON r.guid = f.guid
    JOIN (SELECT dataset, kind, count(*) AS of_files FROM files GROUP BY ALL) t
        ON t.dataset = f.dataset AND t.kind = f.kind
    GROUP BY f.dataset, f.kind, r.site;
