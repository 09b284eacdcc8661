//! [`GroupKey`]: the secret that makes a node a member, and its proof.

use {
    super::link::Link,
    crate::PeerId,
    core::fmt,
    mosaik_primitives::{Digest, ShortFmtExt},
    serde::{Deserialize, Serialize},
    std::{borrow::Cow, sync::Arc},
};

/// Names a group. Derived from the key and from everything members must agree on.
pub type GroupId = Digest;

/// The secret shared by the members of a group. Whoever has it can join.
///
/// It never travels: members prove to each other that they have it, each proof bound to one
/// connection and one peer. Printing a key shows a fingerprint, not the secret; serialising it
/// does give the secret away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupKey {
    secret: Digest,
}

impl GroupKey {
    /// The key with this secret, taken as it is.
    pub const fn new(secret: Digest) -> Self {
        Self { secret }
    }

    /// The key with this secret; text is hashed. A secret that can be guessed lets anyone in who
    /// can reach a member.
    pub fn from_secret(secret: impl Into<Digest>) -> Self {
        Self::new(secret.into())
    }

    /// A key that nobody else has.
    pub fn random() -> Self {
        Self::new(Digest::random())
    }

    /// The secret.
    pub const fn secret(&self) -> &Digest {
        &self.secret
    }

    /// What can be told of the key without giving it away; the root of the ids of its groups.
    pub fn fingerprint(&self) -> Digest {
        self.secret.hashed()
    }

    /// Whether `proof`, sent by the other end of `link`, shows that it has this key.
    pub fn validate_proof(&self, link: &Link, proof: Digest, group_id: GroupId) -> bool {
        let expected = self.generate_proof(link, link.remote_id(), group_id);
        same(&expected, &proof)
    }

    /// The proof that `peer_id`, one of the two ends of `link`, has this key. It is worth nothing
    /// on another connection, and cannot be sent back as the other end's.
    pub fn generate_proof(&self, link: &Link, peer_id: PeerId, group_id: GroupId) -> Digest {
        self.proof(&link.shared_random(group_id), &peer_id)
    }

    fn proof(&self, shared: &Digest, peer_id: &PeerId) -> Digest {
        self.secret.derive(shared).derive(peer_id.as_bytes())
    }
}

/// Compares in constant time, as the hash's own comparison does.
fn same(a: &Digest, b: &Digest) -> bool {
    **a == **b
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupKey({})", self.fingerprint().short())
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl From<Digest> for GroupKey {
    fn from(secret: Digest) -> Self {
        Self::new(secret)
    }
}

impl From<&Digest> for GroupKey {
    fn from(secret: &Digest) -> Self {
        Self::new(*secret)
    }
}

impl From<&Self> for GroupKey {
    fn from(key: &Self) -> Self {
        *key
    }
}

macro_rules! from_secrets {
    ($($type:ty),*) => { $(
        impl From<&$type> for GroupKey {
            /// As [`GroupKey::from_secret`].
            fn from(secret: &$type) -> Self {
                Self::from_secret(&secret[..])
            }
        }
    )* };
}

from_secrets!(str, String, [u8], Vec<u8>);

impl<const N: usize> From<&[u8; N]> for GroupKey {
    /// As [`GroupKey::from_secret`].
    fn from(secret: &[u8; N]) -> Self {
        Self::from_secret(secret.as_slice())
    }
}

impl From<String> for GroupKey {
    /// As [`GroupKey::from_secret`].
    fn from(secret: String) -> Self {
        Self::from_secret(secret.as_str())
    }
}

macro_rules! from_texts {
    ($($type:ty),*) => { $(
        impl From<$type> for GroupKey {
            /// As [`GroupKey::from_secret`].
            fn from(secret: $type) -> Self {
                let secret: &str = secret.as_ref();
                Self::from_secret(secret)
            }
        }
    )* };
}

from_texts!(&&str, &Box<str>, &Arc<str>, &Cow<'_, str>);

#[cfg(test)]
mod tests {
    use {super::*, iroh::SecretKey};

    #[test]
    fn a_proof_is_bound_to_the_key_the_connection_and_the_peer() {
        let (one, two) = (
            SecretKey::generate().public(),
            SecretKey::generate().public(),
        );
        let key = GroupKey::from("secret");
        let shared = Digest::hash(b"connection");
        let proof = key.proof(&shared, &one);
        let expected = Digest::hash(b"secret")
            .derive(shared)
            .derive(one.as_bytes());
        assert_eq!(proof, expected);
        assert!(same(&proof, &expected));
        assert!(!same(&proof, &key.proof(&shared, &two)));
        assert!(!same(&proof, &key.proof(&Digest::hash(b"another"), &one)));
        assert!(!same(&proof, &GroupKey::from("other").proof(&shared, &one)));
    }

    #[test]
    fn printing_a_key_does_not_give_it_away() {
        let key = GroupKey::random();
        let shown = format!("{key} {key:?}");
        assert!(!shown.contains(&key.secret().short().to_string()));
    }

    #[test]
    fn text_and_digests_make_the_same_key_as_elsewhere() {
        let digest = Digest::from("secret");
        assert_eq!(GroupKey::from("secret"), GroupKey::new(digest));
        assert_eq!(GroupKey::from(&digest), GroupKey::from_secret("secret"));
        assert_eq!(GroupKey::from(&"secret".to_owned()), GroupKey::from(digest));
        let bytes = postcard::to_stdvec(&GroupKey::from(digest)).unwrap();
        assert_eq!(
            postcard::from_bytes::<GroupKey>(&bytes).unwrap(),
            digest.into()
        );
    }
}
