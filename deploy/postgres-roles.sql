-- The database's two roles, made once by a superuser, in the database that Expunge will use:
--   EXPUNGE_OWNER_PASSWORD=... EXPUNGE_SERVICE_PASSWORD=... psql --dbname expunge --file postgres-roles.sql
-- `expunge_owner` owns the tables and runs `expunge db upgrade`. `expunge` is for API, relay and
-- workers: it reads and writes rows, changes no table, and row-level security holds it.
\set ON_ERROR_STOP on
\getenv owner_password EXPUNGE_OWNER_PASSWORD
\getenv service_password EXPUNGE_SERVICE_PASSWORD

CREATE ROLE expunge_owner LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'owner_password';
CREATE ROLE expunge LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'service_password';

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO expunge_owner;
GRANT USAGE ON SCHEMA public TO expunge;

ALTER DEFAULT PRIVILEGES FOR ROLE expunge_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO expunge;
ALTER DEFAULT PRIVILEGES FOR ROLE expunge_owner IN SCHEMA public
  GRANT USAGE, SELECT ON SEQUENCES TO expunge;
