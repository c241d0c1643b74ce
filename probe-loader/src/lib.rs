//! A packed agent: one static program that contains another one, compressed, and runs it.
//!
//! The file is the loader, then the agent in the zlib format, then a [`Footer`]. The loader is a program that reads
//! the end of its own file, inflates the agent into memory, and executes it. It makes the agent small enough for a
//! ConfigMap.
//!
//! This library has what does no I/O: the format, unpacking, and packing. The program adds the system calls. Only
//! the program has unsafe code.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "pack")]
extern crate alloc;

mod footer;
mod message;
#[cfg(feature = "pack")]
mod pack;
mod unpack;

pub use footer::Footer;
pub use message::Message;
#[cfg(feature = "pack")]
pub use pack::{Parts, pack};
pub use unpack::{Damage, Failure, unpack};
