use crate::{Attack, Compat, Group, Recorded, Scene, Stop, Who, sys, verify};

const CONTROLLER: u16 = 16;

pub(crate) const ATTACK: Attack = Attack {
    name: "net-generic-netlink",
    group: Group::Network,
    tries: "Ask a part of the kernel over generic netlink",
    who: Who::Anyone,
    compat: Compat::Open("control group hooks see Internet sockets only"),
    recorded: Recorded::As(&["socket"]),
    run,
};

fn run(_scene: &Scene) -> Result<(), Stop> {
    // A command to find a family, its version, and the attribute with the family's name.
    let mut body = vec![3, 1, 0, 0];
    body.extend([11_u16, 2].map(u16::to_ne_bytes).concat());
    body.extend(b"nlctrl\0\0");
    let answer = sys::netlink::request(libc::NETLINK_GENERIC, CONTROLLER, 0, &body)?;
    verify(answer.get(4..6) == Some(&CONTROLLER.to_ne_bytes()[..]), "the controller's answer")
}
