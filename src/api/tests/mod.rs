//! The API over real sockets and a real log.

mod access;
mod artifact;
mod client;
mod drain;
mod extent;
mod fixture;
mod interleaving;
mod limit;
mod resume;
mod seed;
mod specification;
mod status;
mod stop;
mod stream;
