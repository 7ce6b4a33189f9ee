//! What must hold for containers, with and without root.

mod commands;
mod images;
mod running;
mod streams;
mod supervision;

use crate::support::Case;

macro_rules! cases {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        pub const ALL: &[Case] = &[$($((stringify!($name), |lab| Box::pin($module::$name(lab))),)*)*];
    };
}

cases! {
    running {
        a_command_runs_and_its_output_and_status_are_kept,
        environment_user_directory_and_hostname_are_as_configured,
        a_container_has_dockers_capabilities_and_masked_paths_and_cannot_gain_privileges,
        between_prepare_and_start_the_network_namespace_exists_and_nothing_runs,
        a_program_that_does_not_exist_fails_the_start_with_127_and_leaves_the_container_created,
        limits_are_enforced_as_root_and_accepted_without,
        binds_volumes_and_tmpfs_appear_and_read_only_holds,
        a_container_started_again_keeps_its_files,
        an_unmapped_user_is_refused_clearly_and_a_mapped_one_runs,
        conflicts_and_unknown_names_are_refused,
        hosts_and_resolver_can_be_set_while_it_runs,
    }
    commands {
        the_images_have_their_own_network_commands_first_on_the_path,
        curl_fetches_from_the_web_server_and_ends_with_curls_codes,
        ping_counts_its_replies,
        ping_needs_no_capability_where_the_kernel_has_a_socket_for_it,
        nslookup_tells_when_nobody_answers,
    }
    streams {
        an_exec_has_its_own_output_status_input_and_terminal,
        an_exec_of_ten_megabytes_loses_nothing,
        a_terminal_container_is_attached_to_resized_and_answers,
        input_reaches_the_container_and_ends_with_the_first_client,
        logs_follow_tail_and_filter_in_order,
    }
    supervision {
        stop_sends_the_configured_signal_and_kills_after_the_grace_period,
        a_restarted_daemon_finds_running_and_finished_containers,
        a_killed_shim_takes_its_container_along_and_is_reported,
        events_tell_every_change_in_order,
        the_web_server_gets_healthy_and_tells_who_it_is,
        the_unhealthy_web_server_is_found_unhealthy_and_the_crashing_one_exits_with_one,
        many_containers_start_and_end_at_once,
        the_slow_web_server_is_starting_first_and_healthy_later,
        the_small_init_reaps_orphans_and_passes_signals_on,
        top_and_stats_see_all_processes,
        measure,
    }
    images {
        a_saved_image_loads_and_runs_with_its_settings_and_whiteouts,
        an_oci_archive_loads_and_is_found_by_name_digest_and_id,
        damaged_and_hostile_archives_are_refused_and_change_nothing,
        an_archive_cut_anywhere_is_refused,
        an_image_in_use_is_not_removed_unless_forced,
        archives_changed_at_random_load_whole_or_not_at_all,
    }
}
