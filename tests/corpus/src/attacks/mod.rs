//! All attacks.

use std::process::ExitCode;

use crate::Attack;

macro_rules! attacks {
    ($($group:ident { $($attack:ident)* })*) => {
        $(mod $group { $(pub(super) mod $attack;)* })*

        /// Every attack, in the order of the table.
        pub const ALL: &[&Attack] = &[$($(&$group::$attack::ATTACK,)*)*];
    };
}

attacks! {
    files {
        read_secret
    }
}

/// What attacks run in another process: `agentguard-corpus helper NAME ARGUMENT...`.
pub fn helper(name: &str, _arguments: &[&str]) -> ExitCode {
    eprintln!("no helper {name}");
    ExitCode::from(2)
}
