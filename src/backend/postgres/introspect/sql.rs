//! The questions put to `pg_catalog`. Each answers for the whole database at once, so reading a
//! catalogue costs the same few round trips for ten tables and for a thousand.
//!
//! Invariant: they run with an empty `search_path` and need no privilege beyond those that every
//! role has, but for the last.

use crate::backend::postgres::control::STRANGER;

/// Schemas of the server's and of our own hold no tables to migrate.
macro_rules! user_schema {
    () => {
        "n.nspname NOT IN ('pg_catalog', 'information_schema', 'crossfade') \
         AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp\\_%'"
    };
}

/// Everything a name in a statement can mean; other sessions' temporary tables cannot be.
pub(super) const RELATIONS: &str = concat!(
    "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, \
       c.relrowsecurity, d.description, ",
    user_schema!(),
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 \
       AND d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
       AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp\\_%' \
     ORDER BY n.nspname, c.relname"
);

pub(super) const INHERITANCE: &str = "SELECT i.inhrelid, i.inhparent, c.relispartition \
     FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
     WHERE c.relkind IN ('r', 'p', 'f')";

pub(super) const COLUMNS: &str = concat!(
    "SELECT a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attnotnull, \
       a.attidentity::text, a.attgenerated::text, \
       pg_catalog.format_type(a.atttypid, a.atttypmod), \
       pg_catalog.pg_get_expr(d.adbin, d.adrelid), \
       CASE WHEN a.attcollation <> t.typcollation OR NOT l.collisdeterministic \
         THEN l.collname::text END, \
       pg_catalog.col_description(a.attrelid, a.attnum), \
       NOT coalesce(l.collisdeterministic, true), \
       ARRAY(WITH RECURSIVE domain(oid, base) AS ( \
           SELECT t.oid, t.typbasetype WHERE t.typtype = 'd' \
           UNION ALL SELECT b.oid, b.typbasetype FROM domain JOIN pg_catalog.pg_type b \
             ON b.oid = domain.base AND b.typtype = 'd') \
         SELECT k.conname::text || ' ' || pg_catalog.pg_get_constraintdef(k.oid) FROM domain \
         JOIN pg_catalog.pg_constraint k ON k.contypid = domain.oid AND k.contype = 'c' \
         ORDER BY 1) \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
     LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation \
     WHERE c.relkind IN ('r', 'p') AND 0 < a.attnum AND NOT a.attisdropped AND ",
    user_schema!(),
    " ORDER BY a.attrelid, a.attnum"
);

/// The types of all columns, and what those are made of: bases of domains, elements of arrays.
pub(super) const TYPES: &str = concat!(
    "WITH RECURSIVE used(oid) AS ( \
       SELECT DISTINCT a.atttypid FROM pg_catalog.pg_attribute a \
       JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       WHERE c.relkind IN ('r', 'p') AND 0 < a.attnum AND NOT a.attisdropped AND ",
    user_schema!(),
    " UNION SELECT part.oid FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid \
       CROSS JOIN LATERAL (VALUES (t.typbasetype), \
         (CASE WHEN t.typcategory = 'A' THEN t.typelem END)) part(oid) WHERE part.oid <> 0) \
     SELECT t.oid, t.typname::text, t.typbasetype, t.typtypmod, \
       CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END, \
       (SELECT pg_catalog.array_agg(e.enumlabel::text ORDER BY e.enumsortorder) \
        FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), \
       EXISTS (SELECT FROM pg_catalog.pg_depend p \
         JOIN pg_catalog.pg_extension x ON x.oid = p.refobjid AND x.extname = 'citext' \
         WHERE p.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND p.objid = t.oid \
           AND p.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
           AND p.deptype = 'e') \
     FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid"
);

/// Constraints as written; those that partitions got from their root are left out, and those that
/// the server does not enforce: MySQL would. (`conenforced` came with 18, hence the JSON.)
pub(super) const CONSTRAINTS: &str = concat!(
    "SELECT k.conrelid, k.conname::text, k.contype::text, k.condeferrable, k.conkey, k.confrelid, \
       (SELECT pg_catalog.array_agg(a.attname::text ORDER BY f.place) \
        FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY f(number, place) \
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = f.number), \
       k.confdeltype::text, k.confupdtype::text, pg_catalog.pg_get_constraintdef(k.oid) \
     FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE k.contype IN ('p', 'f', 'c', 'x') AND k.conparentid = 0 AND c.relkind IN ('r', 'p') \
       AND coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::pg_catalog.bool, true) AND ",
    user_schema!(),
    " ORDER BY k.conrelid, k.conname"
);

/// `indnullsnotdistinct` is read by way of JSON: servers before 15 have no such column.
pub(super) const INDEXES: &str = concat!(
    "SELECT i.indrelid, x.relname::text, i.indisunique, i.indkey::pg_catalog.int2[], i.indnkeyatts, \
       i.indoption::pg_catalog.int2[], \
       coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::pg_catalog.bool, false), \
       pg_catalog.pg_get_expr(i.indpred, i.indrelid), \
       pg_catalog.pg_get_expr(i.indexprs, i.indrelid), \
       pg_catalog.pg_get_indexdef(i.indexrelid), NOT i.indimmediate \
     FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
     JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND i.indislive AND NOT i.indisprimary \
       AND NOT i.indisexclusion AND ",
    user_schema!(),
    " ORDER BY i.indrelid, x.relname"
);

/// Enabled triggers, with whether they are ours.
pub(super) const TRIGGERS: &str = "SELECT t.tgrelid, t.tgfoid, \
       n.nspname = 'crossfade' AND t.tgname = 'crossfade_capture', n.nspname = 'crossfade' \
     FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
     JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
     WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'";

/// Rules other than those that make a view, with every relation that they mention.
pub(super) const RULES: &str = "SELECT DISTINCT r.ev_class, d.refobjid \
     FROM pg_catalog.pg_rewrite r LEFT JOIN pg_catalog.pg_depend d ON d.objid = r.oid \
       AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     WHERE r.rulename <> '_RETURN'";

/// Views that no INSTEAD OF trigger writes for, with every table that they are made of or whose rules
/// mention it, through other views.
pub(super) const VIEWS: &str = "WITH RECURSIVE made(view, oid) AS ( \
       SELECT r.ev_class, d.refobjid FROM pg_catalog.pg_rewrite r \
       JOIN pg_catalog.pg_depend d ON d.objid = r.oid AND d.refobjid <> r.ev_class \
         AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
         AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass), \
     below(view, oid) AS (SELECT m.view, m.oid FROM made m JOIN pg_catalog.pg_class v \
         ON v.oid = m.view AND v.relkind = 'v' \
       UNION SELECT b.view, m.oid FROM below b JOIN made m ON m.view = b.oid), \
     traced(oid) AS (SELECT t.tgrelid FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal) \
     SELECT v.oid, coalesce(pg_catalog.array_agg(b.oid) FILTER (WHERE b.oid IS NOT NULL), '{}') \
     FROM pg_catalog.pg_class v LEFT JOIN below b ON b.view = v.oid \
     WHERE v.relkind = 'v' GROUP BY v.oid \
     HAVING v.oid NOT IN (SELECT t.oid FROM traced t) \
       AND NOT coalesce(pg_catalog.bool_or(b.oid IN (SELECT t.oid FROM traced t \
         JOIN pg_catalog.pg_class w ON w.oid = t.oid AND w.relkind = 'v')), false)";

/// Sources of functions that a trigger may call. The text is searched for names and goes nowhere else.
pub(super) const FUNCTIONS: &str = concat!(
    "SELECT p.oid, p.proname::text, l.lanname::text, \
       coalesce(nullif(p.prosrc, ''), pg_catalog.pg_get_function_sqlbody(p.oid), '') \
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
     JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE p.prokind IN ('f', 'p') AND ",
    user_schema!()
);

/// Tables that some role may write and not read.
pub(super) const WRITE_ONLY: &str = concat!(
    "SELECT c.oid FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND EXISTS (SELECT FROM ( \
         SELECT g.grantee, g.privilege_type FROM pg_catalog.aclexplode(c.relacl) g \
         UNION ALL SELECT g.grantee, g.privilege_type FROM pg_catalog.pg_attribute a \
           CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) g WHERE a.attrelid = c.oid) held \
       WHERE held.privilege_type IN ('INSERT', 'UPDATE', 'DELETE') \
         AND NOT CASE held.grantee WHEN 0 \
           THEN pg_catalog.has_table_privilege('public', c.oid, 'SELECT') \
           ELSE pg_catalog.has_table_privilege(held.grantee, c.oid, 'SELECT') END) AND ",
    user_schema!()
);

/// `search_path` as set for this database, for roles, for both.
pub(super) const PATH_SETTINGS: &str = "SELECT s.setdatabase <> 0, r.rolname::text, \
       pg_catalog.substr(setting, 13), coalesce(r.rolname = session_user, true) \
     FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) setting \
     LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
     WHERE setting LIKE 'search\\_path=%' AND s.setdatabase IN (0, (SELECT d.oid \
       FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))";

/// Roles for which `$user` names a schema.
pub(super) const OWN_SCHEMAS: &str = "SELECT r.rolname::text FROM pg_catalog.pg_roles r \
     JOIN pg_catalog.pg_namespace n ON n.nspname = r.rolname";

pub(super) const PATH_DEFAULT: &str = "SELECT s.boot_val, s.reset_val \
     FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";

/// What a stranger has put into a schema of our name is not ours.
pub(super) fn is_set_up() -> String {
    format!("SELECT pg_catalog.to_regclass('crossfade.tables') IS NOT NULL AND {STRANGER} IS NULL")
}

/// Needs SELECT on a table of our own.
pub(super) const REGISTERED: &str = "SELECT t.id, t.schema, t.name FROM crossfade.tables t";

pub(super) const RECORDED_TYPES: &str =
    "SELECT s.value FROM crossfade.settings s WHERE s.key = 'types'";

/// Counts and sums over everything that a [`super::Reading`] is made of. A dropped row lowers the
/// count; an added or changed one has a new `xmin`, and those only grow, so the sum moves.
///
/// Of `pg_class` the columns that matter are hashed instead: TRUNCATE, VACUUM and index builds give
/// its rows a new `xmin` too, and are no change of the schema.
pub(super) const DIGEST: &str = concat!(
    "WITH mine AS (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE ",
    user_schema!(),
    "), relations AS (SELECT c.* FROM pg_catalog.pg_class c JOIN mine n ON n.oid = c.relnamespace), \
     parts(kind, number) AS ( \
       SELECT 1, pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', c.oid, c.relnamespace, \
           c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relispartition, c.relacl), 0) \
         FROM relations c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
       UNION ALL SELECT 2, a.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_attribute a \
         JOIN relations c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') WHERE 0 < a.attnum \
       UNION ALL SELECT 3, k.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_constraint k \
         JOIN mine n ON n.oid = k.connamespace \
       UNION ALL SELECT 4, i.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_index i \
         JOIN relations c ON c.oid = i.indrelid AND c.relkind IN ('r', 'p') \
       UNION ALL SELECT 5, g.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_trigger g \
       UNION ALL SELECT 6, d.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_attrdef d \
       UNION ALL SELECT 7, e.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_enum e \
       UNION ALL SELECT 8, i.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_inherits i \
       UNION ALL SELECT 9, r.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_rewrite r \
         JOIN relations c ON c.oid = r.ev_class \
       UNION ALL SELECT 10, s.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_db_role_setting s \
       UNION ALL SELECT 11, f.xmin::text::pg_catalog.int8 FROM pg_catalog.pg_proc f \
         JOIN mine n ON n.oid = f.pronamespace \
       UNION ALL SELECT 12, m.oid::pg_catalog.int8 FROM mine m) \
     SELECT pg_catalog.string_agg(digit, ' ' ORDER BY kind) FROM (SELECT kind, \
       pg_catalog.count(*)::text || ':' || pg_catalog.sum(number)::text AS digit \
       FROM parts GROUP BY kind) kinds"
);

/// Whether the database's collation orders text by its bytes. The provider is asked for as JSON, since
/// servers before 15 have none.
pub(super) const ORDERS_BY_BYTES: &str = "SELECT CASE coalesce(to_jsonb(d)->>'datlocprovider', 'c') \
     WHEN 'c' THEN d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') WHEN 'b' THEN true ELSE false END \
     FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
