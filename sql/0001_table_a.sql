-- Owner: service A (src/services/user.ts). One row a user.
CREATE TABLE table_a (
  id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  username text NOT NULL,
  saga_id  text NOT NULL UNIQUE
);
