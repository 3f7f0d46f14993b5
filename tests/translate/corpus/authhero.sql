-- AuthHero: npm authhero 9.6.1 (server) + @authhero/kysely-adapter 12.4.2 (built from git a1cf489b; not on the npm registry) + kysely 0.29.9 PostgresDialect + pg 8.23.1. DDL phase created through shim.mjs (tinyint(1)->smallint, sqlite probe answered, DELETE..LIMIT trimmed); everything after marker seed is unmodified application traffic
-- Captured between client and PostgreSQL 15.18: all messages, deduplicated (literals, IN-list length, savepoint names normalised; first exemplar kept).
-- Distinct statements: DDL=168, DML=182, READ=112, TX=3; executions=1782
-- Protocol: {"B:1": 1555, "B:2": 1555, "B:C": 1776, "B:E": 6, "B:R": 5, "B:T": 869, "B:Z": 1787, "B:n": 691, "Describe P": 1558, "F:B": 1558, "F:D": 1558, "F:E": 1558, "F:EOF": 5, "F:P": 1558, "F:Q": 224, "F:S": 1558, "F:Startup": 5, "F:X": 5, "Parse unnamed": 1558}
-- Startup parameters: [["3.0", {"client_encoding": "UTF8"}]]
-- Result column types: {"varchar": 10736, "text": 3357, "int4": 1635, "int2": 1088, "int8": 296, "name": 10, "bool": 5, "18": 2, "2278": 1, "date": 1} result formats(0=text,1=binary): {"0": 17131}
-- Parameter types (ParameterDescription): {}
-- SQL features (distinct/executions/distinct-in-DML): WITH (CTE) 1/1/0, DELETE/UPDATE..LIMIT (MySQL-ism) 2/2/2, regex ~ 1/2/0, || concat 1/2/0, nextval/setval/currval 1/2/0, advisory lock 2/2/0, set_config/current_setting 1/1/0, pg_catalog/information_schema 1/2/0, version()/server funcs 1/2/0, GROUP BY 1/1/0, JOIN 16/115/0, subquery IN/EXISTS 1/2/1, COALESCE 1/1/0, CASE WHEN 1/1/0, quoted mixed-case ident 16/82/10, LIMIT/OFFSET 45/240/2, ON DELETE CASCADE (FK) 33/33/0, LIKE 1/1/0, relative update (col = f(col)) 1/1/1, SELECT with side effects (setval/lastval/nextval/advisory) 2/2/0
-- Server errors seen: [["42601", "syntax error at or near \"limit\"", 2], ["42803", "column \"users.created_at\" must appear in the GROUP BY clause or be used in an aggregate function", 1], ["23505", "duplicate key value violates unique constraint \"universal_login_templates_pk\"", 1], ["23505", "duplicate key value violates unique constraint \"branding_pk\"", 1], ["42703", "column \"version_comment\" does not exist", 1]]
-- Per statement:  -- [kind proto xEXECUTIONS first-phase] declared param oids, example params, tags, errors

-- ==== phase: 

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["r", "v", "p", "f", "^pg_", "information_schema", "crdb_internal", "0", "true"]
select "a"."attname" as "column", "a"."attnotnull" as "not_null", "a"."atthasdef" as "has_default", "c"."relname" as "table", "c"."relkind" as "table_type", "ns"."nspname" as "schema", "typ"."typname" as "type", "dtns"."nspname" as "type_schema", col_description(a.attrelid, a.attnum) as "column_description", pg_get_serial_sequence(quote_ident(ns.nspname) || '.' || quote_ident(c.relname), a.attname) as "auto_incrementing" from "pg_catalog"."pg_attribute" as "a" inner join "pg_catalog"."pg_class" as "c" on "a"."attrelid" = "c"."oid" inner join "pg_catalog"."pg_namespace" as "ns" on "c"."relnamespace" = "ns"."oid" inner join "pg_catalog"."pg_type" as "typ" on "a"."atttypid" = "typ"."oid" inner join "pg_catalog"."pg_namespace" as "dtns" on "typ"."typnamespace" = "dtns"."oid" where "c"."relkind" in ($1, $2, $3, $4) and "ns"."nspname" !~ $5 and "ns"."nspname" != $6 and "ns"."nspname" != $7 and has_schema_privilege(ns.nspname, 'USAGE') and "a"."attnum" >= $8 and "a"."attisdropped" != $9 order by "ns"."nspname", "c"."relname", "a"."attnum";

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table if not exists "kysely_migration" ("name" varchar(255) not null primary key, "timestamp" varchar(255) not null);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table if not exists "kysely_migration_lock" ("id" varchar(255) not null primary key, "is_locked" integer default 0 not null);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["migration_lock"]
select "id" from "kysely_migration_lock" where "id" = $1;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["migration_lock", "0"]
insert into "kysely_migration_lock" ("id", "is_locked") values ($1, $2);

-- [READ simple x1] tags={"SELECT n": 1}
with set_timeout as (
      select set_config('lock_timeout', '3600000', true) as config_val
    )
    select pg_advisory_lock(3853314791062309107)
    from set_timeout;

-- [TX simple x25] tags={"BEGIN": 25}
begin;

-- [READ simple x1] tags={"SELECT n": 1}
select "name", "timestamp" from "kysely_migration";

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "tenants" ("id" varchar(255) not null, "audience" varchar(255), "sender_email" varchar(255), "sender_name" varchar(255), "created_at" varchar(255) not null, "updated_at" varchar(255) not null, "support_url" varchar(255), "idle_session_lifetime" int, "session_lifetime" int, "session_cookie" text, "allowed_logout_urls" text, "ephemeral_session_lifetime" int, "idle_ephemeral_session_lifetime" int, "default_redirection_uri" text, "enabled_locales" text, "default_directory" varchar(255), "error_page" text, "flags" text, "friendly_name" varchar(255), "picture_url" text, "support_email" varchar(255), "sandbox_version" varchar(50), "sandbox_versions_available" text, "legacy_sandbox_version" varchar(50), "change_password" text, "guardian_mfa_page" text, "device_flow" text, "default_token_quota" text, "default_audience" varchar(255), "default_organization" varchar(255), "sessions" text, "oidc_logout" text, "allow_organization_name_in_authentication_api" int, "customize_mfa_in_postlogin_action" int, "acr_values_supported" text, "mtls" text, "pushed_authorization_requests_supported" int, "authorization_response_iss_parameter_supported" int, "mfa" text, "attack_protection" text, "default_client_id" varchar(255), "deployment_type" varchar(16) default 'shared' not null, "provisioning_state" varchar(16) default 'ready' not null, "provisioning_error" varchar(2048), "provisioning_state_changed_at" varchar(35), "bundle_configuration" varchar(64), "worker_version" varchar(64), "worker_script_name" varchar(255), "storage_kind" varchar(32), "d1_database_id" varchar(64), "database_version" varchar(64), constraint "tenants_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "action_executions" ("id" varchar(255) not null, "tenant_id" varchar(191) not null, "trigger_id" varchar(64) not null, "status" varchar(32) not null, "results" text not null, "logs" text, "created_at_ts" bigint not null, "updated_at_ts" bigint not null, constraint "action_executions_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "action_versions" ("id" varchar(255) not null, "tenant_id" varchar(191) not null, "action_id" varchar(255) not null, "number" int not null, "code" text not null, "runtime" varchar(50), "secrets" text, "dependencies" text, "supported_triggers" text, "deployed" int default 0 not null, "created_at_ts" bigint not null, "updated_at_ts" bigint not null, constraint "action_versions_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "actions" ("id" varchar(255) not null, "tenant_id" varchar(191) not null, "name" varchar(255) not null, "code" text not null, "runtime" varchar(50), "status" varchar(50) default 'built', "secrets" text, "dependencies" text, "supported_triggers" text, "deployed_at_ts" bigint, "created_at_ts" bigint not null, "updated_at_ts" bigint not null, "is_system" int default 0 not null, "inherit" int default 0 not null, constraint "actions_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "authentication_methods" ("id" varchar(26) not null, "tenant_id" varchar(191) not null, "user_id" varchar(255) not null, "type" varchar(32) not null, "phone_number" varchar(32), "totp_secret" varchar(255), "confirmed" int default 0 not null, "created_at_ts" bigint not null, "updated_at_ts" bigint not null, "credential_id" varchar(512), "public_key" text, "sign_count" int, "credential_backed_up" int, "transports" varchar(512), "friendly_name" varchar(255), constraint "authentication_methods_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "branding" ("tenant_id" varchar(255) not null, "logo_url" varchar(512), "favicon_url" varchar(512), "font_url" varchar(512), "colors_primary" varchar(8), "colors_page_background_type" varchar(32), "colors_page_background_start" varchar(8), "colors_page_background_end" varchar(8), "colors_page_background_angle_dev" int, "dark_mode" varchar(8), constraint "branding_pk" primary key ("tenant_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "clients" ("client_id" varchar(191) not null, "tenant_id" varchar(191) not null, "name" varchar(255) not null, "description" varchar(140), "global" int default 0 not null, "client_secret" varchar(255), "app_type" varchar(64) default 'regular_web', "logo_uri" varchar(2083), "is_first_party" int default 0 not null, "oidc_conformant" int default 1 not null, "callbacks" text not null, "allowed_origins" text not null, "web_origins" text not null, "client_aliases" text not null, "allowed_clients" text not null, "allowed_logout_urls" text not null, "session_transfer" text not null, "oidc_logout" text not null, "grant_types" text not null, "jwt_configuration" text not null, "signing_keys" text not null, "encryption_key" text not null, "sso" int default 0 not null, "sso_disabled" int default 1 not null, "cross_origin_authentication" int default 0 not null, "cross_origin_loc" varchar(2083), "custom_login_page_on" int default 0 not null, "custom_login_page" text, "custom_login_page_preview" text, "form_template" text, "addons" text not null, "token_endpoint_auth_method" varchar(64) default 'client_secret_basic', "client_metadata" text not null, "mobile" text not null, "initiate_login_uri" varchar(2083), "native_social_login" text not null, "refresh_token" text not null, "default_organization" text not null, "organization_usage" varchar(32) default 'deny', "organization_require_behavior" varchar(32) default 'no_prompt', "client_authentication_methods" text not null, "require_pushed_authorization_requests" int default 0 not null, "require_proof_of_possession" int default 0 not null, "signed_request_object" text not null, "compliance_level" varchar(64), "par_request_expiry" int, "token_quota" text not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "connections" text, "auth0_conformant" int default 1, "owner_user_id" varchar(255), "registration_type" varchar(32), "registration_metadata" text, "user_linking_mode" varchar(16), "hide_sign_up_disabled_error" int default 0 not null, constraint "clients_pk" primary key ("tenant_id", "client_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "client_grants" ("id" varchar(21) not null, "tenant_id" varchar(191) not null, "client_id" varchar(191) not null, "audience" varchar(191) not null, "scope" text, "organization_usage" varchar(32), "allow_any_organization" int default 0, "is_system" int default 0, "subject_type" varchar(32), "authorization_details_types" text, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "client_grants_pk" primary key ("tenant_id", "id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "client_registration_tokens" ("id" varchar(255) not null, "tenant_id" varchar(191) not null, "token_hash" varchar(64) not null, "type" varchar(8) not null, "client_id" varchar(191), "sub" varchar(255), "constraints" text, "single_use" int default 0 not null, "used_at_ts" bigint, "expires_at_ts" bigint, "created_at_ts" bigint not null, "revoked_at_ts" bigint, constraint "client_registration_tokens_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "users" ("tenant_id" varchar(255) not null, "email" varchar(255), "given_name" varchar(255), "family_name" varchar(255), "nickname" varchar(255), "name" varchar(255), "picture" text, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "linked_to" varchar(255), "provider" varchar(255) not null, "connection" varchar(255) not null, "email_verified" smallint not null, "is_social" smallint not null, "app_metadata" text default ('{}') not null, "profileData" text, "locale" varchar(64), "user_id" varchar(255) not null, "phone_number" varchar(17), "phone_verified" smallint, "username" varchar(128), "user_metadata" text, "middle_name" varchar(100), "profile" text, "website" text, "gender" varchar(50), "birthdate" varchar(10), "zoneinfo" varchar(100), "preferred_username" varchar(255), "address" text, "registration_completed_at" varchar(35), constraint "users_pk" primary key ("tenant_id", "user_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "codes" ("code_id" varchar(255) not null, "tenant_id" varchar(255) not null, "user_id" varchar(255), "login_id" varchar(255), "connection_id" varchar(255), "code_type" varchar(255) not null, "created_at" varchar(255) not null, "expires_at" varchar(255) not null, "used_at" varchar(255), "code_verifier" varchar(128), "code_challenge" varchar(128), "code_challenge_method" varchar(5), "redirect_uri" varchar(1024), "nonce" varchar(1024), "state" varchar(2048), "otp" varchar(32), constraint "codes_pk" primary key ("code_id", "code_type", "tenant_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "connections" ("id" varchar(255) not null, "tenant_id" varchar(255) not null, "name" varchar(255) not null, "response_type" varchar(255), "response_mode" varchar(255), "strategy" varchar(64), "options" varchar(8192) default '{}' not null, "created_at" varchar(255) not null, "updated_at" varchar(255) not null, "display_name" varchar(255), "is_domain_connection" int, "show_as_button" int, "metadata" varchar(4096), "is_system" int default 0 not null, constraint "connections_pk" primary key ("tenant_id", "id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "control_plane_comm_keys" ("kid" varchar(255) not null, "tenant_id" varchar(255) not null, "public_jwk" text not null, "created_at" varchar(35) not null, "revoked_at" varchar(35), constraint "control_plane_comm_keys_pk" primary key ("kid"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "custom_domains" ("custom_domain_id" varchar(256) not null, "tenant_id" varchar(255) not null, "domain" varchar(255) not null, "primary" smallint not null, "status" varchar(50) not null, "type" varchar(50) not null, "origin_domain_name" varchar(255), "verification" varchar(2048), "custom_client_ip_header" varchar(50), "tls_policy" varchar(50), "domain_metadata" varchar(2048), "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "custom_domains_pk" primary key ("custom_domain_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "custom_text" ("tenant_id" varchar(191) not null, "prompt" varchar(64) not null, "language" varchar(16) not null, "custom_text" text not null, "created_at_ts" bigint not null, "updated_at_ts" bigint not null, constraint "custom_text_pk" primary key ("tenant_id", "prompt", "language"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "email_providers" ("tenant_id" varchar(255) not null, "name" varchar(255) not null, "enabled" smallint not null, "default_from_address" varchar(255), "credentials" varchar(2048) default '{}' not null, "settings" varchar(2048) default '{}' not null, "created_at" varchar(29) not null, "updated_at" varchar(29) not null, constraint "email_providers_pk" primary key ("tenant_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "email_templates" ("tenant_id" varchar(255) not null, "template" varchar(64) not null, "body" text not null, "from" varchar(255) not null, "subject" varchar(255) not null, "syntax" varchar(16) default 'liquid' not null, "result_url" varchar(2048), "url_lifetime_in_seconds" int, "include_email_in_redirect" int default 0 not null, "enabled" int default 1 not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "email_templates_pk" primary key ("tenant_id", "template"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "flows" ("id" varchar(24) not null, "tenant_id" varchar(191) not null, "name" varchar(150) not null, "actions" text, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "flows_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "forms" ("id" varchar(255) not null, "name" varchar(255) not null, "tenant_id" varchar(255) not null, "messages" varchar(255), "languages" varchar(255), "translations" varchar(4096), "nodes" varchar(4096), "start" varchar(255), "ending" varchar(255), "style" varchar(1042), "created_at" varchar(255) not null, "updated_at" varchar(255) not null, constraint "forms_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "grants" ("id" varchar(21) not null, "tenant_id" varchar(191) not null, "user_id" varchar(191) not null, "client_id" varchar(191) not null, "audience" varchar(100) default '' not null, "scope" text not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "grants_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "hook_code" ("id" varchar(21) not null, "tenant_id" varchar(191) not null, "code" text not null, "secrets" text, "created_at_ts" bigint not null, "updated_at_ts" bigint not null, constraint "hook_code_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "hooks" ("hook_id" varchar(21) not null, "tenant_id" varchar(255) not null, "trigger_id" varchar(255) not null, "enabled" smallint not null, "synchronous" smallint default 0 not null, "priority" int, "form_id" varchar(128), "url" varchar(512), "template_id" varchar(64), "created_at_ts" bigint, "updated_at_ts" bigint, "code_id" varchar(21), "metadata" text, constraint "hooks_pk" primary key ("hook_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "invites" ("id" varchar(21) not null, "tenant_id" varchar(191) not null, "organization_id" varchar(21) not null, "inviter" text not null, "invitee" text not null, "client_id" varchar(191) not null, "connection_id" varchar(21), "invitation_url" text not null, "created_at" varchar(35) not null, "expires_at" varchar(35) not null, "app_metadata" text, "user_metadata" text, "roles" text, "ticket_id" varchar(191), "ttl_sec" int, "send_invitation_email" int, constraint "invites_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "keys" ("kid" varchar(255) not null, "tenant_id" varchar(255), "created_at" varchar(255) not null, "revoked_at" varchar(255), "cert" varchar(4096), "pkcs7" varchar(4096), "fingerprint" varchar(256), "thumbprint" varchar(256), "current_since" varchar(256), "current_until" varchar(256), "type" varchar(50) default 'jwt_signing' not null, "connection" varchar(255), constraint "keys_pk" primary key ("kid"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "log_streams" ("id" varchar(64) not null, "tenant_id" varchar(191) not null, "name" varchar(255) not null, "type" varchar(64) not null, "status" varchar(32) not null, "sink" text not null, "filters" text, "is_priority" smallint, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "log_streams_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "sessions" ("id" varchar(26) not null, "tenant_id" varchar(191) not null, "user_id" varchar(255), "device" text not null, "clients" text not null, "login_session_id" varchar(26), "created_at_ts" bigint, "updated_at_ts" bigint, "expires_at_ts" bigint, "idle_expires_at_ts" bigint, "authenticated_at_ts" bigint, "last_interaction_at_ts" bigint, "used_at_ts" bigint, "revoked_at_ts" bigint, constraint "sessions_pk" primary key ("tenant_id", "id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "login_sessions" ("id" varchar(26) not null, "tenant_id" varchar(255) not null, "session_id" varchar(26), "csrf_token" varchar(26), "authorization_url" text, "ip" varchar(39), "useragent" text, "auth0Client" varchar(255), "state" varchar(50) default 'pending', "state_data" text, "failure_reason" text, "user_id" varchar(255), "created_at_ts" bigint, "updated_at_ts" bigint, "expires_at_ts" bigint, "auth_connection" varchar(255), "auth_strategy_strategy" varchar(64), "auth_strategy_strategy_type" varchar(64), "authenticated_at" varchar(35), "auth_params" text, constraint "login_sessions_pk" primary key ("tenant_id", "id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "logs" ("log_id" varchar(21) not null, "category" varchar(255), "tenant_id" varchar(64), "user_id" varchar(64), "ip" varchar(255), "type" varchar(8) not null, "date" varchar(25) not null, "client_id" varchar(255), "client_name" varchar(255), "user_agent" varchar(255), "description" varchar(255), "details" varchar(2048), "isMobile" int, "user_name" varchar(255), "connection" varchar(255), "connection_id" varchar(255), "audience" varchar(255), "scope" varchar(255), "strategy" varchar(255), "strategy_type" varchar(255), "hostname" varchar(255), "auth0_client" varchar(8192), "session_connection" varchar(255), "country_code" varchar(2), "country_code3" varchar(3), "country_name" varchar(255), "city_name" varchar(255), "latitude" varchar(255), "longitude" varchar(255), "time_zone" varchar(255), "continent_code" varchar(2), constraint "logs_pk" primary key ("log_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "migration_sources" ("id" varchar(64) not null, "tenant_id" varchar(191) not null, "name" varchar(255) not null, "provider" varchar(32) not null, "connection" varchar(255) not null, "enabled" smallint not null, "credentials" text not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "migration_sources_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "migrations" ("id" varchar(255) not null, "tenant_id" varchar(255) not null, "provider" varchar(255), "client_id" varchar(255), "origin" varchar(255), "domain" varchar(255), "created_at" varchar(255) not null, "updated_at" varchar(255) not null, constraint "migrations_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "organizations" ("id" varchar(256) not null, "tenant_id" varchar(256) not null, "name" varchar(256) not null, "display_name" varchar(256), "branding" text, "metadata" text, "enabled_connections" text, "token_quota" text, "created_at" varchar(256) not null, "updated_at" varchar(256) not null, constraint "organizations_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "organization_connections" ("tenant_id" varchar(191) not null, "organization_id" varchar(21) not null, "connection_id" varchar(191) not null, "assign_membership_on_login" smallint default 0 not null, "show_as_button" smallint default 1 not null, "is_signup_enabled" smallint default 1 not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null);

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "outbox_events" ("id" varchar(21) not null, "tenant_id" varchar(191) not null, "event_type" varchar(255) not null, "log_type" varchar(64) not null, "aggregate_type" varchar(64) not null, "aggregate_id" varchar(255) not null, "payload" text not null, "created_at" varchar(35) not null, "processed_at" varchar(35), "retry_count" int default 0 not null, "next_retry_at" varchar(35), "error" text, "claimed_by" varchar(64), "claim_expires_at" varchar(35), "dead_lettered_at" varchar(35), "final_error" text, constraint "outbox_events_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "passwords" ("id" varchar(21) not null, "user_id" varchar(191) not null, "tenant_id" varchar(191) not null, "password" varchar(255) not null, "algorithm" varchar(255) default 'bcrypt' not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "is_current" int default 1 not null, constraint "passwords_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "prompt_settings" ("tenant_id" varchar(64) not null, "universal_login_experience" varchar(16) default 'new' not null, "identifier_first" smallint default 1 not null, "password_first" smallint default 0 not null, "webauthn_platform_first_factor" smallint default 0 not null, constraint "prompt_settings_pk" primary key ("tenant_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "proxy_routes" ("id" varchar(64) not null, "tenant_id" varchar(255) not null, "custom_domain_id" varchar(256) not null, "priority" int default 100 not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "match" varchar(2048) default '{"path":"/*"}' not null, "handlers" text not null, constraint "proxy_routes_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "refresh_tokens" ("id" varchar(26) not null, "tenant_id" varchar(255) not null, "client_id" varchar(191) not null, "user_id" varchar(255), "resource_servers" text not null, "device" text not null, "rotating" smallint not null, "created_at_ts" bigint, "expires_at_ts" bigint, "idle_expires_at_ts" bigint, "last_exchanged_at_ts" bigint, "login_id" varchar(26) not null, "revoked_at_ts" bigint, "token_lookup" varchar(16), "token_hash" varchar(64), "family_id" varchar(26), "rotated_to" varchar(26), "rotated_at_ts" bigint, constraint "refresh_tokens_pk" primary key ("tenant_id", "id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "resource_servers" ("id" varchar(21) not null, "tenant_id" varchar(191) not null, "identifier" varchar(191) not null, "name" varchar(255) not null, "scopes" text, "signing_alg" varchar(64), "signing_secret" varchar(2048), "token_lifetime" int, "token_lifetime_for_web" int, "skip_consent_for_verifiable_first_party_clients" int, "allow_offline_access" int, "verification_key" varchar(4096), "options" varchar(4096), "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "is_system" int default 0 not null, "metadata" varchar(4096), constraint "resource_servers_pk" primary key ("tenant_id", "id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "role_permissions" ("tenant_id" varchar(191) not null, "role_id" varchar(21) not null, "resource_server_identifier" varchar(191) not null, "permission_name" varchar(191) not null, "created_at" varchar(35) not null, constraint "role_permissions_pk" primary key ("tenant_id", "role_id", "resource_server_identifier", "permission_name"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "roles" ("id" varchar(21) not null, "tenant_id" varchar(191) not null, "name" varchar(50) not null, "description" varchar(255), "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "is_system" int default 0 not null, "metadata" varchar(4096), constraint "roles_pk" primary key ("tenant_id", "id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "rollouts" ("id" varchar(255) not null, "kind" varchar(32) not null, "status" varchar(32) not null, "target_worker_version" varchar(255), "target_database_version" varchar(255), "wave_size" int default 10 not null, "canary_tenant_ids" text, "filter" text, "initiated_by" varchar(255), "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "finished_at" varchar(35), constraint "rollouts_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "tenant_operations" ("id" varchar(255) not null, "tenant_id" varchar(255), "rollout_id" varchar(255), "kind" varchar(32) not null, "status" varchar(32) not null, "current_step" varchar(255), "engine" varchar(64) not null, "engine_instance_id" varchar(100), "target_worker_version" varchar(255), "target_database_version" varchar(255), "error" text, "initiated_by" varchar(255), "created_at" varchar(35) not null, "updated_at" varchar(35) not null, "finished_at" varchar(35), constraint "tenant_operations_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "tenant_operation_events" ("id" varchar(255) not null, "operation_id" varchar(255) not null, "step" varchar(255) not null, "outcome" varchar(32) not null, "detail" text, "attempt" int default 1 not null, "created_at" varchar(35) not null, constraint "tenant_operation_events_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "themes" ("tenant_id" varchar(191) not null, "themeId" varchar(21) not null, "displayName" varchar(255) not null, "colors_primary_button_label" varchar(24) not null, "colors_primary_button" varchar(24) not null, "colors_secondary_button_border" varchar(24) not null, "colors_secondary_button_label" varchar(24) not null, "colors_base_focus_color" varchar(24) not null, "colors_base_hover_color" varchar(24) not null, "colors_body_text" varchar(24) not null, "colors_captcha_widget_theme" varchar(24) not null, "colors_error" varchar(24) not null, "colors_header" varchar(24) not null, "colors_icons" varchar(24) not null, "colors_input_background" varchar(24) not null, "colors_input_border" varchar(24) not null, "colors_input_filled_text" varchar(24) not null, "colors_input_labels_placeholders" varchar(24) not null, "colors_links_focused_components" varchar(24) not null, "colors_success" varchar(24) not null, "colors_widget_background" varchar(24) not null, "colors_widget_border" varchar(24) not null, "borders_button_border_radius" int not null, "borders_button_border_weight" int not null, "borders_buttons_style" varchar(24) not null, "borders_input_border_radius" int not null, "borders_input_border_weight" int not null, "borders_inputs_style" varchar(24) not null, "borders_show_widget_shadow" smallint not null, "borders_widget_border_weight" int not null, "borders_widget_corner_radius" int not null, "fonts_body_text_bold" int not null, "fonts_body_text_size" int not null, "fonts_buttons_text_bold" int not null, "fonts_buttons_text_size" int not null, "fonts_font_url" varchar(255) not null, "fonts_input_labels_bold" int not null, "fonts_input_labels_size" int not null, "fonts_links_bold" smallint not null, "fonts_links_size" int not null, "fonts_links_style" varchar(24) not null, "fonts_reference_text_size" int not null, "fonts_subtitle_bold" smallint not null, "fonts_subtitle_size" int not null, "fonts_title_bold" smallint not null, "fonts_title_size" int not null, "page_background_background_color" varchar(24) not null, "page_background_background_image_url" varchar(255) not null, "page_background_page_layout" varchar(24) not null, "widget_header_text_alignment" varchar(24) not null, "widget_logo_height" int not null, "widget_logo_position" varchar(24) not null, "widget_logo_url" varchar(255) not null, "widget_social_buttons_layout" varchar(24) not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "themes_pk" primary key ("tenant_id", "themeId"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "universal_login_templates" ("tenant_id" varchar(191) not null, "body" text not null, "updated_at_ts" bigint not null, "created_at_ts" bigint not null, constraint "universal_login_templates_pk" primary key ("tenant_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "user_activity" ("tenant_id" varchar(255) not null, "user_id" varchar(255) not null, "last_login" varchar(35), "last_ip" varchar(45), "login_count" int default 0 not null, "failed_logins" text, "last_password_reset" varchar(35), constraint "user_activity_pk" primary key ("tenant_id", "user_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "user_organizations" ("id" varchar(256) not null, "tenant_id" varchar(256) not null, "user_id" varchar(256) not null, "organization_id" varchar(256) not null, "created_at" varchar(256) not null, "updated_at" varchar(256) not null, constraint "user_organizations_pk" primary key ("id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "user_permissions" ("tenant_id" varchar(191) not null, "user_id" varchar(191) not null, "resource_server_identifier" varchar(100) not null, "permission_name" varchar(191) not null, "organization_id" varchar(21) default '' not null, "created_at" varchar(35) not null, constraint "user_permissions_pk" primary key ("tenant_id", "user_id", "resource_server_identifier", "permission_name", "organization_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "user_roles" ("tenant_id" varchar(191) not null, "user_id" varchar(191) not null, "role_id" varchar(21) not null, "organization_id" varchar(191) default '' not null, "created_at" varchar(35) not null, constraint "user_roles_pk" primary key ("tenant_id", "user_id", "role_id", "organization_id"));

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_action_executions_tenant" on "action_executions" ("tenant_id", "id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_action_versions_action" on "action_versions" ("tenant_id", "action_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "uniq_action_versions_action_number" on "action_versions" ("tenant_id", "action_id", "number");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_actions_tenant" on "actions" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "authentication_methods_credential_id_idx" on "authentication_methods" ("credential_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "mfa_enrollments_tenant_user_idx" on "authentication_methods" ("tenant_id", "user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_client_grants_audience" on "client_grants" ("audience");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "uq_client_grants_tenant_client_audience" on "client_grants" ("tenant_id", "client_id", "audience");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_client_registration_tokens_client" on "client_registration_tokens" ("tenant_id", "client_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "idx_client_registration_tokens_hash" on "client_registration_tokens" ("tenant_id", "token_hash");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_clients_owner_user_id" on "clients" ("tenant_id", "owner_user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "control_plane_comm_keys_tenant_id_created_at_idx" on "control_plane_comm_keys" ("tenant_id", "created_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "flows_tenant_id_idx" on "flows" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "forms_tenant_id_idx" on "forms" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "grants_natural_key_idx" on "grants" ("tenant_id", "user_id", "client_id", "audience");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "grants_tenant_user_idx" on "grants" ("tenant_id", "user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_hook_code_tenant" on "hook_code" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_invites_expires_at" on "invites" ("expires_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_invites_organization_id" on "invites" ("organization_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_invites_tenant_created" on "invites" ("tenant_id", "created_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_log_streams_tenant_id" on "log_streams" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_login_sessions_expires_at_ts" on "login_sessions" ("expires_at_ts");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "login_sessions_id_index" on "login_sessions" ("id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "login_sessions_state_idx" on "login_sessions" ("state");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "login_sessions_state_updated_idx" on "login_sessions" ("state");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "login_sessions_tenant_user_idx" on "login_sessions" ("tenant_id", "user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "logs_date" on "logs" ("date");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "logs_tenant_id" on "logs" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "logs_user_id" on "logs" ("user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_migration_sources_tenant_id" on "migration_sources" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_organization_connections_tenant_connection" on "organization_connections" ("tenant_id", "connection_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_organization_connections_tenant_org" on "organization_connections" ("tenant_id", "organization_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "organization_connections_unique" on "organization_connections" ("tenant_id", "organization_id", "connection_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "idx_organizations_tenant_name_unique" on "organizations" ("tenant_id", "name");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_outbox_claim" on "outbox_events" ("processed_at", "claim_expires_at", "next_retry_at", "created_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_outbox_events_tenant_dead_lettered" on "outbox_events" ("tenant_id", "dead_lettered_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_outbox_tenant_type" on "outbox_events" ("tenant_id", "event_type", "created_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_outbox_unprocessed" on "outbox_events" ("processed_at", "created_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "proxy_routes_custom_domain_id_idx" on "proxy_routes" ("custom_domain_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "proxy_routes_tenant_id_idx" on "proxy_routes" ("tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_refresh_tokens_expires_at_ts" on "refresh_tokens" ("expires_at_ts");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_refresh_tokens_family_id" on "refresh_tokens" ("tenant_id", "family_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_refresh_tokens_idle_expires_at_ts" on "refresh_tokens" ("idle_expires_at_ts");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_refresh_tokens_login_id" on "refresh_tokens" ("login_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_refresh_tokens_token_lookup" on "refresh_tokens" ("tenant_id", "token_lookup");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_refresh_tokens_user_id" on "refresh_tokens" ("tenant_id", "user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "resource_servers_tenant_identifier_uq" on "resource_servers" ("tenant_id", "identifier");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "role_permissions_permission_fk" on "role_permissions" ("tenant_id", "resource_server_identifier", "permission_name");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "roles_tenant_name_uq" on "roles" ("tenant_id", "name");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_sessions_expires_at_ts" on "sessions" ("expires_at_ts");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_sessions_idle_expires_at_ts" on "sessions" ("idle_expires_at_ts");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_sessions_user_id" on "sessions" ("tenant_id", "user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "tenant_operation_events_operation_id_created_at_idx" on "tenant_operation_events" ("operation_id", "created_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "tenant_operations_rollout_id_idx" on "tenant_operations" ("rollout_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "tenant_operations_status_idx" on "tenant_operations" ("status");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "tenant_operations_tenant_id_created_at_idx" on "tenant_operations" ("tenant_id", "created_at");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_user_organizations_organization_id" on "user_organizations" ("organization_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "idx_user_organizations_unique" on "user_organizations" ("tenant_id", "user_id", "organization_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_user_organizations_user_id" on "user_organizations" ("user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "user_permissions_organization_fk" on "user_permissions" ("organization_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "user_permissions_permission_fk" on "user_permissions" ("tenant_id", "resource_server_identifier", "permission_name");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "user_permissions_user_fk" on "user_permissions" ("tenant_id", "user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "user_roles_organization_fk" on "user_roles" ("organization_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "user_roles_role_fk" on "user_roles" ("tenant_id", "role_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "user_roles_user_fk" on "user_roles" ("tenant_id", "user_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "unique_email_provider" on "users" ("email", "provider", "tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "unique_username_provider" on "users" ("username", "provider", "tenant_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "users_linked_to_index" on "users" ("linked_to");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "users_name_index" on "users" ("name");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "users_phone_tenant_provider_index" on "users" ("tenant_id", "phone_number", "provider");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "users_user_id_tenant_id" on "users" ("user_id", "tenant_id");

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "authentication_methods" add constraint "fk_authentication_methods_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "branding" add constraint "fk_branding_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "client_grants" add constraint "fk_client_grants_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "client_registration_tokens" add constraint "fk_client_registration_tokens_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "clients" add constraint "fk_clients_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "codes" add constraint "fk_codes_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "connections" add constraint "fk_connections_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "custom_domains" add constraint "fk_custom_domains_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "custom_text" add constraint "fk_custom_text_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "grants" add constraint "fk_grants_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "hooks" add constraint "fk_hooks_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "keys" add constraint "fk_keys_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "migrations" add constraint "fk_migrations_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "passwords" add constraint "fk_passwords_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "themes" add constraint "fk_themes_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "universal_login_templates" add constraint "fk_universal_login_templates_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "users" add constraint "fk_users_tenants" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "client_grants" add constraint "fk_client_grants_clients" foreign key ("tenant_id", "client_id") references "clients" ("tenant_id", "client_id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "codes" add constraint "FK_codes_user_id_tenant_id_constraint" foreign key ("user_id", "tenant_id") references "users" ("user_id", "tenant_id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "email_templates" add constraint "email_templates_tenant_fk" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "grants" add constraint "grants_user_id_constraint" foreign key ("user_id", "tenant_id") references "users" ("user_id", "tenant_id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "login_sessions" add constraint "login_sessions_session_fk" foreign key ("tenant_id", "session_id") references "sessions" ("tenant_id", "id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "login_sessions" add constraint "login_sessions_tenant_fk" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "organization_connections" add constraint "organization_connections_connection_fk" foreign key ("tenant_id", "connection_id") references "connections" ("tenant_id", "id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "organization_connections" add constraint "organization_connections_organization_fk" foreign key ("organization_id") references "organizations" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "passwords" add constraint "password_history_user_id_tenant_id_constraint" foreign key ("user_id", "tenant_id") references "users" ("user_id", "tenant_id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "refresh_tokens" add constraint "refresh_tokens_client_fk" foreign key ("tenant_id", "client_id") references "clients" ("tenant_id", "client_id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "refresh_tokens" add constraint "refresh_tokens_tenant_fk" foreign key ("tenant_id") references "tenants" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "sessions" add constraint "sessions_user_fk" foreign key ("user_id", "tenant_id") references "users" ("user_id", "tenant_id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "tenant_operation_events" add constraint "tenant_operation_events_operation_id_constraint" foreign key ("operation_id") references "tenant_operations" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "user_activity" add constraint "user_activity_user_id_constraint" foreign key ("user_id", "tenant_id") references "users" ("user_id", "tenant_id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "user_organizations" add constraint "fk_user_organizations_organization" foreign key ("organization_id") references "organizations" ("id") on delete cascade;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "user_organizations" add constraint "fk_user_organizations_user" foreign key ("tenant_id", "user_id") references "users" ("tenant_id", "user_id") on delete cascade;

-- [DML ext x7] tags={"INSERT 0 n": 7}
--   e.g. params ["2026-07-16T14:00:00_baseline", "2026-11-20T18:27:22.050Z"]
insert into "kysely_migration" ("name", "timestamp") values ($1, $2);

-- [READ simple x2] tags={"SELECT n": 2}
SELECT VERSION();

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["2026-11-20T18:27:22.054Z"]
delete from "codes" where "expires_at" < $1;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "codes" add column "expires_at_ts" bigint;

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_codes_expires_at_ts" on "codes" ("expires_at_ts");

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["500"]
select "code_id", "code_type", "tenant_id", "expires_at" from "codes" where "expires_at_ts" is null limit $1;

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "scim_configurations" ("connection_id" varchar(255) not null, "tenant_id" varchar(255) not null, "user_id_attribute" varchar(255) default 'externalId' not null, "mapping" text not null, "created_at" varchar(35) not null, "updated_at" varchar(35) not null, constraint "scim_configurations_pk" primary key ("tenant_id", "connection_id"));

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "scim_tokens" ("token_id" varchar(64) not null, "tenant_id" varchar(255) not null, "connection_id" varchar(255) not null, "token_hash" varchar(128) not null, "scopes" text not null, "valid_until" varchar(35), "created_at" varchar(35) not null, "last_used_at" varchar(35), constraint "scim_tokens_pk" primary key ("tenant_id", "token_id"));

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "scim_tokens_tenant_connection_idx" on "scim_tokens" ("tenant_id", "connection_id");

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "scim_tokens_tenant_hash_idx" on "scim_tokens" ("tenant_id", "token_hash");

-- [DDL simple x1] tags={"CREATE TABLE": 1}
create table "scim_external_ids" ("tenant_id" varchar(255) not null, "connection_id" varchar(255) not null, "external_id" varchar(255) not null, "user_id" varchar(255) not null, "created_at" varchar(35) not null, constraint "scim_external_ids_pk" primary key ("tenant_id", "connection_id", "user_id"));

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create unique index "scim_external_ids_connection_external_idx" on "scim_external_ids" ("tenant_id", "connection_id", "external_id");

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "users" add column "blocked" smallint;

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "prompt_settings" add column "show_last_used_connection" smallint;

-- [DDL simple x1] tags={"CREATE INDEX": 1}
create index "idx_action_executions_created_at_ts" on "action_executions" ("created_at_ts");

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "hooks" add column "page_id" varchar(64);

-- [DDL simple x1] tags={"ALTER TABLE": 1}
alter table "hooks" add column "permission_required" varchar(255);

-- [TX simple x24] tags={"COMMIT": 24}
commit;

-- [READ simple x1] tags={"SELECT n": 1}
select pg_advisory_unlock(3853314791062309107);

-- ==== phase: seed

-- [READ ext x29] tags={"SELECT n": 29}
--   e.g. params ["control_plane"]
select * from "tenants" where "tenants"."id" = $1;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "Control Plane", "urn:authhero:management", "noreply@example.com", "AuthHero", "2026-11-20T18:27:24.278Z", "2026-11-20T18:27:24.278Z"]
insert into "tenants" ("id", "friendly_name", "audience", "sender_email", "sender_name", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1", "{\"inherit_global_permissions_in_organizations\":true}", "control_plane", "2026-11-20T18:27:24.282Z", "control_plane"]
update "tenants" set "allow_organization_name_in_authentication_api" = $1, "flags" = $2, "id" = $3, "updated_at" = $4 where "id" = $5;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["2026-11-20T18:27:24.288Z", "jwt_signing", "100", "0"]
select * from "keys" where ("revoked_at" > $1 or "revoked_at" is null) and "type" = $2 limit $3 offset $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["McMbcM8eioORyR7lTx3fGp23LvaR9nDGCEb5uw6wxpc", "-----BEGIN CERTIFICATE-----\nMIIDHDCCAgSgAwIBAgIVYVBnNDE5UVFMUVpSV0JUYkFXUWF5MA0GCSqGSIb3DQEB\nCwUAMBgxFjAUBgNVBAMMDWNvbnRyb2xfcGxhbmUwHhcNMjYxMTIwMTgyNzI0WhcN\nMjcxMTIwMTgyNzI0WjAYMRYwFAYDVQQDDA1jb250cm", "ff55cb30ffaa411bdb79071345c487e9a586dc26", "McMbcM8eioORyR7lTx3fGp23LvaR9nDGCEb5uw6wxpc", "-----BEGIN PRIVATE KEY-----\r\nMIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDelBWUF25cqCdg\r\ny7rmFgA4WmJY32pvJ8kMS9GlnTuEXcPVB2sZlD67o/SDM2dCZMBBjndBrFXtzEyu\r\nTr1JzOMFVto1vXRC2mecRpo2BNM34ZCefJfzVV4", "jwt_signing", "Fri Nov 20 2026"]
insert into "keys" ("kid", "cert", "thumbprint", "fingerprint", "pkcs7", "type", "created_at") values ($1, $2, $3, $4, $5, $6, $7);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "admin", "50", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."username" = $2 limit $3 offset $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["auth0|d2e4272345c3192c9e6c15d8", "admin", "admin@example.com", "1", "Username-Password-Authentication", "auth0", "2026-11-20T18:27:25.116Z", "2026-11-20T18:27:25.116Z", "control_plane", null, "0", "0", null]
insert into "users" ("user_id", "username", "email", "email_verified", "connection", "provider", "created_at", "updated_at", "tenant_id", "phone_verified", "is_social", "blocked", "address") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["D07LNsfYVVUhEvh0P__3A", "auth0|d2e4272345c3192c9e6c15d8", "$2b$10$Di2rg8VzHWsOm2QV0L2v5ec8A3vI5ctk5TbiRGmH6C0OrFYiE1QoW", "bcrypt", "1", "2026-11-20T18:27:25.125Z", "2026-11-20T18:27:25.125Z", "control_plane"]
insert into "passwords" ("id", "user_id", "password", "algorithm", "is_current", "created_at", "updated_at", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [READ ext x31] tags={"SELECT n": 31}
--   e.g. params ["control_plane", "50", "0"]
select * from "connections" where "connections"."tenant_id" = $1 limit $2 offset $3;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["Username-Password-Authentication", "auth0", "{\"attributes\":{\"username\":{\"identifier\":{\"active\":true}},\"email\":{\"identifier\":{\"active\":false}}}}", "con_4ykgtw55466y4ik6i", "0", "2026-11-20T18:27:25.134Z", "2026-11-20T18:27:25.134Z", "control_plane"]
insert into "connections" ("name", "strategy", "options", "id", "is_system", "created_at", "updated_at", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [READ ext x29] tags={"SELECT n": 29}
--   e.g. params ["control_plane", "default"]
select * from "clients" where "clients"."tenant_id" = $1 and "clients"."client_id" = $2;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["default", "stxfcsP09Rt-5Cbvj1f-b", "Default Application", "[\"https://manage.authhero.net/auth-callback\",\"https://local.authhero.net/auth-callback\",\"https://localhost:5173/auth-callback\",\"http://localhost:3000/auth-callback\",\"http://localhost:3000/admin/auth-c", "[\"https://manage.authhero.net\",\"https://local.authhero.net\",\"http://localhost:5173\",\"http://localhost:3000\"]", "[\"Username-Password-Authentication\"]", "{\"universal_login_version\":\"2\"}", "2026-11-20T18:27:25.144Z", "2026-11-20T18:27:25.144Z", "0", "1", "1", "1", "0", "0", "0", "0", "0", "0", "0", "control_plane", "[]", "[]", "[]", "[]", "{}", "{}", "[]", "{}", "[]", "{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}", null, null, null]
insert into "clients" ("client_id", "client_secret", "name", "callbacks", "allowed_logout_urls", "connections", "client_metadata", "created_at", "updated_at", "global", "is_first_party", "oidc_conformant", "auth0_conformant", "sso", "sso_disabled", "cross_origin_authentication", "custom_login_page_on", "require_pushed_authorization_requests", "require_proof_of_possession", "hide_sign_up_disabled_error", "tenant_id", "allowed_origins", "web_origins", "client_aliases", "allowed_clients", "session_transfer", "oidc_logout", "grant_types", "jwt_configuration", "signing_keys", "encryption_key", "addons", "mobile", "native_social_login", "refresh_token", "default_organization", "client_authentication_methods", "signed_request_object", "token_quota", "owner_user_id", "registration_type", "registration_metadata") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42);

-- [READ ext x25] tags={"SELECT n": 25}
--   e.g. params ["control_plane", "50", "0"]
select * from "resource_servers" where "resource_servers"."tenant_id" = $1 limit $2 offset $3;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["api_v0fvs4ghz19za67z0", "Authhero Management API", "urn:authhero:management", "RS256", "86400", "7200", "2026-11-20T18:27:25.154Z", "2026-11-20T18:27:25.154Z", "control_plane", "[{\"value\":\"read:client_grants\",\"description\":\"Read Client Grants\"},{\"value\":\"create:client_grants\",\"description\":\"Create Client Grants\"},{\"value\":\"delete:client_grants\",\"description\":\"Delete Client Gr", "{\"token_dialect\":\"access_token_authz\",\"enforce_policies\":true}", "0", "1", "0"]
insert into "resource_servers" ("id", "name", "identifier", "signing_alg", "token_lifetime", "token_lifetime_for_web", "created_at", "updated_at", "tenant_id", "scopes", "options", "skip_consent_for_verifiable_first_party_clients", "allow_offline_access", "is_system") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["control_plane", "100", "0"]
select * from "clients" where "clients"."tenant_id" = $1 order by "created_at" desc limit $2 offset $3;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["default", "control_plane", "2026-11-20T18:27:25.180Z", "control_plane"]
update "tenants" set "default_client_id" = $1, "id" = $2, "updated_at" = $3 where "id" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["jIbXGQy19XHqwcP9jKHFC", "RMdfTiOkT0oUPh3Fk5pum", "API Explorer Application", "non_interactive", "1", "[\"client_credentials\"]", "2026-11-20T18:27:25.189Z", "2026-11-20T18:27:25.189Z", "0", "1", "1", "0", "0", "0", "0", "0", "0", "0", "control_plane", "[]", "[]", "[]", "[]", "[]", "[]", "[]", "{}", "{}", "{}", "[]", "{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}", null, null, null]
insert into "clients" ("client_id", "client_secret", "name", "app_type", "is_first_party", "grant_types", "created_at", "updated_at", "global", "oidc_conformant", "auth0_conformant", "sso", "sso_disabled", "cross_origin_authentication", "custom_login_page_on", "require_pushed_authorization_requests", "require_proof_of_possession", "hide_sign_up_disabled_error", "tenant_id", "callbacks", "allowed_origins", "web_origins", "client_aliases", "allowed_clients", "connections", "allowed_logout_urls", "session_transfer", "oidc_logout", "jwt_configuration", "signing_keys", "encryption_key", "addons", "client_metadata", "mobile", "native_social_login", "refresh_token", "default_organization", "client_authentication_methods", "signed_request_object", "token_quota", "owner_user_id", "registration_type", "registration_metadata") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "100", "0"]
select * from "client_grants" where "client_grants"."tenant_id" = $1 order by "client_grants"."created_at" desc limit $2 offset $3;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["p28HMJMuaKTRQXaCO-IvZ", "control_plane", "jIbXGQy19XHqwcP9jKHFC", "urn:authhero:management", "[\"read:client_grants\",\"create:client_grants\",\"delete:client_grants\",\"update:client_grants\",\"read:users\",\"update:users\",\"delete:users\",\"create:users\",\"read:users_app_metadata\",\"update:users_app_metadat", "[]", "2026-11-20T18:27:25.198Z", "2026-11-20T18:27:25.198Z"]
insert into "client_grants" ("id", "tenant_id", "client_id", "audience", "scope", "authorization_details_types", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "control_plane", "10"]
select * from "organizations" where "tenant_id" = $1 and "name" = $2 order by "created_at" desc limit $3;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["org_Sk73bwyWrxZPSiLWQxYV2", "control_plane", "Control Plane", "control_plane", "2026-11-20T18:27:25.208Z", "2026-11-20T18:27:25.208Z", "{}", "{}", "[]", "{}"]
insert into "organizations" ("id", "name", "display_name", "tenant_id", "created_at", "updated_at", "branding", "metadata", "enabled_connections", "token_quota") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "50", "0"]
select * from "roles" where "roles"."tenant_id" = $1 limit $2 offset $3;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["DsxQrJ8AevRtUz5tGhLFw", "Tenant Admin", "Full access to tenant management operations", "control_plane", "0", "2026-11-20T18:27:25.212Z", "2026-11-20T18:27:25.212Z"]
insert into "roles" ("id", "name", "description", "tenant_id", "is_system", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7);

-- [DML ext x250] tags={"INSERT 0 n": 250}
--   e.g. params ["control_plane", "DsxQrJ8AevRtUz5tGhLFw", "urn:authhero:management", "read:client_grants", "2026-11-20T18:27:25.215Z"]
insert into "role_permissions" ("tenant_id", "role_id", "resource_server_identifier", "permission_name", "created_at") values ($1, $2, $3, $4, $5);

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "control_plane", "auth0|d2e4272345c3192c9e6c15d8", "50", "0"]
select "organizations"."id", "organizations"."name", "organizations"."display_name", "organizations"."branding", "organizations"."metadata", "organizations"."enabled_connections", "organizations"."token_quota", "organizations"."created_at", "organizations"."updated_at", "user_organizations"."created_at" as "joined_at" from "user_organizations" inner join "organizations" on "organizations"."id" = "user_organizations"."organization_id" and "organizations"."tenant_id" = $1 where "user_organizations"."tenant_id" = $2 and "user_organizations"."user_id" = $3 order by "user_organizations"."created_at" desc limit $4 offset $5;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "control_plane", "auth0|d2e4272345c3192c9e6c15d8"]
select count("user_organizations"."id") as "count" from "user_organizations" inner join "organizations" on "organizations"."id" = "user_organizations"."organization_id" and "organizations"."tenant_id" = $1 where "user_organizations"."tenant_id" = $2 and "user_organizations"."user_id" = $3;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["-bIio4pzn7Mif9S5axk_p", "control_plane", "auth0|d2e4272345c3192c9e6c15d8", "org_Sk73bwyWrxZPSiLWQxYV2", "2026-11-20T18:27:25.622Z", "2026-11-20T18:27:25.622Z"]
insert into "user_organizations" ("id", "tenant_id", "user_id", "organization_id", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6);

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["control_plane", "auth0|d2e4272345c3192c9e6c15d8", "org_Sk73bwyWrxZPSiLWQxYV2"]
select "r"."id", "r"."name", "r"."description", "r"."created_at", "r"."updated_at" from "user_roles" as "ur" inner join "roles" as "r" on "ur"."role_id" = "r"."id" and "ur"."tenant_id" = "r"."tenant_id" where "ur"."tenant_id" = $1 and "ur"."user_id" = $2 and "ur"."organization_id" = $3;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["control_plane", "auth0|d2e4272345c3192c9e6c15d8", "DsxQrJ8AevRtUz5tGhLFw", "org_Sk73bwyWrxZPSiLWQxYV2", "2026-11-20T18:27:25.626Z"]
insert into "user_roles" ("tenant_id", "user_id", "role_id", "organization_id", "created_at") values ($1, $2, $3, $4, $5);

-- ==== phase: setup.app-client

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["mock-email", "1", "{\"api_key\":\"k\"}", "control_plane", "2026-11-20T18:27:25.648Z", "2026-11-20T18:27:25.648Z"]
insert into "email_providers" ("name", "enabled", "credentials", "tenant_id", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6);

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["web", "s3cret", "Web", "[\"https://example.com/callback\"]", "[\"https://example.com\"]", "[\"https://example.com\"]", "[\"authorization_code\",\"refresh_token\",\"client_credentials\",\"password\",\"http://auth0.com/oauth/grant-type/password-realm\",\"http://auth0.com/oauth/grant-type/passwordless/otp\"]", "{\"email_validation\":\"disabled\"}", "2026-11-20T18:27:25.650Z", "2026-11-20T18:27:25.650Z", "0", "1", "1", "1", "0", "0", "0", "0", "0", "0", "0", "control_plane", "[]", "[]", "[]", "[]", "{}", "{}", "{}", "[]", "{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}", "{}", null, null, null]
insert into "clients" ("client_id", "client_secret", "name", "callbacks", "allowed_logout_urls", "web_origins", "grant_types", "client_metadata", "created_at", "updated_at", "global", "is_first_party", "oidc_conformant", "auth0_conformant", "sso", "sso_disabled", "cross_origin_authentication", "custom_login_page_on", "require_pushed_authorization_requests", "require_proof_of_possession", "hide_sign_up_disabled_error", "tenant_id", "allowed_origins", "client_aliases", "allowed_clients", "connections", "session_transfer", "oidc_logout", "jwt_configuration", "signing_keys", "encryption_key", "addons", "mobile", "native_social_login", "refresh_token", "default_organization", "client_authentication_methods", "signed_request_object", "token_quota", "owner_user_id", "registration_type", "registration_metadata") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42);

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["{}", "2026-11-20T18:27:25.658Z", "con_4ykgtw55466y4ik6i", "control_plane"]
update "connections" set "options" = $1, "updated_at" = $2 where "connections"."id" = $3 and "connections"."tenant_id" = $4;

-- [DML ext x3] tags={"UPDATE n": 3}
--   e.g. params ["[\"con_4ykgtw55466y4ik6i\"]", "2026-11-20T18:27:25.660Z", "control_plane", "web"]
update "clients" set "connections" = $1, "updated_at" = $2 where "clients"."tenant_id" = $3 and "clients"."client_id" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["email", "email", "email", "{}", "0", "2026-11-20T18:27:25.661Z", "2026-11-20T18:27:25.661Z", "control_plane"]
insert into "connections" ("id", "name", "strategy", "options", "is_system", "created_at", "updated_at", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["api_cvmnfsxjv8oiplqxa", "App API", "https://app.example.com", "86400", "7200", "2026-11-20T18:27:25.662Z", "2026-11-20T18:27:25.662Z", "control_plane", "[]", "{}", "0", "1", "0"]
insert into "resource_servers" ("id", "name", "identifier", "token_lifetime", "token_lifetime_for_web", "created_at", "updated_at", "tenant_id", "scopes", "options", "skip_consent_for_verifiable_first_party_clients", "allow_offline_access", "is_system") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["https://app.example.com", "control_plane", "2026-11-20T18:27:25.664Z", "control_plane"]
update "tenants" set "default_audience" = $1, "id" = $2, "updated_at" = $3 where "id" = $4;

-- ==== phase: http.signup

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["web"]
select * from "clients" where "clients"."client_id" = $1;

-- [READ ext x26] tags={"SELECT n": 26}
--   e.g. params ["control_plane", "web"]
select "connections" from "clients" where "clients"."tenant_id" = $1 and "clients"."client_id" = $2;

-- [READ ext x23] tags={"SELECT n": 23}
--   e.g. params ["control_plane", "con_4ykgtw55466y4ik6i"]
select * from "connections" where "connections"."tenant_id" = $1 and "connections"."id" in ($2);

-- [READ ext x17] tags={"SELECT n": 17}
--   e.g. params ["control_plane", "alice@example.com", "auth2", "10", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."email" = $2 and "users"."provider" = $3 limit $4 offset $5;

-- [READ ext x24] tags={"SELECT n": 24}
--   e.g. params ["control_plane"]
select * from "branding" where "branding"."tenant_id" = $1;

-- [READ ext x45] tags={"SELECT n": 45}
--   e.g. params ["control_plane", "50", "0"]
select * from "hooks" where "hooks"."tenant_id" = $1 order by "priority" desc, "created_at_ts" asc limit $2 offset $3;

-- [READ ext x22] tags={"SELECT n": 22}
--   e.g. params ["control_plane", "default"]
select * from "themes" where "themes"."tenant_id" = $1 and "themes"."themeId" = $2;

-- [READ ext x25] tags={"SELECT n": 25}
--   e.g. params ["control_plane"]
select * from "prompt_settings" where "prompt_settings"."tenant_id" = $1;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["auth0|657e3b654cdc3855016a25c9", "alice@example.com", "0", "auth0", "Username-Password-Authentication", "0", "2026-11-20T18:27:25.979Z", "2026-11-20T18:27:25.979Z", "control_plane", null, "0", null]
insert into "users" ("user_id", "email", "email_verified", "provider", "connection", "is_social", "created_at", "updated_at", "tenant_id", "phone_verified", "blocked", "address") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- [DML ext x66] tags={"INSERT 0 n": 66}
--   e.g. params ["MA4EWtasbpxtYa6876-Gp", "control_plane", "hook.post-user-registration", "sapi", "user", "auth0|657e3b654cdc3855016a25c9", "{\"tenant_id\":\"control_plane\",\"event_type\":\"hook.post-user-registration\",\"log_type\":\"sapi\",\"description\":\"Enqueued post-user-registration hook dispatch\",\"category\":\"system\",\"actor\":{\"type\":\"client_cred", "2026-11-20T18:27:25.983Z", null, "0", null, null]
insert into "outbox_events" ("id", "tenant_id", "event_type", "log_type", "aggregate_type", "aggregate_id", "payload", "created_at", "processed_at", "retry_count", "next_retry_at", "error") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["CX13BRs9kIXWTcVKtfex3", "ticket", "CX13BRs9kIXWTcVKtfex3", "auth0|657e3b654cdc3855016a25c9", "2026-11-25T18:27:25.986Z", "{\"purpose\":\"email_verification\"}", "2026-11-20T18:27:25.986Z", "control_plane", "1795631245986"]
insert into "codes" ("code_id", "code_type", "login_id", "user_id", "expires_at", "state", "created_at", "tenant_id", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- [READ ext x6] tags={"SELECT n": 6}
--   e.g. params ["control_plane"]
select * from "email_providers" where "email_providers"."tenant_id" = $1;

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["control_plane", "verify_email"]
select * from "email_templates" where "tenant_id" = $1 and "template" = $2;

-- ==== phase: http.signup.duplicate

-- [DML ext x3] tags={"UPDATE n": 3}
--   e.g. params ["bc8d670e-09b0-43f1-b11c-91bee48a5719", "2026-11-20T18:27:56.027Z", "MA4EWtasbpxtYa6876-Gp", "EOHQw0gXDMeHQouY8eM1U", "8GUdbEjaGHAB69l5EGCEF", "2026-11-20T18:27:26.027Z"]
update "outbox_events" set "claimed_by" = $1, "claim_expires_at" = $2 where "id" in ($3, $4, $5) and "processed_at" is null and ("claimed_by" is null or "claim_expires_at" <= $6);

-- [READ ext x15] tags={"SELECT n": 15}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9"]
select * from "users" where "users"."tenant_id" = $1 and "users"."linked_to" in ($2) order by "created_at" asc;

-- ==== phase: http.login.wrong-password

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["MA4EWtasbpxtYa6876-Gp", "EOHQw0gXDMeHQouY8eM1U", "8GUdbEjaGHAB69l5EGCEF", "bc8d670e-09b0-43f1-b11c-91bee48a5719", "2026-11-20T18:27:56.027Z"]
select "id" from "outbox_events" where "id" in ($1, $2, $3) and "claimed_by" = $4 and "claim_expires_at" = $5;

-- [READ ext x10] tags={"SELECT n": 10}
--   e.g. params ["MA4EWtasbpxtYa6876-Gp", "EOHQw0gXDMeHQouY8eM1U", "8GUdbEjaGHAB69l5EGCEF"]
select * from "outbox_events" where "id" in ($1, $2, $3);

-- [DML ext x4] tags={"INSERT 0 n": 4}
--   e.g. params ["01M7X3D7QMG2R9YA6XAGR1YBV1", "bbSfkWu624zy22knZ9zx8", "pending", "control_plane", "{\"client_id\":\"web\",\"username\":\"alice@example.com\",\"audience\":\"https://app.example.com\"}", "1795199246068", "1795199246068", "1795285646068"]
insert into "login_sessions" ("id", "csrf_token", "state", "tenant_id", "auth_params", "created_at_ts", "updated_at_ts", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x3] tags={"UPDATE n": 3}
--   e.g. params ["2026-11-20T18:27:26.077Z", "2026-11-20T18:27:26.077Z", "control_plane", "auth0|657e3b654cdc3855016a25c9"]
update "users" set "registration_completed_at" = $1, "updated_at" = $2 where "users"."tenant_id" = $3 and "users"."user_id" = $4;

-- [DML ext x8] tags={"INSERT 0 n": 8}
--   e.g. params ["EOHQw0gXDMeHQouY8eM1U", "svr", "2026-11-20T18:27:26.023Z", "alice@example.com", "", "", "auth0|657e3b654cdc3855016a25c9", "alice@example.com", "web", "Web", "Username-Password-Authentication", "con_4ykgtw55466y4ik6i", "", "localhost:3000", "0", "{\"request\":{\"method\":\"POST\",\"path\":\"/dbconnections/signup\",\"qs\":{}}}", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_id", "client_name", "connection", "connection_id", "audience", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- [READ ext x54] tags={"SELECT n": 54}
--   e.g. params ["control_plane"]
select * from "log_streams" where "tenant_id" = $1;

-- [READ ext x9] tags={"SELECT n": 9}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9"]
select * from "user_activity" where "tenant_id" = $1 and "user_id" = $2;

-- [DML ext x10] tags={"UPDATE n": 10}
--   e.g. params ["2026-11-20T18:27:26.096Z", "MA4EWtasbpxtYa6876-Gp", "EOHQw0gXDMeHQouY8eM1U", "8GUdbEjaGHAB69l5EGCEF"]
update "outbox_events" set "processed_at" = $1 where "id" in ($2, $3, $4);

-- [READ ext x5] tags={"SELECT n": 5}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9", "1"]
select * from "passwords" where "passwords"."tenant_id" = $1 and "passwords"."user_id" = $2 and "passwords"."is_current" = $3;

-- [READ ext x9] tags={"SELECT n": 9}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9"]
select "user_id" from "user_activity" where "tenant_id" = $1 and "user_id" = $2;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9", "0", "[\"2026-11-20T18:27:26.233Z\"]"]
insert into "user_activity" ("tenant_id", "user_id", "login_count", "failed_logins") values ($1, $2, $3, $4);

-- ==== phase: http.login

-- [DML ext x7] tags={"UPDATE n": 7}
--   e.g. params ["037d5385-3fc2-44ae-bf53-d6933d9da187", "2026-11-20T18:27:56.248Z", "RW1hZP2_C0EeZ9CHb4mYP", "8TIAKQREyNVoIFVIUlyur", "2026-11-20T18:27:26.248Z"]
update "outbox_events" set "claimed_by" = $1, "claim_expires_at" = $2 where "id" in ($3, $4) and "processed_at" is null and ("claimed_by" is null or "claim_expires_at" <= $5);

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["RW1hZP2_C0EeZ9CHb4mYP", "8TIAKQREyNVoIFVIUlyur", "037d5385-3fc2-44ae-bf53-d6933d9da187", "2026-11-20T18:27:56.248Z"]
select "id" from "outbox_events" where "id" in ($1, $2) and "claimed_by" = $3 and "claim_expires_at" = $4;

-- [DML ext x3] tags={"UPDATE n": 3}
--   e.g. params ["[]", "control_plane", "auth0|657e3b654cdc3855016a25c9"]
update "user_activity" set "failed_logins" = $1 where "tenant_id" = $2 and "user_id" = $3;

-- [READ ext x68] tags={"SELECT n": 68}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."user_id" = $2;

-- [READ ext x68] tags={"SELECT n": 68}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9"]
select * from "users" where "users"."tenant_id" = $1 and "users"."linked_to" = $2 order by "created_at" asc;

-- [DML ext x3] tags={"UPDATE n": 3}
--   e.g. params ["{\"strategy\":\"Username-Password-Authentication\"}", "2026-11-20T18:27:26.465Z", "control_plane", "auth0|657e3b654cdc3855016a25c9"]
update "users" set "app_metadata" = $1, "updated_at" = $2 where "users"."tenant_id" = $3 and "users"."user_id" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["EibiA6xDnKOx-TJyToBng5a1K-38yvM3", "ticket", "01M7X3D7Y2DPCW1T8F9MR5416X", "2026-11-20T18:57:26.490Z", "81Wc1K2OjC3m|DDK1Rm5g-Uqb5SxyW_8CYkZbgPHMZumYRv-w7ig-gAc", "2026-11-20T18:27:26.490Z", "control_plane", "1795201046490"]
insert into "codes" ("code_id", "code_type", "login_id", "expires_at", "code_verifier", "created_at", "tenant_id", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- ==== phase: http.authorize

-- [DML ext x3] tags={"UPDATE n": 3}
--   e.g. params ["2026-11-20T18:27:26.485Z", "", "1", "control_plane", "auth0|657e3b654cdc3855016a25c9"]
update "user_activity" set "last_login" = $1, "last_ip" = $2, "login_count" = $3 where "tenant_id" = $4 and "user_id" = $5;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["_-aRuNJkg6zPBHwHgHyU8", "s", "2026-11-20T18:27:26.490Z", "Successful login for auth0|657e3b654cdc3855016a25c9", "", "", "auth0|657e3b654cdc3855016a25c9", "alice@example.com", "web", "Web", "Username-Password-Authentication", "con_4ykgtw55466y4ik6i", "Username-Password-Authentication", "database", "", "localhost:3000", "0", "{\"request\":{\"method\":\"POST\",\"path\":\"/co/authenticate\",\"qs\":{}}}", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_id", "client_name", "connection", "connection_id", "strategy", "strategy_type", "audience", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19);

-- [READ ext x22] tags={"SELECT n": 22}
--   e.g. params ["st"]
select * from "login_sessions" where "login_sessions"."id" = $1;

-- [READ ext x6] tags={"SELECT n": 6}
--   e.g. params ["EibiA6xDnKOx-TJyToBng5a1K-38yvM3", "ticket", "control_plane"]
select * from "codes" where "codes"."code_id" = $1 and "codes"."code_type" = $2 and "codes"."tenant_id" = $3;

-- [DML ext x5] tags={"UPDATE n": 5}
--   e.g. params ["2026-11-20T18:27:26.534Z", "control_plane", "EibiA6xDnKOx-TJyToBng5a1K-38yvM3"]
update "codes" set "used_at" = $1 where "codes"."tenant_id" = $2 and "codes"."code_id" = $3;

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["01M7X3D86TY65RAT3XR0K12NWC", "auth0|657e3b654cdc3855016a25c9", "01M7X3D7Y2DPCW1T8F9MR5416X", "control_plane", "1795199246554", "1795199246554", "1795199246554", "1795199246554", null, null, null, null, "{\"last_ip\":\"\",\"initial_ip\":\"\",\"last_user_agent\":\"\",\"initial_user_agent\":\"\",\"initial_asn\":\"\",\"last_asn\":\"\"}", "[\"web\"]"]
insert into "sessions" ("id", "user_id", "login_session_id", "tenant_id", "created_at_ts", "updated_at_ts", "authenticated_at_ts", "last_interaction_at_ts", "expires_at_ts", "idle_expires_at_ts", "used_at_ts", "revoked_at_ts", "device", "clients") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["01M7X3D86TY65RAT3XR0K12NWC", "authenticated", "auth0|657e3b654cdc3855016a25c9", "2026-11-20T18:27:26.554Z", "Username-Password-Authentication", "auth0", "database", "1795199246562", "01M7X3D7Y2DPCW1T8F9MR5416X", "control_plane"]
update "login_sessions" set "session_id" = $1, "state" = $2, "user_id" = $3, "authenticated_at" = $4, "auth_connection" = $5, "auth_strategy_strategy" = $6, "auth_strategy_strategy_type" = $7, "updated_at_ts" = $8 where "login_sessions"."id" = $9 and "login_sessions"."tenant_id" = $10;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["js5-yhxDeHbH1Qsm57FtEZOE8YDRpcYl", "auth0|657e3b654cdc3855016a25c9", "authorization_code", "01M7X3D7Y2DPCW1T8F9MR5416X", "2026-11-20T18:32:26.581Z", "_-BU_nrgy23GXDr5th1SCfQ5hR20PQulmXM33xVGaOs", "S256", "https://example.com/callback", "st", "n", "2026-11-20T18:27:26.581Z", "control_plane", "1795199546581"]
insert into "codes" ("code_id", "user_id", "code_type", "login_id", "expires_at", "code_challenge", "code_challenge_method", "redirect_uri", "state", "nonce", "created_at", "tenant_id", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["completed", "Username-Password-Authentication", "1795199246585", "01M7X3D7Y2DPCW1T8F9MR5416X", "control_plane"]
update "login_sessions" set "state" = $1, "auth_connection" = $2, "updated_at_ts" = $3 where "login_sessions"."id" = $4 and "login_sessions"."tenant_id" = $5;

-- ==== phase: http.token.code

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["963tId3C4_3xS6qJwnu20", "s", "2026-11-20T18:27:26.582Z", "Successful login for auth0|657e3b654cdc3855016a25c9", "", "", "auth0|657e3b654cdc3855016a25c9", "alice@example.com", "web", "Web", "Username-Password-Authentication", "con_4ykgtw55466y4ik6i", "auth0", "database", "https://app.example.com", "openid profile email offline_access", "localhost:3000", "0", "{\"request\":{\"method\":\"GET\",\"path\":\"/authorize\",\"qs\":{\"client_id\":\"web\",\"response_type\":\"code\",\"redirect_uri\":\"https://example.com/callback\",\"scope\":\"openid profile email offline_access\",\"state\":\"st\",\"", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_id", "client_name", "connection", "connection_id", "strategy", "strategy_type", "audience", "scope", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20);

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["control_plane", "01M7X3D86TY65RAT3XR0K12NWC"]
select * from "sessions" where "sessions"."tenant_id" = $1 and "sessions"."id" = $2;

-- [READ ext x67] tags={"SELECT n": 67}
--   e.g. params ["2026-11-20T18:27:26.631Z", "jwt_signing", "1000", "0"]
select * from "keys" where ("revoked_at" > $1 or "revoked_at" is null) and "type" = $2 and "tenant_id" is null order by "created_at" desc limit $3 offset $4;

-- ==== phase: http.token.code.replay

-- [DML ext x43] tags={"UPDATE n": 43}
--   e.g. params ["8cdb921a-db4e-434b-9624-b0ee28df4c6b", "2026-11-20T18:27:56.643Z", "-zTUyhJIl33KgyWZSPjnO", "2026-11-20T18:27:26.643Z"]
update "outbox_events" set "claimed_by" = $1, "claim_expires_at" = $2 where "id" in ($3) and "processed_at" is null and ("claimed_by" is null or "claim_expires_at" <= $4);

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["1795199246663", "control_plane", "01M7X3D7Y2DPCW1T8F9MR5416X"]
update "refresh_tokens" set "revoked_at_ts" = $1 where "tenant_id" = $2 and "login_id" = $3 and "revoked_at_ts" is null;

-- [READ ext x43] tags={"SELECT n": 43}
--   e.g. params ["-zTUyhJIl33KgyWZSPjnO", "8cdb921a-db4e-434b-9624-b0ee28df4c6b", "2026-11-20T18:27:56.643Z"]
select "id" from "outbox_events" where "id" in ($1) and "claimed_by" = $2 and "claim_expires_at" = $3;

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["1795199246668", "1795199246663", "control_plane", "01M7X3D86TY65RAT3XR0K12NWC"]
update "sessions" set "updated_at_ts" = $1, "revoked_at_ts" = $2 where "tenant_id" = $3 and "sessions"."id" = $4;

-- [READ ext x42] tags={"SELECT n": 42}
--   e.g. params ["-zTUyhJIl33KgyWZSPjnO"]
select * from "outbox_events" where "id" in ($1);

-- ==== phase: http.authorize.silent

-- [DML ext x43] tags={"UPDATE n": 43}
--   e.g. params ["2026-11-20T18:27:26.681Z", "-zTUyhJIl33KgyWZSPjnO"]
update "outbox_events" set "processed_at" = $1 where "id" in ($2);

-- ==== phase: http.passwordless

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["243715", "otp", "01M7X3D8C0DFWKKF81JYSGFXTN", "2026-11-20T18:57:26.722Z", "https://example.com/callback", "2026-11-20T18:27:26.722Z", "control_plane", "1795201046722"]
insert into "codes" ("code_id", "code_type", "login_id", "expires_at", "redirect_uri", "created_at", "tenant_id", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- ==== phase: http.passwordless.code

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["d8ca7QdZsoKpNCUCunROu", "cls", "2026-11-20T18:27:26.737Z", "bob@example.com", "", "", "", "", "web", "Web", "", "", "localhost:3000", "0", "{\"request\":{\"method\":\"POST\",\"path\":\"/passwordless/start\",\"qs\":{}}}", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_id", "client_name", "connection_id", "audience", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- [READ ext x7] tags={"SELECT n": 7}
--   e.g. params ["control_plane", "bob@example.com", "10", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."email" = $2 limit $3 offset $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["email|8e50b17b1d4948dd2fc2c472", "bob@example.com", "bob@example.com", "email", "email", "1", "0", "{}", "2026-11-20T18:27:26.771Z", "2026-11-20T18:27:26.771Z", "control_plane", null, "0", null]
insert into "users" ("user_id", "email", "name", "provider", "connection", "email_verified", "is_social", "profileData", "created_at", "updated_at", "tenant_id", "phone_verified", "blocked", "address") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["control_plane", "email|8e50b17b1d4948dd2fc2c472", "2026-11-20T18:27:26.765Z", "", "0"]
insert into "user_activity" ("tenant_id", "user_id", "last_login", "last_ip", "login_count") values ($1, $2, $3, $4, $5);

-- ==== phase: http.universal-login.authorize

-- [DML ext x3] tags={"INSERT 0 n": 3}
--   e.g. params ["Tka-4_9efLOSkM9fcml_m", "seotpft", "2026-11-20T18:27:26.806Z", "", "", "", "email|8e50b17b1d4948dd2fc2c472", "bob@example.com", "web", "Web", "email", "email", "https://app.example.com", "openid profile email offline_access", "localhost:3000", "0", "{\"request\":{\"method\":\"POST\",\"path\":\"/oauth/token\",\"qs\":{}}}", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_id", "client_name", "connection", "connection_id", "audience", "scope", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18);

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["01M7X3D8FPGV8ZJPXPFJEP8F0G", "X3KSkpBF69Ai7w56_UpSO", "http://localhost:3000/authorize?client_id=web&response_type=code&redirect_uri=https%3A%2F%2Fexample.com%2Fcallback&scope=openid+profile+email+offline_access&state=st3&nonce=n3&audience=https%3A%2F%2Fa", "pending", "control_plane", "{\"redirect_uri\":\"https://example.com/callback\",\"scope\":\"openid profile email offline_access\",\"state\":\"st3\",\"client_id\":\"web\",\"audience\":\"https://app.example.com\",\"nonce\":\"n3\",\"response_type\":\"code\"}", "1795199246838", "1795199246838", "1795285646838"]
insert into "login_sessions" ("id", "csrf_token", "authorization_url", "state", "tenant_id", "auth_params", "created_at_ts", "updated_at_ts", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- ==== phase: http.universal-login.identifier

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["01M7X3D8FPGV8ZJPXPFJEP8F0G", "control_plane"]
select "auth_params" from "login_sessions" where "login_sessions"."id" = $1 and "login_sessions"."tenant_id" = $2;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["X3KSkpBF69Ai7w56_UpSO", "http://localhost:3000/authorize?client_id=web&response_type=code&redirect_uri=https%3A%2F%2Fexample.com%2Fcallback&scope=openid+profile+email+offline_access&state=st3&nonce=n3&audience=https%3A%2F%2Fa", "pending", "{\"redirect_uri\":\"https://example.com/callback\",\"scope\":\"openid profile email offline_access\",\"state\":\"st3\",\"client_id\":\"web\",\"audience\":\"https://app.example.com\",\"nonce\":\"n3\",\"response_type\":\"code\",\"u", "1795199246920", "1795285646838", "01M7X3D8FPGV8ZJPXPFJEP8F0G", "control_plane"]
update "login_sessions" set "csrf_token" = $1, "authorization_url" = $2, "state" = $3, "auth_params" = $4, "updated_at_ts" = $5, "expires_at_ts" = $6 where "login_sessions"."id" = $7 and "login_sessions"."tenant_id" = $8;

-- ==== phase: http.universal-login.password

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["wuN9XUwANQRd0qs_e6_jPGEoPZ_1Jzzz", "auth0|657e3b654cdc3855016a25c9", "authorization_code", "01M7X3D8FPGV8ZJPXPFJEP8F0G", "2026-11-20T18:32:27.428Z", "https://example.com/callback", "st3", "n3", "2026-11-20T18:27:27.428Z", "control_plane", "1795199547428"]
insert into "codes" ("code_id", "user_id", "code_type", "login_id", "expires_at", "redirect_uri", "state", "nonce", "created_at", "tenant_id", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- ==== phase: http.token.code.offline

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["01M7X3D9373MME5K2SQDHRG5ZN", "01M7X3D8FPGV8ZJPXPFJEP8F0G", "web", "auth0|657e3b654cdc3855016a25c9", "vG4vThlUyQ", "3c6f0d6ae3b5eb3257eebfbdd1dd49079b0d2e1923b17f44f942b559c68ade8d", "01M7X3D9373MME5K2SQDHRG5ZN", "control_plane", "0", "{\"last_user_agent\":\"\",\"initial_user_agent\":\"\",\"initial_asn\":\"\",\"last_asn\":\"\"}", "[{\"audience\":\"https://app.example.com\",\"scopes\":\"openid profile email offline_access\"}]", "1795199247464", null, null, null, null]
insert into "refresh_tokens" ("id", "login_id", "client_id", "user_id", "token_lookup", "token_hash", "family_id", "tenant_id", "rotating", "device", "resource_servers", "created_at_ts", "expires_at_ts", "idle_expires_at_ts", "last_exchanged_at_ts", "rotated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- ==== phase: http.token.refresh

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["control_plane", "vG4vThlUyQ"]
select * from "refresh_tokens" where "refresh_tokens"."tenant_id" = $1 and "refresh_tokens"."token_lookup" = $2;

-- ==== phase: http.token.refresh.rotating

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["{\"rotation_type\":\"rotating\"}", "2026-11-20T18:27:27.561Z", "control_plane", "web"]
update "clients" set "refresh_token" = $1, "updated_at" = $2 where "clients"."tenant_id" = $3 and "clients"."client_id" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["01M7X3D970E1CRY2VW022RR1CT", "01M7X3D8FPGV8ZJPXPFJEP8F0G", "auth0|657e3b654cdc3855016a25c9", "web", "Ido1JaQAVQ", "7488e666e26e61f5b0f3d3c37249d07b5694e681715ead5ea7a0cdb92c1d585c", "01M7X3D9373MME5K2SQDHRG5ZN", "control_plane", "1", "{\"last_user_agent\":\"\",\"initial_user_agent\":\"\",\"initial_asn\":\"\",\"last_asn\":\"\",\"last_ip\":\"\"}", "[{\"audience\":\"https://app.example.com\",\"scopes\":\"openid profile email offline_access\"}]", "1795199247584", null, null, null, null]
insert into "refresh_tokens" ("id", "login_id", "user_id", "client_id", "token_lookup", "token_hash", "family_id", "tenant_id", "rotating", "device", "resource_servers", "created_at_ts", "expires_at_ts", "idle_expires_at_ts", "last_exchanged_at_ts", "rotated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["01M7X3D970E1CRY2VW022RR1CT", "01M7X3D9373MME5K2SQDHRG5ZN", "1795199247587", "control_plane", "01M7X3D9373MME5K2SQDHRG5ZN"]
update "refresh_tokens" set "rotated_to" = $1, "family_id" = $2, "rotated_at_ts" = $3 where "tenant_id" = $4 and "refresh_tokens"."id" = $5;

-- ==== phase: http.revoke

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795199247667", "control_plane", "01M7X3D9373MME5K2SQDHRG5ZN"]
update "refresh_tokens" set "revoked_at_ts" = $1 where "tenant_id" = $2 and "refresh_tokens"."id" = $3;

-- ==== phase: http.token.client_credentials

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "web", "50", "0"]
select * from "client_grants" where "client_grants"."tenant_id" = $1 and "client_grants"."client_id" = $2 order by "client_grants"."created_at" desc limit $3 offset $4;

-- ==== phase: mgmt.users.create

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["O_OisnLgJNwIT9_WAXk4i", "seccft", "2026-11-20T18:27:27.733Z", "", "", "", "", "", "web", "Web", "", "urn:authhero:management", "read:users create:users", "localhost:3000", "0", "{\"request\":{\"method\":\"POST\",\"path\":\"/oauth/token\",\"qs\":{}}}", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_id", "client_name", "connection_id", "audience", "scope", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17);

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["control_plane", "email"]
select * from "connections" where "connections"."tenant_id" = $1 and "connections"."id" = $2;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["{\"plan\":\"pro\"}", "{\"a\":[1,2],\"s\":\"O'Hara \\\\ é 😀\"}", "carol@example.com", "email|70664de4a534cb54198c838c", "carol@example.com", "email", "email", "1", "0", "2026-11-20T18:27:27.786Z", "2026-11-20T18:27:27.786Z", "control_plane", null, "0", null]
insert into "users" ("app_metadata", "user_metadata", "email", "user_id", "name", "provider", "connection", "email_verified", "is_social", "created_at", "updated_at", "tenant_id", "phone_verified", "blocked", "address") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- ==== phase: mgmt.users.list

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "5", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."linked_to" is null order by "users"."created_at" desc limit $2 offset $3;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c", "email|8e50b17b1d4948dd2fc2c472", "auth0|657e3b654cdc3855016a25c9", "auth0|d2e4272345c3192c9e6c15d8"]
select * from "users" where "users"."tenant_id" = $1 and "users"."linked_to" in ($2, $3, $4, $5) order by "created_at" asc;

-- [READ ext x1] ERRORS={"42803 column \"users.created_at\" must appear in the GROUP BY clause or be used in an aggregate function": 1}
--   e.g. params ["control_plane"]
select count(*) as "count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."linked_to" is null order by "users"."created_at" desc;

-- [DML ext x33] tags={"INSERT 0 n": 33}
--   e.g. params ["Alyz2nL8Sd_PU7GWRh6qI", "sapi", "2026-11-20T18:27:27.807Z", "User created", "", "", "email|70664de4a534cb54198c838c", "carol@example.com", "", "", "", "openid", "localhost:3000", "0", "{\"request\":{\"method\":\"POST\",\"path\":\"/users\",\"qs\":{},\"body\":{\"email\":\"carol@example.com\",\"app_metadata\":{\"plan\":\"pro\"},\"user_metadata\":{\"a\":[1,2],\"s\":\"O'Hara \\\\ é 😀\"},\"email_verified\":true,\"connection\"", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_name", "connection_id", "audience", "scope", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- ==== phase: mgmt.users.search

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "carol@example.com", "50", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."linked_to" is null and "users"."email" = $2 limit $3 offset $4;

-- ==== phase: mgmt.users.search.wild

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "bob@example.com", "0", "50", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."linked_to" is null and "users"."email" != $2 and coalesce("user_activity"."login_count", 0) >= $3 limit $4 offset $5;

-- ==== phase: mgmt.users.free

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "%carol%", "%carol%", "%carol%", "carol", "50", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."linked_to" is null and ("users"."email" like $2 or "users"."name" like $3 or "users"."phone_number" like $4 or "users"."user_id" = $5) limit $6 offset $7;

-- ==== phase: mgmt.users.update

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["Carol", "{\"b\":true}", "0", "2026-11-20T18:27:27.976Z", "control_plane", "email|70664de4a534cb54198c838c"]
update "users" set "name" = $1, "user_metadata" = $2, "blocked" = $3, "updated_at" = $4 where "users"."tenant_id" = $5 and "users"."user_id" = $6;

-- ==== phase: mgmt.users.update.verify

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["+4670000000", "0", "2026-11-20T18:27:28.051Z", "control_plane", "email|70664de4a534cb54198c838c"]
update "users" set "phone_number" = $1, "email_verified" = $2, "updated_at" = $3 where "users"."tenant_id" = $4 and "users"."user_id" = $5;

-- ==== phase: mgmt.roles.perm.add

-- [READ ext x4] tags={"SELECT n": 4}
--   e.g. params ["control_plane", "xZAjlbw7JIjt2N_sK6e2_"]
select * from "roles" where "roles"."tenant_id" = $1 and "roles"."id" = $2;

-- ==== phase: mgmt.roles.perm.list

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "xZAjlbw7JIjt2N_sK6e2_", "50", "0"]
select "role_permissions"."role_id", "role_permissions"."resource_server_identifier", "role_permissions"."permission_name", "role_permissions"."created_at", "resource_servers"."name" as "resource_server_name" from "role_permissions" left join "resource_servers" on "role_permissions"."tenant_id" = "resource_servers"."tenant_id" and "role_permissions"."resource_server_identifier" = "resource_servers"."id" where "role_permissions"."tenant_id" = $1 and "role_permissions"."role_id" = $2 limit $3 offset $4;

-- ==== phase: mgmt.users.perm.add

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c", "https://api.example.com", "w:x", "", "2026-11-20T18:27:28.393Z"]
insert into "user_permissions" ("tenant_id", "user_id", "resource_server_identifier", "permission_name", "organization_id", "created_at") values ($1, $2, $3, $4, $5, $6);

-- ==== phase: mgmt.users.perm.list

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c"]
select "user_permissions"."resource_server_identifier", "user_permissions"."permission_name", "resource_servers"."name" as "resource_server_name", "user_permissions"."user_id", "user_permissions"."created_at", "user_permissions"."organization_id" from "user_permissions" left join "resource_servers" on "user_permissions"."tenant_id" = "resource_servers"."tenant_id" and "user_permissions"."resource_server_identifier" = "resource_servers"."id" where "user_permissions"."tenant_id" = $1 and "user_permissions"."user_id" = $2;

-- ==== phase: mgmt.users.perm.del

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c", "https://api.example.com", "w:x", ""]
delete from "user_permissions" where "tenant_id" = $1 and "user_id" = $2 and "resource_server_identifier" = $3 and "permission_name" = $4 and "organization_id" = $5;

-- ==== phase: mgmt.users.role.del

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c", "xZAjlbw7JIjt2N_sK6e2_", ""]
delete from "user_roles" where "tenant_id" = $1 and "user_id" = $2 and "role_id" = $3 and "organization_id" = $4;

-- ==== phase: mgmt.roles.perm.del

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "xZAjlbw7JIjt2N_sK6e2_", "https://api.example.com", "w:x"]
delete from "role_permissions" where "tenant_id" = $1 and "role_id" = $2 and "resource_server_identifier" = $3 and "permission_name" = $4;

-- ==== phase: mgmt.roles.update

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["d2", "2026-11-20T18:27:28.571Z", "control_plane", "xZAjlbw7JIjt2N_sK6e2_"]
update "roles" set "description" = $1, "updated_at" = $2 where "roles"."tenant_id" = $3 and "roles"."id" = $4;

-- ==== phase: mgmt.roles.delete

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "xZAjlbw7JIjt2N_sK6e2_"]
delete from "roles" where "tenant_id" = $1 and "id" = $2;

-- ==== phase: mgmt.org.create

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["acme", "Acme", "{\"k\":\"v\"}", "[]", "org_b2jpd90x6n62kxzkr", "control_plane", "2026-11-20T18:27:28.641Z", "2026-11-20T18:27:28.641Z", "{}", "{}"]
insert into "organizations" ("name", "display_name", "metadata", "enabled_connections", "id", "tenant_id", "created_at", "updated_at", "branding", "token_quota") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- ==== phase: mgmt.org.member.add

-- [READ ext x5] tags={"SELECT n": 5}
--   e.g. params ["control_plane", "org_b2jpd90x6n62kxzkr"]
select * from "organizations" where "tenant_id" = $1 and "id" = $2;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c", "1", "0"]
select * from "user_organizations" where "tenant_id" = $1 and "user_id" = $2 order by "created_at" desc limit $3 offset $4;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c"]
select count("id") as "count" from "user_organizations" where "tenant_id" = $1 and "user_id" = $2;

-- ==== phase: mgmt.org.members

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "org_b2jpd90x6n62kxzkr", "50", "0"]
select * from "user_organizations" where "tenant_id" = $1 and "organization_id" = $2 order by "created_at" desc limit $3 offset $4;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "org_b2jpd90x6n62kxzkr"]
select count("id") as "count" from "user_organizations" where "tenant_id" = $1 and "organization_id" = $2;

-- ==== phase: mgmt.org.update

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["Acme 2", "2026-11-20T18:27:28.765Z", "{}", "[]", "control_plane", "org_b2jpd90x6n62kxzkr"]
update "organizations" set "display_name" = $1, "updated_at" = $2, "metadata" = $3, "enabled_connections" = $4 where "tenant_id" = $5 and "id" = $6;

-- ==== phase: mgmt.org.member.del

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["EXzXtHu5Q3dLyBK1PkY02", "control_plane"]
delete from "user_organizations" where "id" = $1 and "tenant_id" = $2;

-- ==== phase: mgmt.org.list

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50"]
select * from "organizations" where "tenant_id" = $1 order by "created_at" desc limit $2;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane"]
select count(*) as "count" from "organizations" where "tenant_id" = $1;

-- ==== phase: mgmt.org.delete

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["control_plane", "org_b2jpd90x6n62kxzkr"]
delete from "organizations" where "tenant_id" = $1 and "id" = $2;

-- ==== phase: mgmt.clients.create

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["App 2", "0", "65emhpr-3JzAyHuoiihoS", "regular_web", "1", "1", "1", "[\"https://x.example\"]", "[]", "[]", "[]", "[]", "[]", "[]", "{}", "{}", "[\"authorization_code\",\"refresh_token\"]", "{}", "[]", "{}", "0", "0", "0", "0", "{}", "client_secret_post", "{}", "0", "{}", "{}", "{}", "{}", "deny", "no_prompt", "{}", "0", "0", "{}", "{}", "{}", "ds4WR9LefyPrkkowupssu", "2026-11-20T18:27:28.842Z", "2026-11-20T18:27:28.842Z", "control_plane", null, null]
insert into "clients" ("name", "global", "client_secret", "app_type", "is_first_party", "oidc_conformant", "auth0_conformant", "callbacks", "allowed_origins", "web_origins", "client_aliases", "allowed_clients", "connections", "allowed_logout_urls", "session_transfer", "oidc_logout", "grant_types", "jwt_configuration", "signing_keys", "encryption_key", "sso", "sso_disabled", "cross_origin_authentication", "custom_login_page_on", "addons", "token_endpoint_auth_method", "client_metadata", "hide_sign_up_disabled_error", "mobile", "native_social_login", "refresh_token", "default_organization", "organization_usage", "organization_require_behavior", "client_authentication_methods", "require_pushed_authorization_requests", "require_proof_of_possession", "signed_request_object", "token_quota", "registration_metadata", "client_id", "created_at", "updated_at", "tenant_id", "owner_user_id", "registration_type") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46);

-- ==== phase: mgmt.clients.update

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["App 2b", "0", "gdJyBoWv78J9F0ar7mjbq", "regular_web", "1", "1", "1", "[]", "[]", "[]", "[]", "[]", "[]", "[]", "{}", "{}", "[]", "{}", "[]", "{}", "0", "0", "0", "0", "{}", "client_secret_basic", "{}", "0", "{}", "{}", "{}", "{}", "deny", "no_prompt", "{}", "0", "0", "{}", "{}", "{}", "2026-11-20T18:27:28.884Z", "control_plane", "ds4WR9LefyPrkkowupssu"]
update "clients" set "name" = $1, "global" = $2, "client_secret" = $3, "app_type" = $4, "is_first_party" = $5, "oidc_conformant" = $6, "auth0_conformant" = $7, "callbacks" = $8, "allowed_origins" = $9, "web_origins" = $10, "client_aliases" = $11, "allowed_clients" = $12, "connections" = $13, "allowed_logout_urls" = $14, "session_transfer" = $15, "oidc_logout" = $16, "grant_types" = $17, "jwt_configuration" = $18, "signing_keys" = $19, "encryption_key" = $20, "sso" = $21, "sso_disabled" = $22, "cross_origin_authentication" = $23, "custom_login_page_on" = $24, "addons" = $25, "token_endpoint_auth_method" = $26, "client_metadata" = $27, "hide_sign_up_disabled_error" = $28, "mobile" = $29, "native_social_login" = $30, "refresh_token" = $31, "default_organization" = $32, "organization_usage" = $33, "organization_require_behavior" = $34, "client_authentication_methods" = $35, "require_pushed_authorization_requests" = $36, "require_proof_of_possession" = $37, "signed_request_object" = $38, "token_quota" = $39, "registration_metadata" = $40, "updated_at" = $41 where "clients"."tenant_id" = $42 and "clients"."client_id" = $43;

-- ==== phase: mgmt.clients.list

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane"]
select count(*) as "count" from "clients" where "clients"."tenant_id" = $1;

-- ==== phase: mgmt.clients.delete

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "ds4WR9LefyPrkkowupssu"]
delete from "clients" where "clients"."tenant_id" = $1 and "clients"."client_id" = $2;

-- ==== phase: mgmt.conn.delete

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "con_fg85d9f6fani64cee"]
delete from "connections" where "connections"."tenant_id" = $1 and "connections"."id" = $2;

-- ==== phase: mgmt.hooks.create

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["post-user-login", "https://h.example", "h_h2u7mtiz54sa0b1s4", "control_plane", "0", "0", null, "1795199249066", "1795199249066"]
insert into "hooks" ("trigger_id", "url", "hook_id", "tenant_id", "enabled", "synchronous", "metadata", "created_at_ts", "updated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- ==== phase: mgmt.hooks.update

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1", "0", "1795199249115", "h_h2u7mtiz54sa0b1s4", "control_plane"]
update "hooks" set "enabled" = $1, "synchronous" = $2, "updated_at_ts" = $3 where "hooks"."hook_id" = $4 and "hooks"."tenant_id" = $5;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "h_h2u7mtiz54sa0b1s4"]
select * from "hooks" where "hooks"."tenant_id" = $1 and "hooks"."hook_id" = $2;

-- ==== phase: mgmt.hooks.delete

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "h_h2u7mtiz54sa0b1s4"]
delete from "hooks" where "hooks"."tenant_id" = $1 and "hooks"."hook_id" = $2;

-- ==== phase: mgmt.branding.patch

-- [DML ext x2] tags={"INSERT 0 n": 1} ERRORS={"23505 duplicate key value violates unique constraint \"branding_pk\"": 1}
--   e.g. params ["#111111", "control_plane"]
insert into "branding" ("colors_primary", "tenant_id") values ($1, $2);

-- ==== phase: mgmt.prompts.patch

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "1", "1", "0", "0", "new"]
insert into "prompt_settings" ("tenant_id", "identifier_first", "password_first", "webauthn_platform_first_factor", "show_last_used_connection", "universal_login_experience") values ($1, $2, $3, $4, $5, $6);

-- ==== phase: mgmt.logs.list

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "s", "fp", "50", "0"]
select * from "logs" where "logs"."tenant_id" = $1 and ("type" = $2 or "type" = $3) order by "date" desc limit $4 offset $5;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "s", "fp"]
select count(*) as "count" from "logs" where "logs"."tenant_id" = $1 and ("type" = $2 or "type" = $3);

-- ==== phase: mgmt.stats.daily

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["s", "ss", "pwd_leak", "control_plane", "2020-01-01", "2099-12-31"]
select DATE(logs.date) as "date", sum(case when "type" in ($1) then 1 else 0 end) as "logins", sum(case when "type" = $2 then 1 else 0 end) as "signups", sum(case when "type" in ($3) then 1 else 0 end) as "leaked_passwords", min("date") as "first_event", max("date") as "last_event" from "logs" where "tenant_id" = $4 and DATE(logs.date) >= $5 and DATE(logs.date) <= $6 group by DATE(logs.date) order by "date" asc;

-- ==== phase: mgmt.stats.active

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "2026-10-21T18:27:29.494Z", "s"]
select count(distinct "user_id") as "count" from "logs" where "tenant_id" = $1 and "date" >= $2 and "type" in ($3) and "user_id" is not null;

-- ==== phase: mgmt.tenant.patch

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["control_plane", "urn:authhero:management", "noreply@example.com", "AuthHero", "2026-11-20T18:27:24.278Z", "2026-11-20T18:27:29.527Z", "{\"inherit_global_permissions_in_organizations\":true}", "X", "https://app.example.com", "1", "0", "0", "0", "default", "shared", "ready", "control_plane"]
update "tenants" set "id" = $1, "audience" = $2, "sender_email" = $3, "sender_name" = $4, "created_at" = $5, "updated_at" = $6, "flags" = $7, "friendly_name" = $8, "default_audience" = $9, "allow_organization_name_in_authentication_api" = $10, "customize_mfa_in_postlogin_action" = $11, "pushed_authorization_requests_supported" = $12, "authorization_response_iss_parameter_supported" = $13, "default_client_id" = $14, "deployment_type" = $15, "provisioning_state" = $16 where "id" = $17;

-- ==== phase: mgmt.rs.update

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["control_plane", "api_y61pdqpjnctm8zdf6"]
select * from "resource_servers" where "tenant_id" = $1 and "id" = $2;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["API2", "86400", "7200", "2026-11-20T18:27:29.568Z", "control_plane", "api_y61pdqpjnctm8zdf6"]
update "resource_servers" set "name" = $1, "token_lifetime" = $2, "token_lifetime_for_web" = $3, "updated_at" = $4 where "tenant_id" = $5 and "id" = $6;

-- ==== phase: mgmt.rs.delete

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "api_y61pdqpjnctm8zdf6"]
delete from "resource_servers" where "tenant_id" = $1 and "id" = $2;

-- ==== phase: mgmt.users.link

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["auth0|657e3b654cdc3855016a25c9", "2026-11-20T18:27:29.667Z", "control_plane", "email|70664de4a534cb54198c838c"]
update "users" set "linked_to" = $1, "updated_at" = $2 where "users"."tenant_id" = $3 and "users"."user_id" = $4;

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9", "10", "0"]
select "users".*, "user_activity"."last_login", "user_activity"."last_ip", "user_activity"."login_count" from "users" left join "user_activity" on "user_activity"."tenant_id" = "users"."tenant_id" and "user_activity"."user_id" = "users"."user_id" where "users"."tenant_id" = $1 and "users"."linked_to" = $2 limit $3 offset $4;

-- ==== phase: mgmt.users.unlink

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params [null, "control_plane", "email|70664de4a534cb54198c838c", "auth0|657e3b654cdc3855016a25c9"]
update "users" set "linked_to" = $1 where "users"."tenant_id" = $2 and "users"."user_id" = $3 and "users"."linked_to" = $4;

-- ==== phase: mgmt.users.sessions

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "auth0|657e3b654cdc3855016a25c9", "50", "0"]
select * from "sessions" where "sessions"."tenant_id" = $1 and "user_id" = $2 limit $3 offset $4;

-- ==== phase: mgmt.users.delete

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["control_plane", "control_plane", "email|70664de4a534cb54198c838c", "email|70664de4a534cb54198c838c"]
delete from "authentication_methods" where "authentication_methods"."tenant_id" = $1 and "authentication_methods"."user_id" in (select "users"."user_id" from "users" where "users"."tenant_id" = $2 and ("users"."user_id" = $3 or "users"."linked_to" = $4));

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c"]
delete from "users" where "users"."tenant_id" = $1 and "users"."linked_to" = $2;

-- [DML ext x2] tags={"DELETE n": 2}
--   e.g. params ["control_plane", "email|70664de4a534cb54198c838c"]
delete from "users" where "users"."tenant_id" = $1 and "users"."user_id" = $2;

-- ==== phase: adapter.loginSessions

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["01M7X3DBB9K5V7WBZQN4JMBW63", "c", "127.0.0.1", "x", "pending", "control_plane", "{\"client_id\":\"web\",\"scope\":\"openid\"}", "1795199249770", "1795199249770", "1795202849764"]
insert into "login_sessions" ("id", "csrf_token", "ip", "useragent", "state", "tenant_id", "auth_params", "created_at_ts", "updated_at_ts", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["completed", "1795199249771", "01M7X3DBB9K5V7WBZQN4JMBW63", "control_plane"]
update "login_sessions" set "state" = $1, "updated_at_ts" = $2 where "login_sessions"."id" = $3 and "login_sessions"."tenant_id" = $4;

-- [DML ext x3] tags={"UPDATE n": 3}
--   e.g. params ["1795206449774", "1795199249774", "control_plane", "01M7X3DBB9K5V7WBZQN4JMBW63", "1795206449774"]
update "login_sessions" set "expires_at_ts" = $1, "updated_at_ts" = $2 where "tenant_id" = $3 and "id" = $4 and "expires_at_ts" < $5;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795199249777", "1795199249777", "1795199249777", "control_plane", "ses1"]
update "sessions" set "updated_at_ts" = $1, "used_at_ts" = $2, "revoked_at_ts" = $3 where "tenant_id" = $4 and "sessions"."id" = $5;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["rt1", "01M7X3DBB9K5V7WBZQN4JMBW63", "email|8e50b17b1d4948dd2fc2c472", "web", "fam", "lk", "h", "control_plane", "1", "{\"last_ip\":\"\"}", "[{\"audience\":\"a\",\"scopes\":\"s\"}]", "1795199249780", "1795202849764", "1795202849764", null, null]
insert into "refresh_tokens" ("id", "login_id", "user_id", "client_id", "family_id", "token_lookup", "token_hash", "tenant_id", "rotating", "device", "resource_servers", "created_at_ts", "expires_at_ts", "idle_expires_at_ts", "last_exchanged_at_ts", "rotated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["rt2", "1795199249784", "1795199249784", "control_plane", "rt1"]
update "refresh_tokens" set "rotated_to" = $1, "last_exchanged_at_ts" = $2, "rotated_at_ts" = $3 where "tenant_id" = $4 and "refresh_tokens"."id" = $5;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795199249788", "control_plane", "fam"]
update "refresh_tokens" set "revoked_at_ts" = $1 where "tenant_id" = $2 and "family_id" = $3 and "revoked_at_ts" is null;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50", "0"]
select * from "refresh_tokens" where "refresh_tokens"."tenant_id" = $1 limit $2 offset $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "rt1"]
delete from "refresh_tokens" where "tenant_id" = $1 and "refresh_tokens"."id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "ses1"]
delete from "sessions" where "tenant_id" = $1 and "sessions"."id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "01M7X3DBB9K5V7WBZQN4JMBW63"]
delete from "login_sessions" where "login_sessions"."tenant_id" = $1 and "login_sessions"."id" = $2;

-- ==== phase: adapter.codes

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["123456", "otp", "l1", "2026-11-20T19:27:29.764Z", "email|8e50b17b1d4948dd2fc2c472", "2026-11-20T18:27:29.796Z", "control_plane", "1795202849764"]
insert into "codes" ("code_id", "code_type", "login_id", "expires_at", "user_id", "created_at", "tenant_id", "expires_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["2026-11-20T18:27:29.798Z", "control_plane", "123456"]
update "codes" set "used_at" = $1 where "codes"."tenant_id" = $2 and "codes"."code_id" = $3 and "codes"."used_at" is null;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50", "0"]
select * from "codes" where "codes"."tenant_id" = $1 limit $2 offset $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "123456"]
delete from "codes" where "codes"."tenant_id" = $1 and "codes"."code_id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["1795199249805"]
delete from "codes" where "expires_at_ts" < $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["2026-11-20T18:27:29.805Z"]
delete from "codes" where "expires_at_ts" is null and "expires_at" < $1;

-- ==== phase: adapter.passwords

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["0", "email|8e50b17b1d4948dd2fc2c472", "control_plane", "1"]
update "passwords" set "is_current" = $1 where "user_id" = $2 and "tenant_id" = $3 and "is_current" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["email|8e50b17b1d4948dd2fc2c472", "h1", "bcrypt", "1", "nfIMke8sDTldZvx4ZyaGf", "2026-11-20T18:27:29.808Z", "2026-11-20T18:27:29.808Z", "control_plane"]
insert into "passwords" ("user_id", "password", "algorithm", "is_current", "id", "created_at", "updated_at", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["h2", "bcrypt", "1", "2026-11-20T18:27:29.811Z", "control_plane", "email|8e50b17b1d4948dd2fc2c472", "1"]
update "passwords" set "password" = $1, "algorithm" = $2, "is_current" = $3, "updated_at" = $4 where "tenant_id" = $5 and "user_id" = $6 and "is_current" = $7;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "email|8e50b17b1d4948dd2fc2c472", "3"]
select * from "passwords" where "passwords"."tenant_id" = $1 and "passwords"."user_id" = $2 order by "created_at" desc limit $3;

-- ==== phase: adapter.userActivity

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["3", "[\"2026-11-20T18:27:29.814Z\"]", "control_plane", "email|8e50b17b1d4948dd2fc2c472"]
update "user_activity" set "login_count" = $1, "failed_logins" = $2 where "tenant_id" = $3 and "user_id" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["Z2USblCOs7pX3MOJmZFab", "sdu", "2026-11-20T18:27:29.762Z", "Deleted user: carol@example.com", "", "", "admin", "", "", "email", "email", "email", "database", "", "openid", "localhost:3000", "0", "{\"request\":{\"method\":\"DELETE\",\"path\":\"/users/email|70664de4a534cb54198c838c\",\"qs\":{},\"body\":{\"tenant\":\"control_plane\",\"connection\":\"email\"}}}", "control_plane"]
insert into "logs" ("log_id", "type", "date", "description", "ip", "user_agent", "user_id", "user_name", "client_name", "connection", "connection_id", "strategy", "strategy_type", "audience", "scope", "hostname", "isMobile", "details", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["::1", "control_plane", "email|8e50b17b1d4948dd2fc2c472"]
update "user_activity" set "last_ip" = $1 where "tenant_id" = $2 and "user_id" = $3;

-- ==== phase: adapter.grants

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["control_plane", "email|8e50b17b1d4948dd2fc2c472", "web", "urn:a"]
select * from "grants" where "tenant_id" = $1 and "user_id" = $2 and "client_id" = $3 and "audience" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["_hgwRdNqHqvyrX1avOAoC", "control_plane", "email|8e50b17b1d4948dd2fc2c472", "web", "urn:a", "[\"openid\"]", "2026-11-20T18:27:29.833Z", "2026-11-20T18:27:29.833Z"]
insert into "grants" ("id", "tenant_id", "user_id", "client_id", "audience", "scope", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["[\"openid\",\"email\"]", "2026-11-20T18:27:29.837Z", "control_plane", "_hgwRdNqHqvyrX1avOAoC"]
update "grants" set "scope" = $1, "updated_at" = $2 where "tenant_id" = $3 and "id" = $4;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50", "0"]
select * from "grants" where "grants"."tenant_id" = $1 limit $2 offset $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "email|8e50b17b1d4948dd2fc2c472"]
delete from "grants" where "tenant_id" = $1 and "user_id" = $2;

-- ==== phase: adapter.clientConnections

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane"]
select "client_id", "connections" from "clients" where "clients"."tenant_id" = $1;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "con_4ykgtw55466y4ik6i", "email"]
select * from "connections" where "connections"."tenant_id" = $1 and "connections"."id" in ($2, $3);

-- ==== phase: adapter.clientRegistrationTokens

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["crt1", "control_plane", "hh", "iat", "web", null, null, "1", "1795202849764", "1795199249850", null, null]
insert into "client_registration_tokens" ("id", "tenant_id", "token_hash", "type", "client_id", "sub", "constraints", "single_use", "expires_at_ts", "created_at_ts", "used_at_ts", "revoked_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "hh"]
select * from "client_registration_tokens" where "tenant_id" = $1 and "token_hash" = $2;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795199249853", "control_plane", "crt1"]
update "client_registration_tokens" set "used_at_ts" = $1 where "tenant_id" = $2 and "id" = $3 and "used_at_ts" is null;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795199249856", "control_plane", "web"]
update "client_registration_tokens" set "revoked_at_ts" = $1 where "tenant_id" = $2 and "client_id" = $3 and "revoked_at_ts" is null;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "crt1"]
delete from "client_registration_tokens" where "tenant_id" = $1 and "id" = $2;

-- ==== phase: adapter.authenticationMethods

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["01M7X3DBE2NM3F0YB3VYFSK75T", "control_plane", "email|8e50b17b1d4948dd2fc2c472", "totp", "S", "0", "1795199249858", "1795199249858"]
insert into "authentication_methods" ("id", "tenant_id", "user_id", "type", "totp_secret", "confirmed", "created_at_ts", "updated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795199249860", "1", "control_plane", "01M7X3DBE2NM3F0YB3VYFSK75T"]
update "authentication_methods" set "updated_at_ts" = $1, "confirmed" = $2 where "authentication_methods"."tenant_id" = $3 and "authentication_methods"."id" = $4;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "01M7X3DBE2NM3F0YB3VYFSK75T"]
select * from "authentication_methods" where "authentication_methods"."tenant_id" = $1 and "authentication_methods"."id" = $2;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "email|8e50b17b1d4948dd2fc2c472"]
select * from "authentication_methods" where "authentication_methods"."tenant_id" = $1 and "authentication_methods"."user_id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "01M7X3DBE2NM3F0YB3VYFSK75T"]
delete from "authentication_methods" where "authentication_methods"."tenant_id" = $1 and "authentication_methods"."id" = $2;

-- ==== phase: adapter.outbox

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["2026-11-20T18:27:29.866Z", "2026-11-20T18:27:29.866Z", "10"]
select * from "outbox_events" where "processed_at" is null and ("next_retry_at" is null or "next_retry_at" <= $1) and ("claimed_by" is null or "claim_expires_at" <= $2) order by "created_at" asc, "id" asc limit $3;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["err", "2026-11-20T18:27:29.870Z", null, null, "qJ3TqHvsvct647EhAK3Hu"]
update "outbox_events" set "error" = $1, "next_retry_at" = $2, "retry_count" = retry_count + 1, "claimed_by" = $3, "claim_expires_at" = $4 where "id" = $5;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:29.872Z", "2026-11-20T18:27:29.872Z", "fin", "qJ3TqHvsvct647EhAK3Hu"]
update "outbox_events" set "processed_at" = $1, "dead_lettered_at" = $2, "final_error" = $3 where "id" = $4;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50", "0"]
select * from "outbox_events" where "tenant_id" = $1 and "dead_lettered_at" is not null order by "dead_lettered_at" desc, "id" asc limit $2 offset $3;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params [null, null, null, "0", null, null, "qJ3TqHvsvct647EhAK3Hu", "control_plane"]
update "outbox_events" set "processed_at" = $1, "dead_lettered_at" = $2, "final_error" = $3, "retry_count" = $4, "next_retry_at" = $5, "error" = $6 where "id" = $7 and "tenant_id" = $8 and "dead_lettered_at" is not null;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["2026-11-20T18:27:29.876Z"]
delete from "outbox_events" where "processed_at" is not null and "processed_at" < $1;

-- ==== phase: adapter.invites

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["inv-org", "org_9d43hl1mxsh7s23dd", "control_plane", "2026-11-20T18:27:29.877Z", "2026-11-20T18:27:29.877Z", "{}", "{}", "[]", "{}"]
insert into "organizations" ("name", "id", "tenant_id", "created_at", "updated_at", "branding", "metadata", "enabled_connections", "token_quota") values ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["inv_swrkppri9275pjys3", "control_plane", "org_9d43hl1mxsh7s23dd", "{\"name\":\"x\"}", "{\"email\":\"e@x\"}", "web", null, "https://i", "2026-11-20T18:27:29.879Z", "2026-11-20T18:37:29.879Z", "{}", "{}", "[]", null, "600", "1"]
insert into "invites" ("id", "tenant_id", "organization_id", "inviter", "invitee", "client_id", "connection_id", "invitation_url", "created_at", "expires_at", "app_metadata", "user_metadata", "roles", "ticket_id", "ttl_sec", "send_invitation_email") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["[\"r\"]", "control_plane", "inv_swrkppri9275pjys3"]
update "invites" set "roles" = $1 where "tenant_id" = $2 and "id" = $3;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane"]
select * from "invites" where "tenant_id" = $1 order by "created_at" desc;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "inv_swrkppri9275pjys3"]
delete from "invites" where "tenant_id" = $1 and "id" = $2;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "org_9d43hl1mxsh7s23dd", "email", "1", "1", "1", "2026-11-20T18:27:29.884Z", "2026-11-20T18:27:29.884Z"]
insert into "organization_connections" ("tenant_id", "organization_id", "connection_id", "assign_membership_on_login", "show_as_button", "is_signup_enabled", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [READ ext x3] tags={"SELECT n": 3}
--   e.g. params ["control_plane", "email"]
select "name", "strategy" from "connections" where "tenant_id" = $1 and "id" = $2;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:29.887Z", "0", "control_plane", "org_9d43hl1mxsh7s23dd", "email"]
update "organization_connections" set "updated_at" = $1, "assign_membership_on_login" = $2 where "tenant_id" = $3 and "organization_id" = $4 and "connection_id" = $5;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "org_9d43hl1mxsh7s23dd", "email"]
select * from "organization_connections" where "tenant_id" = $1 and "organization_id" = $2 and "connection_id" = $3;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "org_9d43hl1mxsh7s23dd"]
select * from "organization_connections" where "tenant_id" = $1 and "organization_id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "org_9d43hl1mxsh7s23dd", "email"]
delete from "organization_connections" where "tenant_id" = $1 and "organization_id" = $2 and "connection_id" = $3;

-- ==== phase: adapter.flows+forms

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["f", "[]", "2026-11-20T18:27:29.903Z", "2026-11-20T18:27:29.903Z", "af__x5bBxMUzb0iml-1_UqGf", "control_plane"]
insert into "flows" ("name", "actions", "created_at", "updated_at", "id", "tenant_id") values ($1, $2, $3, $4, $5, $6);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["g", "2026-11-20T18:27:29.907Z", "af__x5bBxMUzb0iml-1_UqGf", "control_plane"]
update "flows" set "name" = $1, "updated_at" = $2 where "id" = $3 and "tenant_id" = $4;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["af__x5bBxMUzb0iml-1_UqGf", "control_plane"]
select * from "flows" where "id" = $1 and "tenant_id" = $2;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50", "0"]
select * from "flows" where "tenant_id" = $1 limit $2 offset $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["af__x5bBxMUzb0iml-1_UqGf", "control_plane"]
delete from "flows" where "id" = $1 and "tenant_id" = $2;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["2026-11-20T18:27:29.912Z", "2026-11-20T18:27:29.912Z", "fo", "[]", "{}", "{}", "dT4-sPI0i5tv5k90xJmjS", "control_plane"]
insert into "forms" ("created_at", "updated_at", "name", "nodes", "start", "ending", "id", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["fp", "2026-11-20T18:27:29.916Z", "dT4-sPI0i5tv5k90xJmjS", "control_plane"]
update "forms" set "name" = $1, "updated_at" = $2 where "id" = $3 and "tenant_id" = $4;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50", "0"]
select * from "forms" where "tenant_id" = $1 limit $2 offset $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["dT4-sPI0i5tv5k90xJmjS", "control_plane"]
delete from "forms" where "id" = $1 and "tenant_id" = $2;

-- ==== phase: adapter.actions

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["act_mexc4en677qx1g3kz", "control_plane", "a", "x", null, "built", null, null, "[{\"id\":\"post-login\"}]", "0", "0", "1795199249920", "1795199249920"]
insert into "actions" ("id", "tenant_id", "name", "code", "runtime", "status", "secrets", "dependencies", "supported_triggers", "is_system", "inherit", "created_at_ts", "updated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "act_mexc4en677qx1g3kz", "1"]
select "number" from "action_versions" where "tenant_id" = $1 and "action_id" = $2 order by "number" desc limit $3;

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["0", "1795199249921", "control_plane", "act_mexc4en677qx1g3kz"]
update "action_versions" set "deployed" = $1, "updated_at_ts" = $2 where "tenant_id" = $3 and "action_id" = $4;

-- [DML ext x2] tags={"INSERT 0 n": 2}
--   e.g. params ["ver_nds8jbqovd0tp4k73", "control_plane", "act_mexc4en677qx1g3kz", "1", "x", null, null, null, null, "1", "1795199249921", "1795199249921"]
insert into "action_versions" ("id", "tenant_id", "action_id", "number", "code", "runtime", "secrets", "dependencies", "supported_triggers", "deployed", "created_at_ts", "updated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "act_mexc4en677qx1g3kz", "50", "0"]
select * from "action_versions" where "tenant_id" = $1 and "action_id" = $2 order by "number" desc limit $3 offset $4;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["1795199249934", "b", "act_mexc4en677qx1g3kz", "control_plane"]
update "actions" set "updated_at_ts" = $1, "name" = $2 where "actions"."id" = $3 and "actions"."tenant_id" = $4;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "act_mexc4en677qx1g3kz"]
delete from "action_versions" where "tenant_id" = $1 and "action_id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["act_mexc4en677qx1g3kz", "control_plane"]
delete from "actions" where "actions"."id" = $1 and "actions"."tenant_id" = $2;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["ax", "control_plane", "post-login", "final", "[]", null, "1795199249937", "1795199249937"]
insert into "action_executions" ("id", "tenant_id", "trigger_id", "status", "results", "logs", "created_at_ts", "updated_at_ts") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- ==== phase: adapter.actionExecutions.cleanup [PG-incompatible: DELETE..LIMIT]

-- [DML ext x1] ERRORS={"42601 syntax error at or near \"limit\"": 1}
--   e.g. params ["1795199249939", "50000"]
delete from "action_executions" where "created_at_ts" < $1 limit $2;

-- ==== phase: adapter.themes/texts

-- [READ ext x2] tags={"SELECT n": 2}
--   e.g. params ["control_plane", "login", "en"]
select "tenant_id" from "custom_text" where "tenant_id" = $1 and "prompt" = $2 and "language" = $3;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "login", "en", "{\"a\":\"b\"}", "1795199249941", "1795199249941"]
insert into "custom_text" ("tenant_id", "prompt", "language", "custom_text", "created_at_ts", "updated_at_ts") values ($1, $2, $3, $4, $5, $6);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["{\"a\":\"c\"}", "1795199249944", "control_plane", "login", "en"]
update "custom_text" set "custom_text" = $1, "updated_at_ts" = $2 where "tenant_id" = $3 and "prompt" = $4 and "language" = $5;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "login", "en"]
select * from "custom_text" where "tenant_id" = $1 and "prompt" = $2 and "language" = $3;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane"]
select "prompt", "language" from "custom_text" where "tenant_id" = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "login", "en"]
delete from "custom_text" where "tenant_id" = $1 and "prompt" = $2 and "language" = $3;

-- [DML ext x2] tags={"INSERT 0 n": 1} ERRORS={"23505 duplicate key value violates unique constraint \"universal_login_templates_pk\"": 1}
--   e.g. params ["control_plane", "<html>", "1795199249949", "1795199249949"]
insert into "universal_login_templates" ("tenant_id", "body", "created_at_ts", "updated_at_ts") values ($1, $2, $3, $4);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["<html2>", "1795199249951", "control_plane"]
update "universal_login_templates" set "body" = $1, "updated_at_ts" = $2 where "tenant_id" = $3;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane"]
select "body" from "universal_login_templates" where "tenant_id" = $1;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane"]
delete from "universal_login_templates" where "tenant_id" = $1;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["#222", "control_plane"]
update "branding" set "colors_primary" = $1 where "tenant_id" = $2;

-- ==== phase: adapter.emailTemplates

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "verify_email", "b", "f", "s", "liquid", null, null, "0", "1", "2026-11-20T18:27:29.962Z", "2026-11-20T18:27:29.962Z"]
insert into "email_templates" ("tenant_id", "template", "body", "from", "subject", "syntax", "result_url", "url_lifetime_in_seconds", "include_email_in_redirect", "enabled", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["s2", "2026-11-20T18:27:29.970Z", "control_plane", "verify_email"]
update "email_templates" set "subject" = $1, "updated_at" = $2 where "tenant_id" = $3 and "template" = $4;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane"]
select * from "email_templates" where "tenant_id" = $1 order by "template" asc;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "verify_email"]
delete from "email_templates" where "tenant_id" = $1 and "template" = $2;

-- ==== phase: adapter.customDomains+proxyRoutes

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["pending", "0", "a.example.com", "auth0_managed_certs", "5o5eIZUjsj_Ucbb0niFEI", "2026-11-20T18:27:29.978Z", "2026-11-20T18:27:29.978Z", "control_plane"]
insert into "custom_domains" ("status", "primary", "domain", "type", "custom_domain_id", "created_at", "updated_at", "tenant_id") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["a.example.com"]
select * from "custom_domains" where "custom_domains"."domain" = $1;

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["ready", "2026-11-20T18:27:29.981Z", "control_plane", "5o5eIZUjsj_Ucbb0niFEI"]
update "custom_domains" set "status" = $1, "updated_at" = $2 where "custom_domains"."tenant_id" = $3 and "custom_domains"."custom_domain_id" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["SQ_Ukw2CrcSbPhoELe0no", "control_plane", "5o5eIZUjsj_Ucbb0niFEI", "1", "{\"path\":\"/*\"}", "[]", "2026-11-20T18:27:29.982Z", "2026-11-20T18:27:29.982Z"]
insert into "proxy_routes" ("id", "tenant_id", "custom_domain_id", "priority", "match", "handlers", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "50", "0"]
select * from "proxy_routes" where "tenant_id" = $1 order by "priority" asc, "created_at" asc limit $2 offset $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "SQ_Ukw2CrcSbPhoELe0no"]
delete from "proxy_routes" where "tenant_id" = $1 and "id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "5o5eIZUjsj_Ucbb0niFEI"]
delete from "custom_domains" where "custom_domains"."tenant_id" = $1 and "custom_domains"."custom_domain_id" = $2;

-- ==== phase: adapter.scim

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["email", "control_plane", "externalId", "[]", "2026-11-20T18:27:29.988Z", "2026-11-20T18:27:29.988Z"]
insert into "scim_configurations" ("connection_id", "tenant_id", "user_id_attribute", "mapping", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6);

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["st", "control_plane", "email", "hs", "[\"a\"]", null, "2026-11-20T18:27:29.989Z", null]
insert into "scim_tokens" ("token_id", "tenant_id", "connection_id", "token_hash", "scopes", "valid_until", "created_at", "last_used_at") values ($1, $2, $3, $4, $5, $6, $7, $8);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:29.991Z", "control_plane", "st"]
update "scim_tokens" set "last_used_at" = $1 where "tenant_id" = $2 and "token_id" = $3;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["control_plane", "email", "e1", "email|8e50b17b1d4948dd2fc2c472", "2026-11-20T18:27:29.992Z"]
insert into "scim_external_ids" ("tenant_id", "connection_id", "external_id", "user_id", "created_at") values ($1, $2, $3, $4, $5);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "email", "e1"]
select * from "scim_external_ids" where "tenant_id" = $1 and "connection_id" = $2 and "external_id" = $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "email", "email|8e50b17b1d4948dd2fc2c472"]
delete from "scim_external_ids" where "tenant_id" = $1 and "connection_id" = $2 and "user_id" = $3;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "st"]
delete from "scim_tokens" where "tenant_id" = $1 and "token_id" = $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "email"]
delete from "scim_configurations" where "tenant_id" = $1 and "connection_id" = $2;

-- ==== phase: adapter.logStreams+migrationSources

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["lst_t0hkLaqFOYeO1erZIJstT", "control_plane", "l", "http", "active", "{}", null, null, "2026-11-20T18:27:29.998Z", "2026-11-20T18:27:29.998Z"]
insert into "log_streams" ("id", "tenant_id", "name", "type", "status", "sink", "filters", "is_priority", "created_at", "updated_at") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- [DML ext x1] tags={"UPDATE n": 1}
--   e.g. params ["2026-11-20T18:27:29.999Z", "paused", "control_plane", "lst_t0hkLaqFOYeO1erZIJstT"]
update "log_streams" set "updated_at" = $1, "status" = $2 where "tenant_id" = $3 and "id" = $4;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["control_plane", "lst_t0hkLaqFOYeO1erZIJstT"]
delete from "log_streams" where "tenant_id" = $1 and "id" = $2;

-- ==== phase: adapter.analytics

-- [READ simple x1] ERRORS={"42703 column \"version_comment\" does not exist": 1}
SELECT @@version_comment;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z", "s", "seacft", "10", "0"]
select COUNT(DISTINCT "logs"."user_id") as "active_users" from "logs" where "tenant_id" = $1 and "date" >= $2 and "date" < $3 and "type" in ($4, $5) order by "active_users" desc limit $6 offset $7;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z", "s", "f", "fp", "10", "0"]
select COUNT(*) as "logins" from "logs" where "tenant_id" = $1 and "date" >= $2 and "date" < $3 and "type" in ($4, $5, $6) order by "logins" desc limit $7 offset $8;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z", "ss", "fs", "10", "0"]
select COUNT(*) as "signups" from "logs" where "tenant_id" = $1 and "date" >= $2 and "date" < $3 and "type" in ($4, $5) order by "signups" desc limit $6 offset $7;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z", "slo", "10", "0"]
select COUNT(*) as "sessions" from "logs" where "tenant_id" = $1 and "date" >= $2 and "date" < $3 and "type" in ($4) order by "sessions" desc limit $5 offset $6;

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["control_plane", "2020-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z", "seacft", "fertft", "10", "0"]
select COUNT(*) as "refresh_tokens" from "logs" where "tenant_id" = $1 and "date" >= $2 and "date" < $3 and "type" in ($4, $5) order by "refresh_tokens" desc limit $6 offset $7;

-- ==== phase: adapter.sessionCleanup

-- [DML ext x1] ERRORS={"42601 syntax error at or near \"limit\"": 1}
--   e.g. params ["1794594450010", "1794594450010", "1000"]
delete from "refresh_tokens" where ("expires_at_ts" < $1 or "idle_expires_at_ts" < $2) limit $3;

-- ==== phase: adapter.transaction.commit

-- [DML ext x2] tags={"UPDATE n": 2}
--   e.g. params ["Bob", "2026-11-20T18:27:30.016Z", "control_plane", "email|8e50b17b1d4948dd2fc2c472"]
update "users" set "name" = $1, "updated_at" = $2 where "users"."tenant_id" = $3 and "users"."user_id" = $4;

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["s", "2026-11-20T18:27:30.017Z", "L-1795199250017", "0", "d", "control_plane"]
insert into "logs" ("type", "date", "log_id", "isMobile", "description", "tenant_id") values ($1, $2, $3, $4, $5, $6);

-- ==== phase: adapter.transaction.rollback

-- [TX simple x1] tags={"ROLLBACK": 1}
rollback;

-- ==== phase: adapter.tenants.remove

-- [DML ext x1] tags={"INSERT 0 n": 1}
--   e.g. params ["t2", "t2", "2026-11-20T18:27:30.025Z", "2026-11-20T18:27:30.025Z"]
insert into "tenants" ("id", "friendly_name", "created_at", "updated_at") values ($1, $2, $3, $4);

-- [READ ext x1] tags={"SELECT n": 1}
--   e.g. params ["50", "0"]
select * from "tenants" limit $1 offset $2;

-- [DML ext x1] tags={"DELETE n": 1}
--   e.g. params ["t2"]
delete from "tenants" where "tenants"."id" = $1;
