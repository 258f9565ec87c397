//! Profiles: the weakest source, whatever stands above it.

use std::time::Duration;

use proptest::prelude::*;

use super::{current_dir, resolve_in};

#[test]
fn a_profile_gives_what_no_other_source_gives() {
    let dir = current_dir();
    let real = dir.path().canonicalize().unwrap();
    let args = "--profile ci --profile-dir profiles -- true";
    let (run, _) = resolve_in(dir.path(), args, &[], "").unwrap();
    assert_eq!(run.profile.as_deref(), Some("ci"));
    assert_eq!(run.timeout, Duration::from_secs(900));
    assert_eq!(run.max_steps, 7);
    // A path in a profile begins at the profile.
    assert_eq!(run.workspace, real.join("work"));
    let origin = run.origin_of("max_steps").to_string();
    assert_eq!(origin, "in profiles/ci.toml:2:1");
    assert_eq!(run.public()["profile"], "ci");
}

/// SEED, H7: there a value equal to the default could not be set over a profile.
#[test]
fn a_value_set_to_its_default_wins_over_the_profile_in_every_source() {
    let dir = current_dir();
    let given = "--profile ci --profile-dir profiles";
    let variable = ("STOCKADE_TIMEOUT_SECONDS", "600");
    let cases = [
        ("--timeout 600 -- true", Vec::new(), ""),
        ("-- true", vec![variable], ""),
        (
            "--config run.toml -- true",
            Vec::new(),
            "timeout_seconds = 600",
        ),
    ];
    for (args, environment, file) in cases {
        let args = format!("{given} {args}");
        let (run, _) = resolve_in(dir.path(), &args, &environment, file).unwrap();
        assert_eq!(run.timeout, Duration::from_secs(600), "{args}");
        assert_eq!(run.max_steps, 7, "{args}");
    }
}

#[test]
fn maps_of_a_profile_are_merged_by_name() {
    let dir = current_dir();
    let args = "--config run.toml --profile-dir profiles --env B=flag -- true";
    let file = "profile = 'ci'\n[env]\nC = 'file'\n";
    let (run, _) = resolve_in(dir.path(), args, &[], file).unwrap();
    let env: Vec<(&str, &str)> = run
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env, [("A", "profile"), ("B", "flag"), ("C", "file")]);
}

#[test]
fn the_strongest_source_names_the_profile_and_none_is_none() {
    let dir = current_dir();
    let file = "profile = 'wrong'\n";
    let resolve = |args: &str, environment: &[(&str, &str)]| {
        let args = format!("--config run.toml --profile-dir profiles {args} -- true");
        let (run, _) = resolve_in(dir.path(), &args, environment, file).unwrap();
        (run.profile, run.max_steps)
    };
    let environment = [("STOCKADE_PROFILE", "ci")];
    assert_eq!(resolve("", &environment), (Some("ci".to_owned()), 7));
    assert_eq!(resolve("--profile none", &environment), (None, 50));
}

#[test]
fn the_users_own_directory_comes_first() {
    let dir = current_dir();
    let own = dir.path().join("home/.config/stockade/profiles");
    let of_xdg = dir.path().join("xdg/stockade/profiles");
    for (directory, max_steps) in [(&own, 1), (&of_xdg, 2)] {
        std::fs::create_dir_all(directory).unwrap();
        let text = format!("max_steps = {max_steps}\n");
        std::fs::write(directory.join("own.toml"), text).unwrap();
    }
    let (home, xdg) = (dir.path().join("home"), dir.path().join("xdg"));
    let (home, xdg) = (home.to_str().unwrap(), xdg.to_str().unwrap());
    let max_steps = |environment: &[(&str, &str)]| {
        let args = "--profile own -- true";
        let (run, _) = resolve_in(dir.path(), args, environment, "").unwrap();
        run.max_steps
    };
    assert_eq!(max_steps(&[("HOME", home)]), 1);
    assert_eq!(max_steps(&[("HOME", home), ("XDG_CONFIG_HOME", xdg)]), 2);
    let relative = [("HOME", home), ("XDG_CONFIG_HOME", "xdg")];
    assert_eq!(max_steps(&relative), 1, "a relative path counts as absent");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whoever_is_strongest_wins_to_whatever_he_sets_a_key(
        // 50 is the default, and as likely as any other value.
        given in proptest::array::uniform4(proptest::option::of(prop_oneof![Just(50_u32), 1_u32..60])),
    ) {
        let [in_profile, in_file, in_environment, in_flag] = given;
        let dir = current_dir();
        let line = |value: Option<u32>| value.map_or(String::new(), |value| format!("max_steps = {value}\n"));
        std::fs::write(dir.path().join("profiles/any.toml"), line(in_profile)).unwrap();
        let file = format!("profile = 'any'\n{}", line(in_file));
        let environment: Vec<(&str, String)> = in_environment
            .map(|value| ("STOCKADE_MAX_STEPS", value.to_string()))
            .into_iter()
            .collect();
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let flag = in_flag.map_or(String::new(), |value| format!("--max-steps {value}"));
        let args = format!("--config run.toml --profile-dir profiles {flag} -- true");
        let (run, _) = resolve_in(dir.path(), &args, &environment, &file).unwrap();
        let strongest = in_flag.or(in_environment).or(in_file).or(in_profile);
        prop_assert_eq!(run.max_steps, strongest.unwrap_or(50));
        prop_assert_eq!(run.is_explicit("max_steps"), strongest.is_some());
    }
}
