//! The table of `verify`.

use lab::Status;

use crate::executor::Proof;

/// One line for each check: before, after, again, after reset, and what is wrong.
pub fn proofs(proofs: &[Proof]) -> String {
    let step_width = proofs.iter().map(|p| p.step.len()).max().unwrap_or(0).max(4);
    let mut out = format!("{:step_width$}  before  after  again  reset  check\n", "step");
    for proof in proofs {
        let before = match (proof.before, &proof.always) {
            (Status::Pass, Some(_)) => "always",
            (status, _) => word(status),
        };
        let reset = proof.reset.map_or("-", word);
        let line = format!(
            "{:step_width$}  {before:6}  {:5}  {:5}  {reset:5}  {}",
            proof.step,
            word(proof.after),
            word(proof.again),
            proof.check
        );
        out.push_str(line.trim_end());
        out.push('\n');
        if let Some(wrong) = &proof.wrong {
            out.push_str(&format!("{:step_width$}  WRONG: {}\n", "", wrong.replace('\n', "\n    ")));
        }
    }
    out
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Skip => "-",
        other => other.name(),
    }
}
