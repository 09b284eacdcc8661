//! Scenario scripts: small stories in prose, each about one trap.
//!
//! A script is a text file under `scenarios/`. Lines that start with `#` say what it is about;
//! the rest is sentences, each of which `stage` knows. `Soon …` waits for something to become
//! true; without it, it must be true now. At the end everything is mended and the group must
//! come together, unless the script says that nothing more is expected.

mod checks;
mod pattern;
mod stage;

pub use stage::run_named;

/// Every script with its name.
pub const ALL: &[(&str, &str)] = &[
    (
        "a_bridge_does_not_rock_the_leadership",
        include_str!("../../scenarios/a_bridge_does_not_rock_the_leadership.txt"),
    ),
    (
        "a_crash_in_the_middle_of_a_snapshot",
        include_str!("../../scenarios/a_crash_in_the_middle_of_a_snapshot.txt"),
    ),
    (
        "a_crash_tears_the_last_write",
        include_str!("../../scenarios/a_crash_tears_the_last_write.txt"),
    ),
    (
        "a_crashed_leader_is_replaced",
        include_str!("../../scenarios/a_crashed_leader_is_replaced.txt"),
    ),
    (
        "a_cut_log_is_given_way_to",
        include_str!("../../scenarios/a_cut_log_is_given_way_to.txt"),
    ),
    (
        "a_dead_voter_is_replaced",
        include_str!("../../scenarios/a_dead_voter_is_replaced.txt"),
    ),
    (
        "a_deaf_leader_steps_down",
        include_str!("../../scenarios/a_deaf_leader_steps_down.txt"),
    ),
    (
        "a_deposed_leader_answers_no_read",
        include_str!("../../scenarios/a_deposed_leader_answers_no_read.txt"),
    ),
    (
        "a_failing_disk_stops_its_member_only",
        include_str!("../../scenarios/a_failing_disk_stops_its_member_only.txt"),
    ),
    (
        "a_fast_clock_makes_no_stale_read",
        include_str!("../../scenarios/a_fast_clock_makes_no_stale_read.txt"),
    ),
    (
        "a_flapping_path_loses_nothing",
        include_str!("../../scenarios/a_flapping_path_loses_nothing.txt"),
    ),
    (
        "a_forwarded_command_is_applied_once",
        include_str!("../../scenarios/a_forwarded_command_is_applied_once.txt"),
    ),
    (
        "a_founder_dies_while_founding",
        include_str!("../../scenarios/a_founder_dies_while_founding.txt"),
    ),
    (
        "a_fresh_leader_reads_what_was_committed",
        include_str!("../../scenarios/a_fresh_leader_reads_what_was_committed.txt"),
    ),
    (
        "a_group_forms_and_answers",
        include_str!("../../scenarios/a_group_forms_and_answers.txt"),
    ),
    (
        "a_late_append_does_not_cut_the_log",
        include_str!("../../scenarios/a_late_append_does_not_cut_the_log.txt"),
    ),
    (
        "a_leader_dies_between_commit_and_answer",
        include_str!("../../scenarios/a_leader_dies_between_commit_and_answer.txt"),
    ),
    (
        "a_leader_does_not_count_its_own_unsynced_entry",
        include_str!("../../scenarios/a_leader_does_not_count_its_own_unsynced_entry.txt"),
    ),
    (
        "a_leader_without_a_quorum_steps_down",
        include_str!("../../scenarios/a_leader_without_a_quorum_steps_down.txt"),
    ),
    (
        "a_learner_is_not_counted",
        include_str!("../../scenarios/a_learner_is_not_counted.txt"),
    ),
    (
        "a_leaving_leader_hands_over",
        include_str!("../../scenarios/a_leaving_leader_hands_over.txt"),
    ),
    (
        "a_live_leader_is_an_objection",
        include_str!("../../scenarios/a_live_leader_is_an_objection.txt"),
    ),
    (
        "a_lone_node_founds_alone",
        include_str!("../../scenarios/a_lone_node_founds_alone.txt"),
    ),
    (
        "a_lone_survivor_goes_on_when_told",
        include_str!("../../scenarios/a_lone_survivor_goes_on_when_told.txt"),
    ),
    (
        "a_losing_leader_dies_while_merging",
        include_str!("../../scenarios/a_losing_leader_dies_while_merging.txt"),
    ),
    (
        "a_losing_side_without_a_leader_merges",
        include_str!("../../scenarios/a_losing_side_without_a_leader_merges.txt"),
    ),
    (
        "a_mute_leader_is_replaced",
        include_str!("../../scenarios/a_mute_leader_is_replaced.txt"),
    ),
    (
        "a_named_member_founds_elsewhere",
        include_str!("../../scenarios/a_named_member_founds_elsewhere.txt"),
    ),
    (
        "a_paused_leader_wakes_up_deposed",
        include_str!("../../scenarios/a_paused_leader_wakes_up_deposed.txt"),
    ),
    (
        "a_read_waits_out_an_election",
        include_str!("../../scenarios/a_read_waits_out_an_election.txt"),
    ),
    (
        "a_removed_node_does_not_disturb",
        include_str!("../../scenarios/a_removed_node_does_not_disturb.txt"),
    ),
    (
        "a_returning_node_does_not_disturb",
        include_str!("../../scenarios/a_returning_node_does_not_disturb.txt"),
    ),
    (
        "a_ring_still_commits",
        include_str!("../../scenarios/a_ring_still_commits.txt"),
    ),
    (
        "a_sealed_side_goes_on_without_its_winner",
        include_str!("../../scenarios/a_sealed_side_goes_on_without_its_winner.txt"),
    ),
    (
        "a_snapshot_does_not_drop_what_was_confirmed",
        include_str!("../../scenarios/a_snapshot_does_not_drop_what_was_confirmed.txt"),
    ),
    (
        "a_snapshot_does_not_replace_a_newer_log",
        include_str!("../../scenarios/a_snapshot_does_not_replace_a_newer_log.txt"),
    ),
    (
        "a_survivor_crashes_while_it_goes_on",
        include_str!("../../scenarios/a_survivor_crashes_while_it_goes_on.txt"),
    ),
    (
        "a_transfer_to_a_dead_node_is_given_up",
        include_str!("../../scenarios/a_transfer_to_a_dead_node_is_given_up.txt"),
    ),
    (
        "a_transfer_waits_for_the_log",
        include_str!("../../scenarios/a_transfer_waits_for_the_log.txt"),
    ),
    (
        "a_vote_is_counted_once",
        include_str!("../../scenarios/a_vote_is_counted_once.txt"),
    ),
    (
        "a_vote_survives_a_restart",
        include_str!("../../scenarios/a_vote_survives_a_restart.txt"),
    ),
    (
        "a_winning_leader_dies_while_merging",
        include_str!("../../scenarios/a_winning_leader_dies_while_merging.txt"),
    ),
    (
        "a_wiped_node_is_not_its_former_self",
        include_str!("../../scenarios/a_wiped_node_is_not_its_former_self.txt"),
    ),
    (
        "a_wiped_voter_does_not_vote_as_before",
        include_str!("../../scenarios/a_wiped_voter_does_not_vote_as_before.txt"),
    ),
    (
        "all_but_one_leave",
        include_str!("../../scenarios/all_but_one_leave.txt"),
    ),
    (
        "an_observer_alone_founds_nothing",
        include_str!("../../scenarios/an_observer_alone_founds_nothing.txt"),
    ),
    (
        "an_observer_never_leads",
        include_str!("../../scenarios/an_observer_never_leads.txt"),
    ),
    (
        "an_old_leaders_append_is_refused",
        include_str!("../../scenarios/an_old_leaders_append_is_refused.txt"),
    ),
    (
        "an_old_log_does_not_win",
        include_str!("../../scenarios/an_old_log_does_not_win.txt"),
    ),
    (
        "an_uncommitted_change_is_rolled_back",
        include_str!("../../scenarios/an_uncommitted_change_is_rolled_back.txt"),
    ),
    (
        "apart_when_told_to_stay_apart",
        include_str!("../../scenarios/apart_when_told_to_stay_apart.txt"),
    ),
    (
        "compaction_at_every_step",
        include_str!("../../scenarios/compaction_at_every_step.txt"),
    ),
    (
        "doubled_messages_change_nothing",
        include_str!("../../scenarios/doubled_messages_change_nothing.txt"),
    ),
    (
        "elections_use_no_public_index",
        include_str!("../../scenarios/elections_use_no_public_index.txt"),
    ),
    (
        "everybody_crashes",
        include_str!("../../scenarios/everybody_crashes.txt"),
    ),
    (
        "figure_7_diverged_followers_are_repaired",
        include_str!("../../scenarios/figure_7_diverged_followers_are_repaired.txt"),
    ),
    (
        "figure_8_commits_no_older_term_by_counting",
        include_str!("../../scenarios/figure_8_commits_no_older_term_by_counting.txt"),
    ),
    (
        "leadership_moves_on_request",
        include_str!("../../scenarios/leadership_moves_on_request.txt"),
    ),
    (
        "lineages_that_cut_their_logs_stay_apart",
        include_str!("../../scenarios/lineages_that_cut_their_logs_stay_apart.txt"),
    ),
    (
        "no_more_than_the_allowed_voters",
        include_str!("../../scenarios/no_more_than_the_allowed_voters.txt"),
    ),
    (
        "one_genesis_of_five",
        include_str!("../../scenarios/one_genesis_of_five.txt"),
    ),
    (
        "small_appends_reach_back",
        include_str!("../../scenarios/small_appends_reach_back.txt"),
    ),
    (
        "split_votes_resolve",
        include_str!("../../scenarios/split_votes_resolve.txt"),
    ),
    (
        "survivors_that_each_go_on_meet_again",
        include_str!("../../scenarios/survivors_that_each_go_on_meet_again.txt"),
    ),
    (
        "three_lineages_merge",
        include_str!("../../scenarios/three_lineages_merge.txt"),
    ),
    (
        "too_few_do_not_found",
        include_str!("../../scenarios/too_few_do_not_found.txt"),
    ),
    (
        "two_changes_at_once_never_happen",
        include_str!("../../scenarios/two_changes_at_once_never_happen.txt"),
    ),
    (
        "two_lineages_merge",
        include_str!("../../scenarios/two_lineages_merge.txt"),
    ),
    (
        "two_voters_and_one_dies",
        include_str!("../../scenarios/two_voters_and_one_dies.txt"),
    ),
    (
        "unsynced_entries_do_not_count",
        include_str!("../../scenarios/unsynced_entries_do_not_count.txt"),
    ),
    (
        "unsynced_votes_are_not_sent",
        include_str!("../../scenarios/unsynced_votes_are_not_sent.txt"),
    ),
];

/// The sentences of a script with their line numbers.
pub fn sentences(script: &str) -> Vec<(usize, String)> {
    let mut sentences = Vec::new();
    for (line, text) in script.lines().enumerate() {
        if text.starts_with('#') {
            continue;
        }
        for sentence in text
            .split('.')
            .map(str::trim)
            .filter(|sentence| !sentence.is_empty())
        {
            sentences.push((line + 1, sentence.to_owned()));
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_listed_and_says_what_it_is_about() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> = ALL.iter().map(|(name, _)| format!("{name}.txt")).collect();
        assert_eq!(files, listed);
        assert!(ALL.len() >= 40);
        for (name, script) in ALL {
            assert!(script.starts_with("# "), "{name}");
        }
    }

    #[test]
    fn every_sentence_is_understood() {
        for (name, script) in ALL {
            for (line, sentence) in sentences(script) {
                assert!(
                    stage::is_understood(&sentence),
                    "{name}, line {line}: {sentence}"
                );
            }
        }
    }
}
