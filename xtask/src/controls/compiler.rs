//! The compiler that takes protections out.

use std::fs;
use std::path::PathBuf;

use crate::command::target;

/// A compiler that breaks a crate of this workspace as the crate's variable says,
/// and tells cargo that it has looked at it, as `env!` would: so a control builds the
/// crate that it breaks, and what depends on that, and nothing else.
const WRAPPER: &str = r#"#!/bin/sh
name=$(printf %s "$CARGO_PKG_NAME" | tr a-z- A-Z_)
eval "broken=\${BROKEN_$name}"
folder=; crate=; extra=; before=
for word in "$@"; do
    case "$before" in
        --out-dir) folder=$word ;;
        --crate-name) crate=$word ;;
        -C) case "$word" in extra-filename=*) extra=${word#extra-filename=} ;; esac ;;
    esac
    before=$word
done
if [ -n "$broken" ]; then
    "$@" --cfg "broken=\"$broken\"" || exit
else
    "$@" || exit
fi
read="$folder/$crate$extra.d"
if [ -n "$folder" ] && [ -f "$read" ]; then
    if [ -n "$broken" ]; then
        printf '\n# env-dep:BROKEN_%s=%s\n' "$name" "$broken" >> "$read"
    else
        printf '\n# env-dep:BROKEN_%s\n' "$name" >> "$read"
    fi
fi
"#;

/// What the wrapper reads for `krate`.
pub(super) fn variable(krate: &str) -> String {
    format!("BROKEN_{}", krate.to_uppercase().replace('-', "_"))
}

/// Where the compiler is.
pub(super) fn wrapper() -> Result<PathBuf, String> {
    let path = folder().join("rustc");
    let written = || {
        fs::create_dir_all(folder())?;
        if fs::read_to_string(&path).is_ok_and(|old| old == WRAPPER) {
            return Ok(());
        }
        fs::write(&path, WRAPPER)?;
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(())
    };
    let written: std::io::Result<()> = written();
    written.map_err(|error| format!("{} could not be written: {error}", path.display()))?;
    Ok(path)
}

/// Where controls keep what they make.
pub(super) fn folder() -> PathBuf {
    target().join("controls")
}
