//! Which files of this machine a set of programs needs to run elsewhere: themselves, their loader and, transitively,
//! their shared libraries, read from the programs' own ELF tables. Leaves out what is opened at run time by name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/sbin"];
/// Opened by older C libraries for names of hosts and users, without being listed anywhere.
const UNLISTED: [&str; 2] = ["libnss_files.so.2", "libnss_dns.so.2"];

/// Path inside -> file of this machine, for the programs that exist here and for all that they and `binary` need.
pub fn collect(programs: &[&str], binary: &Path) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let folders = library_folders();
    let mut files = BTreeMap::new();
    let mut queue: Vec<PathBuf> = vec![binary.to_path_buf()];
    for name in programs {
        if let Some(path) = FOLDERS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file()) {
            queue.push(path.clone());
            files.insert(place(&path), path);
        }
    }
    queue.extend(UNLISTED.iter().filter_map(|name| find(name, &folders)));
    while let Some(path) = queue.pop() {
        let Some(needs) = elf_needs(&fs::read(&path)?) else {
            continue; // a script: its interpreter is one of the programs, or it is not
        };
        let libraries = needs.libraries.iter().filter_map(|name| find(name, &folders));
        for need in libraries.chain(needs.loader.map(PathBuf::from)) {
            if need.is_file() && !files.contains_key(&place(&need)) {
                files.insert(place(&need), need.clone());
                queue.push(need);
            }
        }
    }
    Ok(files)
}

/// Where a file goes: its folder without symbolic links, its name as it is asked for.
fn place(path: &Path) -> PathBuf {
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path.to_path_buf(),
    }
}

fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Where the dynamic loader looks by default, with the folders that /etc/ld.so.conf.d adds.
fn library_folders() -> Vec<PathBuf> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let mut folders: Vec<PathBuf> = ["/lib/", "/usr/lib/"].iter().map(|dir| Path::new(dir).join(&triplet)).collect();
    folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    let mut configured: Vec<PathBuf> =
        fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    configured.sort();
    for file in configured {
        let text = fs::read_to_string(file).unwrap_or_default();
        folders.extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from));
    }
    folders
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    loader: Option<String>,
    libraries: Vec<String>,
}

/// What a 64-bit little-endian ELF file names as its loader and libraries; `None` when it is no such file.
fn elf_needs(bytes: &[u8]) -> Option<Needs> {
    const PT_LOAD: u64 = 1;
    const PT_DYNAMIC: u64 = 2;
    const PT_INTERP: u64 = 3;
    const DT_NEEDED: u64 = 1;
    const DT_STRTAB: u64 = 5;
    if bytes.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let number = |at: u64, size: usize| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let mut word = [0u8; 8];
        word[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
        Some(u64::from_le_bytes(word))
    };
    let text = |at: u64| -> Option<String> {
        let rest = bytes.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    let (table, entry_size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut needs = Needs::default();
    let mut loads = Vec::new();
    let mut dynamic = None;
    for index in 0..count {
        let entry = table.checked_add(index * entry_size)?;
        let (kind, offset, address, size) =
            (number(entry, 4)?, number(entry + 8, 8)?, number(entry + 16, 8)?, number(entry + 32, 8)?);
        match kind {
            PT_LOAD => loads.push((address, offset, size)),
            PT_DYNAMIC => dynamic = Some((offset, size)),
            PT_INTERP => needs.loader = text(offset),
            _ => {}
        }
    }
    // a static program has no dynamic table, and needs nothing
    let Some((offset, size)) = dynamic else {
        return Some(needs);
    };
    let mut names = Vec::new();
    let mut strings = None;
    for index in 0..size / 16 {
        let entry = offset + index * 16;
        match (number(entry, 8)?, number(entry + 8, 8)?) {
            (0, _) => break,
            (DT_NEEDED, at) => names.push(at),
            (DT_STRTAB, address) => {
                strings = loads
                    .iter()
                    .find(|(start, _, size)| address >= *start && address - start < *size)
                    .map(|(start, offset, _)| address - start + offset);
            }
            _ => {}
        }
    }
    let strings = strings?;
    needs.libraries = names.into_iter().filter_map(|at| text(strings.checked_add(at)?)).collect();
    Some(needs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_needs_nothing() {
        assert_eq!(elf_needs(b"#!/bin/sh\n"), None);
        assert_eq!(elf_needs(b""), None);
        assert_eq!(elf_needs(b"\x7fELF\x02\x01 and then it ends"), None);
    }

    #[test]
    fn our_own_binary_names_its_loader_or_is_static() {
        let needs = elf_needs(&fs::read("/proc/self/exe").unwrap()).unwrap();
        assert_eq!(needs.loader.is_some(), !needs.libraries.is_empty());
    }

    #[test]
    fn a_shell_comes_with_all_that_it_needs() {
        let files = collect(&["sh"], Path::new("/proc/self/exe")).unwrap();
        assert!(files.keys().any(|path| path.ends_with("bin/sh")), "{files:?}");
        assert!(files.keys().all(|path| path.is_absolute()));
    }
}
