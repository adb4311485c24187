-- Beside which programs each version of the schema may be served: those that know this version or a
-- newer one. A program that does not know a version asks here whether it may serve nevertheless.
CREATE TABLE schema_beside (
    version     INTEGER NOT NULL PRIMARY KEY,
    served_from INTEGER NOT NULL
) STRICT;
