//! The public listener over real sockets: what each sender hears, and what no client can do.
// One binary: each would link the whole crate again.

mod answers;
mod limits;
mod senders;
mod support;
