//! Programs as they are written against the public interface: what compiles here must go on
//! compiling. Signatures are pinned by giving them to something that takes nothing else.

mod groups_handles;
mod groups_machines;
mod groups_values;
