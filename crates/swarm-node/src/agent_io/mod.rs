//! What the pure agent needs of the world: a connection to a manager ([`Link`]), containers ([`Lanes`]) and the tasks
//! that it remembers over restarts ([`TaskFiles`]).

mod lanes;
mod link;
mod task_files;

pub use lanes::Lanes;
pub use link::{Link, LinkEvent};
pub use task_files::TaskFiles;
