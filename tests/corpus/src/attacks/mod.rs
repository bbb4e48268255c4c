//! All attacks.

use std::process::ExitCode;

use crate::Attack;

macro_rules! attacks {
    ($($group:ident { $($attack:ident)* })*) => {
        $(mod $group { $(pub(super) mod $attack;)* })*

        /// Every attack, in the order of the table.
        pub const ALL: &[&Attack] = &[$($(&$group::$attack::ATTACK,)*)*];
    };
}

attacks! {
    files {
        read_secret
    }
    exec {
        unlisted_program
        copied_program
        look_alike_path
        moved_program
        hard_linked_program
        symlinked_program
        script
        loader
        exec_from_thread
        path_descriptor
        workspace_descriptor
        memory_program
        memory_program_by_path
        deleted_program
        unnamed_program
        map_exec
        map_then_protect
        read_implies_exec
        map_memory_file
        anonymous_memory
        writable_code
        protect_with_key
        patched_library
        own_code_by_proc
        shared_segment
        load_library
        preload_library
        core_pattern
    }
    privilege {
        mount_tmpfs
        bind_mount
        new_mount_calls
        detached_mount
        mount_attributes
        chroot
        user_namespace
        clone_user_namespace
        mount_in_user_namespace
        network_namespace
        mount_namespace
        host_name_namespace
        process_namespace
        join_mount_namespace
        join_by_pidfd
        load_module
        load_module_file
        unload_module
        bpf_map
        bpf_program
        performance_events
        set_clock
        set_host_name
        io_ports
        kernel_memory
        kernel_log
        read_kernel_log
        terminal_input
        read_key_ring
        keep_key
        device_node
        process_accounting
        interface_flags
        mark_packets
        watch_file_system
    }
    processes {
        signal
        signal_group
        signal_by_pidfd
        signal_thread
        queue_signal
        signal_by_owner
        signal_by_owner_ioctl
        trace_attach
        trace_seize
        read_memory
        write_memory
        proc_memory
        proc_environment
        proc_maps
        proc_descriptor
        proc_root
        copy_descriptor
        compare_resources
        robust_list
        memory_advice
        memory_nodes
        limits
        scheduler
        processors
        priority
        io_priority
        out_of_memory_score
        control_group
        sysv_shared_memory
        identity_in_daemon
        identity_in_thread
        identity_in_sibling
        identity_in_shared_memory
        identity_of_program
        identity_in_control_group
    }
    protection {
        signal_daemon
        trace_daemon
        read_daemon
        copy_daemon_descriptor
        open_maps
        open_programs
        open_links
        ask_daemon
        revoke_others
        limit_daemon
        schedule_daemon
        sacrifice_daemon
        move_daemon
        write_event_log
        move_event_log
        move_control_socket
        pin_directory
    }
}

/// What attacks run in another process: `agentguard-corpus helper NAME ARGUMENT...`.
pub fn helper(name: &str, _arguments: &[&str]) -> ExitCode {
    eprintln!("no helper {name}");
    ExitCode::from(2)
}
