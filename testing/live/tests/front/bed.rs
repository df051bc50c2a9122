//! Fronts whose workers take as many milliseconds for an answer as its path says.

use std::time::Duration;

pub(crate) use live::front::Front;
use testbed::Folder;

pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn start(words: &[&str]) -> Front {
    let worker = [env!("CARGO_BIN_EXE_draining"), "400", "5000", "{announce}"];
    Front::start(words, &worker, &[]).await
}

pub(crate) async fn with_policy(policy: &str, words: &[&str]) -> Front {
    let folder = Folder::new("policy").await.unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, policy).unwrap();
    start(&[&["--policy", path.to_str().unwrap()], words].concat()).await
}
