fn main() { match agentguard::kernel::Kernel::best() { Ok((k,why)) => println!("{:?} {why:?} {:?}", k.level(), k.missing), Err(e) => println!("{e:?}") } }
