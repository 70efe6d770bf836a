use std::io::Write;

use super::{keys::DEFAULTS, *};

fn load(file: &str, environment: &[(&str, &str)], flags: SettingsArgs) -> Result<Settings, ConfigError> {
    let Loaded { settings, moved } = load_and_tell(file, environment, flags)?;
    assert_eq!(moved, [], "these are the keys of today");
    Ok(settings)
}

fn load_and_tell(file: &str, environment: &[(&str, &str)], mut flags: SettingsArgs) -> Result<Loaded, ConfigError> {
    let mut stored = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    stored.write_all(file.as_bytes()).expect("it can be written");
    flags.config = Some(stored.path().to_owned());
    Settings::load_from(&flags, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

fn error(file: &str, environment: &[(&str, &str)], flags: SettingsArgs) -> String {
    let error = load(file, environment, flags).expect_err("these settings are wrong").to_string();
    assert!(!error.contains('\n'), "one sentence: {error}");
    error
}

#[test]
fn the_defaults_are_valid_and_complete() {
    let loaded = Settings::load_from(&SettingsArgs::default(), std::iter::empty()).expect("the defaults are valid");
    let settings = loaded.settings;
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8042");
    assert_eq!(settings.partitions, 64);
    assert!(settings.redis_url.is_empty() && settings.database_url.is_empty());
    // Each key of the file is a field and each field a key.
    let shown: toml::Table = toml::from_str(&settings.masked()).expect("what is shown is TOML");
    let defaults: toml::Table = toml::from_str(DEFAULTS).expect("the defaults are TOML");
    assert_eq!(shown, defaults);
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let file = "partitions = 8\nlisten = '127.0.0.1:1'\n[redis]\nlanes = 3\nnamespace = 'file'";
    let environment = [("NOWSERVING_LISTEN", "127.0.0.1:2"), ("NOWSERVING_REDIS_NAMESPACE", "7")];
    let flags = SettingsArgs { listen: Some("127.0.0.1:3".into()), ..SettingsArgs::default() };
    let settings = load(file, &environment, flags).expect("all valid");
    assert_eq!(settings.partitions, 8, "from the file");
    assert_eq!(settings.redis.lanes, 3, "from the file");
    assert_eq!(settings.redis.namespace, "7", "from the environment, and text though it looks like a number");
    assert_eq!(settings.listen.authority().port(), Some(3), "from the flags");
    assert_eq!(settings.redis.pool_size, 8, "from the defaults");
}

#[test]
fn each_flag_is_a_key() {
    let text = || Some("1".to_owned());
    let all = SettingsArgs {
        config: None,
        listen: Some("[::1]:0".into()),
        data_dir: text(),
        redis_url: Some("redis://host".into()),
        database_url: Some("postgres://host/db".into()),
        namespace: text(),
        partitions: text(),
        log_format: Some("json".into()),
        log_filter: Some("off".into()),
    };
    let settings = load("", &[], all).expect("all valid");
    assert_eq!((settings.partitions, settings.redis.namespace.as_str()), (1, "1"));
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn the_environment_can_name_the_file() {
    let mut stored = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    stored.write_all(b"partitions = 9").expect("it can be written");
    let variable = (layers::ENV_CONFIG.to_owned(), stored.path().display().to_string());
    let loaded = Settings::load_from(&SettingsArgs::default(), [variable].into_iter()).expect("all valid");
    assert_eq!(loaded.settings.partitions, 9);
}

#[test]
fn a_moved_key_is_read_from_every_layer_and_told() {
    let file = "[http]\nshutdown_deadline_ms = 1\n[write_behind]\noutbox_limit = 2000\nbatch_size = 9";
    let environment = [("NOWSERVING_CLEANUP_INTERVAL_SECONDS", "3"), ("NOWSERVING_WRITE_BEHIND_OUTBOX_LIMIT", "4000")];
    let Loaded { settings, moved } = load_and_tell(file, &environment, SettingsArgs::default()).expect("all valid");
    assert_eq!((settings.shutdown.deadline_ms, settings.survey.interval_seconds), (1, 3));
    assert_eq!(settings.admission.outbox_limit, 4000, "the environment goes over the file");
    assert_eq!(settings.write_behind.batch_size, 9, "what stands beside it");
    let told: Vec<String> = moved.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("`http.shutdown_deadline_ms` (from /"), "{told:?}");
    assert!(told[0].contains("write `shutdown.deadline_ms` (NOWSERVING_SHUTDOWN_DEADLINE_MS)"), "{told:?}");
    assert_eq!(
        told[2],
        "`cleanup.interval_seconds` (from NOWSERVING_CLEANUP_INTERVAL_SECONDS) has moved: write \
         `survey.interval_seconds` (NOWSERVING_SURVEY_INTERVAL_SECONDS) instead; the old key is still read"
    );
    let shown = settings.masked();
    assert!(!shown.contains("shutdown_deadline_ms") && shown.contains("[admission]"), "{shown}");
}

#[test]
fn a_layer_goes_over_the_one_before_whichever_key_it_uses() {
    for (file, environment) in [
        ("[cleanup]\ninterval_seconds = 2", ("NOWSERVING_SURVEY_INTERVAL_SECONDS", "3")),
        ("[survey]\ninterval_seconds = 2", ("NOWSERVING_CLEANUP_INTERVAL_SECONDS", "3")),
    ] {
        let loaded = load_and_tell(file, &[environment], SettingsArgs::default()).expect("all valid");
        assert_eq!(loaded.settings.survey.interval_seconds, 3, "{file}");
    }
}

#[test]
fn both_keys_of_a_setting_must_say_the_same() {
    let both = "[cleanup]\ninterval_seconds = 2\n[survey]\ninterval_seconds = 2";
    let loaded = load_and_tell(both, &[], SettingsArgs::default()).expect("they say the same");
    assert_eq!((loaded.settings.survey.interval_seconds, loaded.moved.len()), (2, 1));
    let error_of = |file: &str, environment: &[(&str, &str)]| error(file, environment, SettingsArgs::default());
    let text = error_of("[cleanup]\ninterval_seconds = 2\n[survey]\ninterval_seconds = 3", &[]);
    assert!(text.contains("`cleanup.interval_seconds` and `survey.interval_seconds` (both from /"), "{text}");
    let (old, new) = ("NOWSERVING_HTTP_SHUTDOWN_DEADLINE_MS", "NOWSERVING_SHUTDOWN_DEADLINE_MS");
    let text = error_of("", &[(new, "1"), (old, "2")]);
    assert!(text.contains(&format!("`{old}` and `{new}` (both from the environment")), "{text}");
    // What is wrong is looked for where it stands.
    let text = error_of("[write_behind]\noutbox_limit = 1", &[]);
    assert!(
        text.contains("`admission.outbox_limit` (from /") && text.contains(", as `write_behind.outbox_limit`): must")
    );
    let text = error_of("", &[("NOWSERVING_WRITE_BEHIND_OUTBOX_LIMIT", "x")]);
    assert_eq!(text, "NOWSERVING_WRITE_BEHIND_OUTBOX_LIMIT must be a whole number");
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    for (file, expected) in [
        ("listne = '1'", "no setting `listne`; did you mean `listen`?"),
        ("[redis]\nlane = 2", "no setting `redis.lane`; did you mean `redis.lanes`?"),
        (
            "[writebehind]\nbatch_size = 2",
            "no setting `writebehind.batch_size`; did you mean `write_behind.batch_size`?",
        ),
        ("[writebehind]", "no setting `writebehind`; did you mean `write_behind`?"),
        ("zzz = 1", "no setting `zzz`; `nowserving config` lists the known ones"),
    ] {
        let error = error(file, &[], SettingsArgs::default());
        assert!(error.contains(expected), "{error}");
    }
    let error = error("", &[("NOWSERVING_REDIS_URI", "redis://:hunter2@host")], SettingsArgs::default());
    assert!(error.contains("`NOWSERVING_REDIS_URI`; did you mean `NOWSERVING_REDIS_URL`?"), "{error}");
    assert!(!error.contains("hunter2"));
    load("", &[("NOW_SERVING", "1"), ("PATH", "/bin")], SettingsArgs::default()).expect("not ours");
}

#[test]
fn what_kubernetes_makes_of_a_service_is_no_setting() {
    let links = [
        ("NOWSERVING_SERVICE_HOST", "10.0.0.7"),
        ("NOWSERVING_SERVICE_PORT_HTTP", "8042"),
        ("NOWSERVING_PORT", "tcp://10.0.0.7:8042"),
        ("NOWSERVING_REDIS_PORT_6379_TCP_ADDR", "10.0.0.8"),
    ];
    let settings = load("", &links, SettingsArgs::default()).expect("these are not meant for us");
    assert_eq!(settings, Settings::default());
    // What a person would write is no link.
    for (name, value, meant) in [
        ("NOWSERVING_PORT", "8042", "NOWSERVING_LISTEN"),
        ("NOWSERVING_REDIS_HOST", "10.0.0.8", "NOWSERVING_REDIS_URL"),
        ("NOWSERVING_SERVICE_HOST", "localhost", "NOWSERVING_"),
    ] {
        let error = error("", &[(name, value)], SettingsArgs::default());
        assert!(error.contains(&format!("`{name}`; did you mean `{meant}")), "{error}");
    }
}

#[test]
fn a_variable_of_ours_that_is_no_text_is_not_passed_over() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || std::ffi::OsString::from_vec(b"caf\xe9".to_vec());
    let error = layers::own_variables([("NOWSERVING_DATA_DIR".into(), odd())].into_iter()).expect_err("no text");
    assert!(error.to_string().contains("`NOWSERVING_DATA_DIR` is not UTF-8"), "{error}");
    let others = [("PATH".into(), odd()), (odd(), "x".into()), ("NOWSERVING_LISTEN".into(), "here".into())];
    let ours = layers::own_variables(others.into_iter()).expect("the others are not ours");
    assert_eq!(ours, [("NOWSERVING_LISTEN".to_owned(), "here".to_owned())]);
}

#[test]
fn wrong_values_say_what_is_wrong_and_where_it_stands() {
    let no_flags = SettingsArgs::default;
    for (file, expected) in [
        ("partitions = 0", "must be from 1 to 1024"),
        ("partitions = 'many'", "expected a whole number"),
        ("partitions = 70000", "expected a whole number"),
        ("listen = 'here'", "is no address or host name with a port"),
        ("listen", "line 1: not valid TOML"),
        ("\n\n[redis]\nlanes = = 2", "line 4: not valid TOML"),
        ("redis = 3", "there is no setting `redis`"),
        ("data_dir = ''", "`data_dir` (from /"),
        ("[redis]\nnamespace = 'Ns'", "`redis.namespace` (from /"),
        ("[log]\nformat = 'xml'", "`log.format`"),
        ("[log]\nfilter = 'loud=very'", "not a log filter"),
        ("[durability]\nlevel = 'disk'", "`durability.level`"),
        ("[durability]\nreplicas = 0", "must be from 1 to 16"),
        ("[durability]\ntimeout_ms = 5000", "make that 12000 or more, or this 4000 or less"),
        ("[http]\nrequest_timeout_ms = 3999", "`durability.timeout_ms` (from the defaults): a request may wait for"),
        ("[write_behind]\ntransactions = 11", "`write_behind.transactions` (from "),
        ("[ledger]\nmax_connections = 3\n[write_behind]\ntransactions = 4", "or make this 3 or less"),
        ("[idempotency]\nwindow_seconds = -1", "expected a whole number"),
        ("[http]\nbase_path = '/orders/'", "is no path such as /orders"),
    ] {
        let error = error(file, &[], no_flags());
        assert!(error.contains(expected), "{file}: {error}");
    }
    for (name, text, expected) in [
        ("NOWSERVING_PARTITIONS", "", "NOWSERVING_PARTITIONS must be a whole number"),
        ("NOWSERVING_AUTO_PROVISION", "yes", "NOWSERVING_AUTO_PROVISION must be true or false"),
        ("NOWSERVING_LISTEN", "", "`listen` (from NOWSERVING_LISTEN): "),
        ("NOWSERVING_HTTP_MAX_BODY_BYTES", "1", "(from NOWSERVING_HTTP_MAX_BODY_BYTES): must be from 1024 to 1048576"),
        ("NOWSERVING_REDIS_URL", "redis://:hunter2@", "`redis_url` (from NOWSERVING_REDIS_URL): not a Redis URL"),
        ("NOWSERVING_DATABASE_URL", "hunter2", "`database_url` (from NOWSERVING_DATABASE_URL): not a Postgres URL"),
    ] {
        let error = error("", &[(name, text)], no_flags());
        assert!(error.contains(expected), "{name}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = error("", &[], SettingsArgs { partitions: Some("2000".into()), ..no_flags() });
    assert_eq!(error, "`partitions` (from --partitions): must be from 1 to 1024");
}

#[test]
fn a_request_may_wait_for_its_level_as_long_as_it_must() {
    let file = "[durability]\ntimeout_ms = 4000\n[http]\nrequest_timeout_ms = 10000";
    load(file, &[], SettingsArgs::default()).expect("just long enough");
}

#[test]
fn transactions_may_take_all_connections() {
    let file = "[ledger]\nmax_connections = 2\n[write_behind]\ntransactions = 2";
    load(file, &[], SettingsArgs::default()).expect("just enough");
}

#[test]
fn a_missing_file_is_named() {
    let flags = SettingsArgs { config: Some("/nowhere/at/all.toml".into()), ..SettingsArgs::default() };
    let error = Settings::load_from(&flags, std::iter::empty()).expect_err("there is no such file").to_string();
    assert!(error.starts_with("cannot read the settings file /nowhere/at/all.toml: "), "{error}");
}

#[test]
fn shown_settings_hide_passwords() {
    let environment = [
        ("NOWSERVING_REDIS_URL", "redis://:hunter2@host"),
        ("NOWSERVING_DATABASE_URL", "postgres://me:hunter2@host/db"),
    ];
    let settings = load("", &environment, SettingsArgs::default()).expect("all valid");
    for shown in [settings.masked(), format!("{settings:?}")] {
        assert!(!shown.contains("hunter2") && shown.contains("redis://:***@host"), "{shown}");
    }
    assert_eq!(settings.redis_url.expose(), "redis://:hunter2@host");
}

#[test]
fn lists_are_separated_by_commas_in_the_environment() {
    let environment = [("NOWSERVING_HTTP_TRUSTED_PROXIES", "10.1.0.0/16, fd00::7")];
    let settings = load("", &environment, SettingsArgs::default()).expect("all valid");
    let from_file = load("[http]\ntrusted_proxies = ['10.1.0.0/16', 'fd00::7']", &[], SettingsArgs::default());
    assert_eq!(settings, from_file.expect("all valid"));
    assert_eq!(settings.http.trusted_proxies.len(), 2);
    let empty = load("", &[("NOWSERVING_HTTP_TRUSTED_PROXIES", " ")], SettingsArgs::default()).expect("all valid");
    assert!(empty.http.trusted_proxies.is_empty());
    let error = error("", &[("NOWSERVING_HTTP_TRUSTED_PROXIES", "proxy.internal")], SettingsArgs::default());
    assert!(error.contains("http.trusted_proxies") && error.contains("proxy.internal"), "{error}");
}

#[test]
fn host_names_are_read_and_mistakes_are_named() {
    let environment = [("NOWSERVING_HTTP_HOSTS", "Orders.example., kitchen.example:8443, [FD00::7]:80,")];
    let settings = load("", &environment, SettingsArgs::default()).expect("all valid");
    let file = "[http]\nhosts = ['orders.example', 'kitchen.example:8443', '[fd00::7]:80']";
    assert_eq!(settings, load(file, &[], SettingsArgs::default()).expect("all valid"));
    assert!(settings.masked().contains(r#"hosts = ["orders.example", "kitchen.example:8443", "[fd00::7]:80"]"#));
    for bad in
        ["*", "*.example", "https://orders.example", "orders.example/", "me@orders.example", "a b", "a:http", "::1"]
    {
        let error = error(&format!("[http]\nhosts = ['{bad}']"), &[], SettingsArgs::default());
        assert!(error.contains("http.hosts") && error.contains(bad) && error.contains("shop.example:8443"), "{error}");
    }
    let error = error("[http]\nhosts = 'orders.example'", &[], SettingsArgs::default());
    assert!(error.contains("http.hosts"), "{error}");
}

#[test]
fn origins_are_read_and_mistakes_are_named() {
    let environment = [("NOWSERVING_HTTP_ALLOWED_ORIGINS", "https://Kiosk.example:443, http://10.0.0.9:3000,")];
    let settings = load("", &environment, SettingsArgs::default()).expect("all valid");
    let file = "[http]\nallowed_origins = ['https://kiosk.example', 'http://10.0.0.9:3000']";
    assert_eq!(settings, load(file, &[], SettingsArgs::default()).expect("all valid"));
    assert!(settings.masked().contains(r#"allowed_origins = ["https://kiosk.example", "http://10.0.0.9:3000"]"#));
    for bad in ["*", "null", "kiosk.example", "https://kiosk.example/", "https://*.example", "file:///kiosk"] {
        for error in [
            error(&format!("[http]\nallowed_origins = ['{bad}']"), &[], SettingsArgs::default()),
            error("", &[("NOWSERVING_HTTP_ALLOWED_ORIGINS", bad)], SettingsArgs::default()),
        ] {
            assert!(error.contains("http.allowed_origins") && error.contains(bad), "{error}");
            assert!(error.contains("such as https://kiosk.example"), "{error}");
        }
    }
    let error = error("[http]\nallowed_origins = 'https://kiosk.example'", &[], SettingsArgs::default());
    assert!(error.contains("http.allowed_origins"), "{error}");
}

#[test]
fn a_certificate_needs_its_key() {
    for (file, other) in [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")] {
        let error = error(&format!("[http]\n{file} = 'a.pem'"), &[], SettingsArgs::default());
        assert!(error.contains(other) && error.contains("set both or none"), "{error}");
    }
}
