//! [`Ticket`]: a credential that mosaik carries and does not read.

use {
    bytes::Bytes,
    core::fmt,
    mosaik_primitives::{Digest, UniqueId},
    serde::{Deserialize, Serialize},
};

/// Names a ticket's format and purpose; a validator looks at tickets of its own class only.
pub type TicketClass = UniqueId;

/// An opaque credential of one class.
///
/// A ticket travels on the peer's discovery entry, so everyone in the network can read it: it
/// must prove something about its bearer (a signature over the peer id, say), never be a secret
/// by itself. Its size counts towards `Limits::entry_bytes`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// What kind of ticket this is.
    pub class: TicketClass,
    /// What only validators of the class understand.
    pub data: Bytes,
}

impl Ticket {
    /// A ticket of `class` that carries `data`.
    pub const fn new(class: TicketClass, data: Bytes) -> Self {
        Self { class, data }
    }

    /// The identity of class and data together: `class.derive(data)`.
    pub fn id(&self) -> UniqueId {
        Digest::derive(&self.class, &self.data)
    }

    /// The opaque bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Ticket({}, class {}, {} bytes)",
            self.id(),
            self.class,
            self.data.len()
        )
    }
}

/// Leaves the bytes out: they are a credential, and may be long.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_covers_class_and_data() {
        let ticket = Ticket::new(Digest::from("a"), Bytes::from_static(b"data"));
        assert_eq!(ticket.id(), Digest::from("a").derive(b"data"));
        let of_other_class = Ticket {
            class: Digest::from("b"),
            ..ticket.clone()
        };
        let of_other_data = Ticket {
            data: Bytes::from_static(b"datum"),
            ..ticket.clone()
        };
        assert_ne!(ticket.id(), of_other_class.id());
        assert_ne!(ticket.id(), of_other_data.id());
    }

    #[test]
    fn neither_text_form_shows_the_data() {
        let ticket = Ticket::new(Digest::from("a"), Bytes::from_static(b"credential"));
        assert!(!format!("{ticket} {ticket:?}").contains("credential"));
    }

    #[test]
    fn it_survives_encoding() {
        let ticket = Ticket::new(Digest::from("a"), Bytes::from(vec![7; 300]));
        let bytes = postcard::to_stdvec(&ticket).unwrap();
        assert_eq!(postcard::from_bytes::<Ticket>(&bytes).unwrap(), ticket);
        let json = serde_json::to_string(&ticket).unwrap();
        assert_eq!(serde_json::from_str::<Ticket>(&json).unwrap(), ticket);
    }
}
