//! The relay on the memory store and the memory broker, in virtual time.

mod dead_letters;
mod fixture;
mod leases;
mod order;
mod troubles;
