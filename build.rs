//! Lists the book, the labs and their fixtures, so that the binary carries them inside itself and works from any folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What is carried; other folders (a built book, an editor's leftovers) are not.
const ROOTS: [&str; 4] = ["book/src", "book/theme", "labs", "book.toml"];

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut files = Vec::new();
    for root in ROOTS {
        let path = here.join(root);
        if path.exists() {
            // cargo watches a folder with all that is in it
            println!("cargo:rerun-if-changed={}", path.display());
            collect(&path, &mut files)?;
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    link_at_fixed_address();
    files.sort();
    let mut code = String::from("pub static FILES: &[(&str, &[u8])] = &[\n");
    for file in files {
        let name = file.strip_prefix(&here).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let _ = writeln!(code, "    ({name:?}, include_bytes!({:?})),", file.display().to_string());
    }
    code.push_str("];\n");
    fs::write(out.join("embedded.rs"), code)
}

/// A position-independent program has its tables of pointers (some 3 MB of ours) written by the loader at every start,
/// so that no process shares them with another. There is one shim for every container: at a fixed address they share
/// these pages with the file, and start sooner. The price is that only libraries, heap and stack are at random addresses.
fn link_at_fixed_address() {
    let target = |key: &str| env::var(key).unwrap_or_default();
    if target("CARGO_CFG_TARGET_OS") == "linux" && target("CARGO_CFG_TARGET_ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}
