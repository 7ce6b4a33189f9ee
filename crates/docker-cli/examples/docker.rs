//! The command line alone, for trying it out and for `tests/genuine.rs`.

fn main() -> std::process::ExitCode {
    docker_cli::main(std::env::args_os().skip(1))
}
