//! Leadership is handed to a member that has stored all that its leader has (dissertation,
//! section 3.10): one that lags would lead without what is committed, or lose the election.

use {
    super::{Fact, Invariant, Scene, Subject},
    mosaik_protocol::consensus::Body,
};

#[derive(Default)]
pub(super) struct Transfer;

impl Invariant for Transfer {
    fn name(&self) -> &'static str {
        "leadership is handed to who has it all"
    }

    fn see(
        &mut self,
        subject: &Subject<'_>,
        fact: &Fact<'_>,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let Fact::Sends(message) = fact else {
            return Ok(());
        };
        if !matches!(message.body, Body::TimeoutNow) {
            return Ok(());
        }
        let ours = subject.written.last().index;
        match scene.stored(&message.to).map(crate::disk::Image::covers) {
            Some(theirs) if theirs < ours => Err(format!(
                "tells {} to stand, which has {theirs} of {ours}",
                message.to
            )),
            _ => Ok(()),
        }
    }
}
