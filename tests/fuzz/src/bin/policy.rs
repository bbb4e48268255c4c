//! The text of a policy, as anyone may send it to the daemon: read, compiled, planned for Landlock. Also read as cases.

#![no_main]

use agentguard::launch::landlock;
use agentguard::policy::compile::{compile, compile_chain};
use agentguard::policy::{Variables, cases, load};
use agentguard_fuzz::check_decisions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let variables = Variables {
        home: "/home/u".into(),
        workspace: "/w[1]{2}*".into(),
        user: "u".into(),
        uid: 1000,
        tmp: "/tmp".into(),
    };
    let _ = cases::load("fuzz.yaml", text, &variables);
    let policy = match load("fuzz.yaml", text, &variables) {
        Ok(policy) => policy,
        Err(mistake) => {
            assert!(!mistake.message.is_empty());
            return;
        }
    };
    let again = load("fuzz.yaml", text, &variables).expect("loaded before");
    assert_eq!(policy, again, "one text, two policies");
    let _ = landlock::plan(&policy);
    let paths = [&b"/"[..], b"/w[1]{2}*/src/.env", b"/tmp/a\n\xff", b"/home/u"];
    if let Ok(compiled) = compile(&policy) {
        check_decisions(&[&policy], &compiled, paths);
    }
    for tool in &policy.tools {
        let chain = [&policy, &tool.policy];
        if let Ok(compiled) = compile_chain(&chain) {
            check_decisions(&chain, &compiled, paths);
        }
    }
});
