//! Build, test and demo commands of the workspace.
fn main() {}
