//! A member that replays the log of others, on a network of plain queues and on virtual time.

mod catching_up;
mod world;
