//! The reference pages that are written from tables: fresh, or written anew by `make generate`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use monorail_core::error::Code;
use monorail_core::settings::{Scope, TABLE, describe};

/// Compares a page with its text, or writes it where `MONORAIL_WRITE_REFERENCE` is set.
fn check_page(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("MONORAIL_WRITE_REFERENCE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "docs/reference/{name} is stale: run `make generate`");
}

#[test]
fn the_page_of_errors_is_fresh() {
    let mut text = "# Errors\n\n\
        Every failure carries a stable `code`, a `message` (what happened), a `hint` (what to try) and `details`\n\
        (where in the input, at most 100 places), on every road: in the HTTP answer's `error` object, in the\n\
        attributes of the Python exception, and on the command line. All Python classes derive from\n\
        `monorail.errors.MonorailError`. The command line exits with 1 for what the user can mend and with 2\n\
        for what is ours.\n\n\
        This page is written from `crates/core/src/error.rs` by `make generate`.\n"
        .to_owned();
    let mut classes: BTreeMap<&str, Vec<Code>> = BTreeMap::new();
    for code in Code::ALL {
        classes.entry(code.class()).or_default().push(*code);
    }
    for (class, codes) in classes {
        write!(text, "\n## {class}\n\n| code | HTTP status | exit | meaning |\n|---|---|---|---|\n").unwrap();
        for code in codes {
            writeln!(text, "| `{}` | {} | {} | {} |", code.as_str(), code.status(), code.exit(), code.summary())
                .unwrap();
        }
    }
    check_page("errors.md", &text);
}

#[test]
fn the_page_of_settings_is_fresh() {
    let mut text = "# Settings\n\n\
        A setting is the same word everywhere: a flag (`--max-batch-rows`), an environment variable\n\
        (`MONORAIL_MAX_BATCH_ROWS`), a key of `monorail.toml` (`max_batch_rows` under `[serve]`) and an argument\n\
        of `mr.serve`. A flag or argument wins over the variable, the variable over the file, the file over the\n\
        default. The unit is in the name.\n\n\
        Settings of a model may also stand under `[models.NAME]`, for that model alone.\n\n\
        This page is written from `crates/core/src/settings.rs` by `make generate`.\n"
        .to_owned();
    for (scope, title) in [(Scope::Serve, "Of the server"), (Scope::Model, "Of a model")] {
        write!(text, "\n## {title}\n\n| setting | default | value | what it does |\n|---|---|---|---|\n").unwrap();
        for setting in TABLE.iter().filter(|s| s.scope == scope) {
            let (default, form) = (setting.default(), describe(setting.form));
            writeln!(text, "| `{}` | `{default}` | {form} | {} |", setting.name, setting.help).unwrap();
        }
    }
    check_page("settings.md", &text);
}
