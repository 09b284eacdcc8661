//! Queries: how fresh an answer has to be, and the answer with its place.

use {
    super::{index::Index, machine::StateMachine},
    core::{fmt, ops::Deref},
    serde::{Deserialize, Deserializer, Serialize, Serializer},
};

/// How fresh an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// From what this member has applied; answers at once, offline too, and may be stale.
    Weak,
    /// Linearizable: reflects every command that was committed when the query was made, on any
    /// member. Costs a round trip to the leader; fails while there is none.
    Strong,
}

/// An answer, and which commands it reflects.
pub struct QueryResultAt<M: StateMachine> {
    /// The answer.
    pub result: M::QueryResult,
    /// The last command whose effect it reflects.
    pub at_position: Index,
}

impl<M: StateMachine> QueryResultAt<M> {
    /// The answer alone.
    pub fn into(self) -> M::QueryResult {
        self.result
    }

    /// The answer.
    pub const fn result(&self) -> &M::QueryResult {
        &self.result
    }

    /// The last command whose effect the answer reflects.
    pub const fn state_position(&self) -> Index {
        self.at_position
    }
}

impl<M: StateMachine> Clone for QueryResultAt<M> {
    fn clone(&self) -> Self {
        Self {
            result: self.result.clone(),
            at_position: self.at_position,
        }
    }
}

impl<M: StateMachine> fmt::Debug for QueryResultAt<M>
where
    M::QueryResult: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResultAt")
            .field("result", &self.result)
            .field("at_position", &self.at_position)
            .finish()
    }
}

impl<M: StateMachine> fmt::Display for QueryResultAt<M>
where
    M::QueryResult: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.result.fmt(f)
    }
}

impl<M: StateMachine> Deref for QueryResultAt<M> {
    type Target = M::QueryResult;

    fn deref(&self) -> &M::QueryResult {
        &self.result
    }
}

impl<M: StateMachine> PartialEq<M::QueryResult> for QueryResultAt<M>
where
    M::QueryResult: PartialEq,
{
    fn eq(&self, result: &M::QueryResult) -> bool {
        self.result == *result
    }
}

impl<M: StateMachine> Serialize for QueryResultAt<M>
where
    M::QueryResult: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Serialize::serialize(
            &Fields::<&M::QueryResult> {
                result: &self.result,
                at_position: self.at_position,
            },
            serializer,
        )
    }
}

impl<'de, M: StateMachine> Deserialize<'de> for QueryResultAt<M>
where
    M::QueryResult: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::<M::QueryResult>::deserialize(deserializer)?;
        Ok(Self {
            result: fields.result,
            at_position: fields.at_position,
        })
    }
}

/// The serialised form, for a result that is borrowed or owned.
#[derive(Serialize, Deserialize)]
#[serde(rename = "QueryResultAt")]
struct Fields<R> {
    result: R,
    at_position: Index,
}
