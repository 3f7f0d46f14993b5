-- What the service has stored before anybody thought of moving it.

INSERT INTO tenants (slug, name) SELECT 'old-' || g, 'Old tenant ' || g FROM generate_series(1, 50) g;

INSERT INTO users (tenant_id, email, name, birthday, profile, created_at)
SELECT t.id, 'user' || g || '@' || t.slug || '.example', 'User ' || g, '1970-01-01'::date + g,
       jsonb_build_object('n', g, 'tags', jsonb_build_array('old', 'é')), now() - g * interval '1 hour'
FROM tenants t, generate_series(1, 2000) g;

INSERT INTO passwords (user_id, algorithm, hash, iterations)
SELECT id, 'argon2id', md5(id::text), 3 FROM users;
