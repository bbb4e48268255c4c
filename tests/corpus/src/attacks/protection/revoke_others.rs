use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys};

pub(crate) const ATTACK: Attack = Attack {
    name: "revoke-others",
    group: Group::Protection,
    tries: "Have the daemon revoke other invocations",
    who: Who::Root,
    compat: Compat::Stopped,
    recorded: Recorded::As(&["control"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    let body = r#"{"principal":"user:of-the-corpus"}"#; // whom nobody runs for, as 422 says
    sys::control::ask(scene, "POST /v1/revoke HTTP/1.1\r\nContent-Type: application/json\r\n", body, 422)
}
