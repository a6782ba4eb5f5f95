-- Owner: service A (src/services/user.ts), in a database of its own. One row a user.
CREATE TABLE table_a (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  username text NOT NULL,
  saga_id  text NOT NULL UNIQUE
);
