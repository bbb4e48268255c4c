//! Makes one attack, or is the victim of all of them.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use agentguard_corpus::{Scene, Stop, attacks, scene};

const USAGE: &str =
    "usage: agentguard-corpus attack NAME SCENE.json | victim DIRECTORY | helper NAME ARGUMENT...";

fn attack(name: &str, scene: &str) -> Result<(), Stop> {
    let attack = attacks::ALL.iter().find(|a| a.name == name).unwrap_or_else(|| panic!("no attack {name}"));
    let text = std::fs::read_to_string(scene).expect("the scene");
    let scene: Scene = serde_json::from_str(&text).expect("a scene");
    (attack.run)(&scene)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // One line for the runner: `succeeded`, `refused ERRNO STEP`, `absent WHY`.
        ["attack", name, scene] => {
            let line = match attack(name, scene) {
                Ok(()) => "succeeded".to_owned(),
                Err(Stop::Refused { step, errno }) => format!("refused {errno} {step}"),
                Err(Stop::Absent(why)) => format!("absent {why}"),
            };
            println!("{line}");
            ExitCode::SUCCESS
        }
        ["victim", directory] => {
            let victim = scene::serve(std::path::Path::new(directory));
            let mut out = std::io::stdout();
            let text = serde_json::to_string(&victim).expect("JSON");
            writeln!(out, "{text}").and_then(|()| out.flush()).expect("telling the runner");
            let _ = std::io::stdin().read(&mut [0]); // until the runner is done, or interrupted
            victim.clear_away();
            ExitCode::SUCCESS
        }
        ["helper", name, ref rest @ ..] => attacks::helper(name, rest),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
