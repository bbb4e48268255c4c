//! What happens to a process between `agentguard run` and the agent's first instruction.
//!
//! The order matters: [`mask::mask`] needs root, so it comes first; then [`identity::drop_to`], then
//! [`identity::no_new_privs`] and [`landlock::apply`], then [`inherited::close_inherited`], then exec with the
//! variables that [`environment::filter`] lets pass. All of it is meant for a freshly forked child.

pub mod capabilities;
pub mod environment;
mod expand;
pub mod identity;
pub mod inherited;
pub mod landlock;
pub mod mask;

#[cfg(test)]
pub(crate) mod testing;
