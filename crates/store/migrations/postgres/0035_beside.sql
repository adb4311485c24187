-- Beside which programs each version of the schema may be served: those that know this version or a
-- newer one. A program that does not know a version asks here whether it may serve nevertheless.
CREATE TABLE schema_beside (
    version     BIGINT NOT NULL PRIMARY KEY,
    served_from BIGINT NOT NULL
);
