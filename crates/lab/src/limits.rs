//! What a lab may hold at most. Labs may come from strangers: every size, count and time that a file can name is
//! bounded here, and the parser refuses what is larger.

use core::time::Duration;

/// Bytes of one chapter's Markdown.
pub const CHAPTER_BYTES: usize = 1 << 20;
/// Bytes of one `lab.toml`.
pub const LAB_BYTES: usize = 256 << 10;
/// Steps of one chapter.
pub const STEPS: usize = 100;
/// Checks of one step.
pub const CHECKS: usize = 20;
/// Commands of one step, solution or reset.
pub const COMMANDS: usize = 50;
/// Bytes of one command.
pub const COMMAND_BYTES: usize = 4096;
/// Bytes of one recorded output.
pub const RECORDING_BYTES: usize = 64 << 10;
/// Bytes of any other text in `lab.toml`: a hint, words, a title.
pub const TEXT_BYTES: usize = 2000;
/// Levels of hints.
pub const HINTS: usize = 3;
/// The longest that a command, or a check with `eventually`, may take.
pub const TIMEOUT: Duration = Duration::from_secs(600);
/// The shortest pause between two observations; less would only heat the machine.
pub const INTERVAL: Duration = Duration::from_millis(20);
/// Requests that one `http` check may send, and runs of the command of one `command` check.
pub const REQUESTS: i64 = 200;
/// Points of one step.
pub const POINTS: i64 = 1000;
/// Managers of one cluster: Docker advises at most seven.
pub const MANAGERS: i64 = 7;
/// Workers of one cluster.
pub const WORKERS: i64 = 20;
/// How deep `all = { any = { ... } }` may nest.
pub const PREDICATE_DEPTH: usize = 4;
/// Bytes of a compiled `matches` pattern.
pub const PATTERN_BYTES: usize = 1 << 20;
/// Bytes of observed output that are judged or reported; the rest is cut and said to be cut.
pub const OUTPUT_BYTES: usize = 256 << 10;
/// Characters of a value shown in `seen`.
pub const SEEN_CHARS: usize = 600;
