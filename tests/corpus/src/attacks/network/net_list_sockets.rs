use nix::errno::Errno;

use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys, verify};

const BY_FAMILY: u16 = 20;

pub(crate) const ATTACK: Attack = Attack {
    name: "net-list-sockets",
    group: Group::Network,
    tries: "List the sockets of everybody",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see Internet sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(scene: &Scene) -> Result<(), Stop> {
    const LISTENING: u32 = 1 << 10;
    let mut body = vec![libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0];
    body.extend(LISTENING.to_ne_bytes());
    body.extend(scene.victim.tcp.to_be_bytes());
    body.resize(56, 0); // any peer, any interface
    let answer = sys::netlink::request(libc::NETLINK_SOCK_DIAG, BY_FAMILY, libc::NLM_F_DUMP, &body);
    let answer = sys::absent_if(answer, Errno::ENOENT, "socket lists")?;
    verify(answer.get(20..22) == Some(&scene.victim.tcp.to_be_bytes()[..]), "the victim's socket")
}
