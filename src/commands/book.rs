//! `swarmlab book`: builds the book without mdBook installed, and checks the links of a built one.

mod links;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mdbook_driver::MDBook;

use super::support::{Failure, LabsDir};
use crate::content::Content;
use crate::preprocessor::Swarmlab;

/// Arguments of `swarmlab book`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    labs: LabsDir,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Build the book as HTML
    Build {
        /// Where to [default: what book.toml says; `swarmlab-book` for the binary's own book]
        #[arg(long, value_name = "DIR")]
        dest: Option<PathBuf>,
    },
    /// Build the book into a temporary folder, then check every link, anchor and picture in it
    Check {
        /// Check this built book instead
        #[arg(long, value_name = "DIR")]
        built: Option<PathBuf>,
    },
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let content = Content::find(args.labs.path())?;
    match &args.action {
        Action::Build { dest } => {
            let dest = dest.clone().or_else(|| content.folder().is_none().then(|| PathBuf::from("swarmlab-book")));
            let built = build(&content, dest.as_deref())?;
            say!("The book is in {}; open {}", built.display(), built.join("index.html").display());
            Ok(ExitCode::SUCCESS)
        }
        Action::Check { built } => {
            let scratch = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
            let built = match built {
                Some(built) => built.clone(),
                None => build(&content, Some(scratch.path()))?,
            };
            let found = links::check(&built).map_err(Failure::io("the built book"))?;
            for broken in &found.broken {
                say!("{broken}");
            }
            say!("{} pages, {} links and pictures, {} broken", found.pages, found.links, found.broken.len());
            Ok(if found.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
    }
}

fn build(content: &Content, dest: Option<&Path>) -> Result<PathBuf, Failure> {
    let scratch = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
    let root = content.tree(scratch.path())?;
    let chain = |error: mdbook_driver::errors::Error| Failure::usage(format!("{error:#}"));
    let mut book = MDBook::load(&root).map_err(chain)?;
    if let Some(dest) = dest {
        let here = std::env::current_dir().map_err(Failure::io("the current folder"))?;
        book.config.build.build_dir = here.join(dest);
    }
    // takes the place of the command that book.toml names for mdbook itself
    book.with_preprocessor(Swarmlab);
    book.build().map_err(chain)?;
    Ok(book.build_dir_for("html"))
}
