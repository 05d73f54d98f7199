//! Runs `filetests/kernel/*.txt`: kernels with what they compute or do wrong.
//!
//! A file holds kernels, each followed by directives in comments:
//!
//! ```text
//! ; run N=2 x=[1 2] -> y=[2 4]           results; `iota(n)` counts from 0, `fill(n x)` repeats
//! ; run N=2 x=[1 9] -> fails "message"   a check fails
//! ; run N=2 x=[1 2] -> error "text"      a statement does wrong; the error holds the text
//! ; invalid "text"                       a verifier error holds the text
//! ```
//! Outputs named on the left hold that data before the run. Every `run` is repeated with
//! tiles in several orders and vector loops in both directions. Every kernel's text form
//! is read back.

use cascata_ir::kernel::interp::{
    HostBuffer, Outcome, Program, RunOptions, TileOrder, launch_buffers,
};
use cascata_ir::kernel::{Kernel, parse_kernel, verify};
use cascata_ir::types::{DType, Scalar};
use std::path::Path;

#[test]
fn kernel_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/kernel");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of file tests")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    let mut failures = Vec::new();
    let mut runs = 0;
    for path in &paths {
        let text = std::fs::read_to_string(path).expect("a readable file");
        for (line, section) in sections(&text) {
            match check(section) {
                Ok(count) => runs += count,
                Err(e) => failures.push(format!("{}:{line}: {e}", path.display())),
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(runs > 50, "only {runs} directives");
}

/// The kernels of a file with their directives and first lines.
fn sections(text: &str) -> Vec<(usize, &str)> {
    let mut starts: Vec<usize> =
        text.match_indices("kernel ").map(|(i, _)| i).filter(|i| is_line_start(text, *i)).collect();
    starts.push(text.len());
    let section = |w: &[usize]| (text[..w[0]].matches('\n').count() + 1, &text[w[0]..w[1]]);
    starts.windows(2).map(section).collect()
}

fn is_line_start(text: &str, at: usize) -> bool {
    at == 0 || text.as_bytes()[at - 1] == b'\n'
}

/// Returns the number of directives.
fn check(section: &str) -> Result<usize, String> {
    let kernel = parse_kernel(section).map_err(|e| e.to_string())?;
    let printed = kernel.to_string();
    let read = parse_kernel(&printed).map_err(|e| format!("{e} in\n{printed}"))?;
    if read != kernel {
        return Err(format!("reads back as\n{read}"));
    }
    let directives =
        |word| section.lines().filter_map(move |l| l.strip_prefix("; ")?.strip_prefix(word));
    let invalid: Vec<String> = directives("invalid ").map(unquoted).collect();
    check_invalid(&kernel, &invalid)?;
    let mut count = invalid.len();
    for directive in directives("run ") {
        check_run(&kernel, directive).map_err(|e| format!("'{directive}': {e}"))?;
        count += 1;
    }
    if count == 0 {
        return Err("a kernel without directives".into());
    }
    Ok(count)
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_string()
}

fn check_invalid(kernel: &Kernel, expected: &[String]) -> Result<(), String> {
    let errors = verify(kernel).err().unwrap_or_default();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let missing = expected.iter().find(|e| !texts.iter().any(|t| t.contains(*e)));
    match missing {
        Some(missing) => Err(format!("'{missing}' is not among {texts:#?}")),
        None if texts.len() != expected.len() => Err(format!("more errors: {texts:#?}")),
        None => Ok(()),
    }
}

fn check_run(kernel: &Kernel, directive: &str) -> Result<(), String> {
    let (given, expected) = directive.split_once("->").ok_or("no '->'")?;
    let given = assignments(given)?;
    let params: Vec<i64> = kernel
        .symbols
        .iter()
        .take(kernel.params)
        .map(|(_, s)| find(&given, &s.name).and_then(|v| v.first().copied()))
        .map(|v| v.map(|x| x as i64).ok_or("a parameter is not given"))
        .collect::<Result<_, _>>()?;
    let orders =
        [TileOrder::Forward, TileOrder::Reverse, TileOrder::Shuffled(1), TileOrder::Shuffled(2)];
    for order in orders {
        for reverse_vector in [false, true] {
            let options = RunOptions { order, reverse_vector };
            run_once(kernel, &params, &given, expected.trim(), options)
                .map_err(|e| format!("{options:?}: {e}"))?;
        }
    }
    Ok(())
}

fn run_once(
    kernel: &Kernel,
    params: &[i64],
    given: &[(String, Vec<f64>)],
    expected: &str,
    options: RunOptions,
) -> Result<(), String> {
    let program = Program::new(kernel).map_err(|e| e.to_string())?;
    let mut buffers = launch_buffers(kernel, params).unwrap_or_default();
    for (declared, host) in kernel.buffers.values().zip(&mut buffers) {
        if let Some(values) = find(given, &declared.name) {
            *host = HostBuffer::rounded(declared.dtype, values);
        }
    }
    let outcome = program.run(params, &mut buffers, &options);
    if let Some(text) = expected.strip_prefix("error ") {
        let text = unquoted(text);
        return match outcome {
            Err(e) if e.to_string().contains(&text) => Ok(()),
            other => Err(format!("{other:?}")),
        };
    }
    let outcome = outcome.map_err(|e| e.to_string())?;
    if let Some(text) = expected.strip_prefix("fails ") {
        return match outcome {
            Outcome::Failed(message) if message == unquoted(text) => Ok(()),
            other => Err(format!("{other:?}")),
        };
    }
    if outcome != Outcome::Done {
        return Err(format!("{outcome:?}"));
    }
    for (name, values) in assignments(expected)? {
        let mut declared = kernel.buffers.values().zip(&buffers);
        let (_, host) = declared.find(|(b, _)| b.name == name).ok_or("no such result")?;
        if let Some(i) = host.first_undefined {
            return Err(format!("{name}[{i}] is not written"));
        }
        let expected = HostBuffer::rounded(host.dtype, &values);
        if !same(&expected, host) {
            let found: Vec<f64> = host.scalars().into_iter().map(Scalar::to_f64).collect();
            return Err(format!("{name} is {found:?}, not {values:?}"));
        }
    }
    Ok(())
}

/// Bitwise, except that one NaN is as good as another.
fn same(a: &HostBuffer, b: &HostBuffer) -> bool {
    let key = |x: Scalar| match x.dtype.is_float() && x.to_f64().is_nan() {
        true => Scalar::from_f64(DType::F64, f64::NAN),
        false => x,
    };
    let keys = |h: &HostBuffer| h.scalars().into_iter().map(key).collect::<Vec<_>>();
    keys(a) == keys(b)
}

fn find<'a>(given: &'a [(String, Vec<f64>)], name: &str) -> Option<&'a Vec<f64>> {
    given.iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

/// `N=2 x=[1 2] y=iota(3) z=fill(3 0.5)`.
fn assignments(text: &str) -> Result<Vec<(String, Vec<f64>)>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(format!("no '=' in '{rest}'"))?;
        let end = match after.find(|c: char| "[( ".contains(c)) {
            Some(i) if !after[i..].starts_with(' ') => after.find([']', ')']).map(|i| i + 1),
            end => end,
        };
        let (value, next) = after.split_at(end.unwrap_or(after.len()));
        out.push((name.trim().to_string(), list(value.trim())?));
        rest = next.trim_start();
    }
    Ok(out)
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    let inner = |prefix| text.strip_prefix(prefix).and_then(|t: &str| t.strip_suffix([']', ')']));
    let numbers = |t: &str| {
        t.split_whitespace()
            .map(|x| x.parse::<f64>().map_err(|e| format!("'{x}': {e}")))
            .collect::<Result<Vec<_>, _>>()
    };
    if let Some(count) = inner("iota(") {
        return Ok((0..numbers(count)?[0] as i64).map(|i| i as f64).collect());
    }
    if let Some(arguments) = inner("fill(") {
        let arguments = numbers(arguments)?;
        return Ok(vec![arguments[1]; arguments[0] as usize]);
    }
    numbers(inner("[").unwrap_or(text))
}
