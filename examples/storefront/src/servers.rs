//! Which database servers the shop has.

use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

/// The URLs of one server, or of a primary and its replicas, in any order, with commas
/// between.
#[derive(Clone, Debug)]
pub(crate) struct Servers(pub(crate) Vec<Config>);

impl FromStr for Servers {
    type Err = tokio_postgres::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        urls(text).into_iter().map(Config::from_str).collect::<Result<_, _>>().map(Self)
    }
}

/// One for each host of `config`, which are a primary and its replicas: who tells them apart
/// by itself connects to each.
pub(crate) fn each_host(config: &Config) -> Vec<Config> {
    let hosts = config.get_hosts().len();
    let one = |at: usize| {
        let mut one = Config::new();
        let of = |list: &[u16]| list.get(at).or_else(|| list.last()).copied();
        match &config.get_hosts()[at] {
            Host::Tcp(name) => one.host(name),
            Host::Unix(path) => one.host_path(path),
        };
        if let Some(address) = config.get_hostaddrs().get(at) {
            one.hostaddr(*address);
        }
        if let Some(port) = of(config.get_ports()) {
            one.port(port);
        }
        if let Some(user) = config.get_user() {
            one.user(user);
        }
        if let Some(password) = config.get_password() {
            one.password(password);
        }
        if let Some(name) = config.get_dbname() {
            one.dbname(name);
        }
        if let Some(options) = config.get_options() {
            one.options(options);
        }
        one.ssl_mode(config.get_ssl_mode()).channel_binding(config.get_channel_binding());
        one
    };
    (0..hosts).map(one).collect()
}

/// Whether who connects to `config` may end up on a replica.
pub(crate) fn may_be_a_replica(config: &Config) -> bool {
    config.get_hosts().len() > 1
        && config.get_target_session_attrs() != TargetSessionAttrs::ReadWrite
}

/// A password may hold a comma: a URL ends where another begins.
fn urls(text: &str) -> Vec<&str> {
    let mut urls = Vec::new();
    let mut start = 0;
    for (comma, _) in text.match_indices(',') {
        let next = &text[comma + 1..];
        if next.starts_with("postgres://") || next.starts_with("postgresql://") {
            urls.push(&text[start..comma]);
            start = comma + 1;
        }
    }
    urls.push(&text[start..]);
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_is_a_list_too() {
        for one in ["postgres://a,b:c,d@host/shop", "host=a user=b password=c,d"] {
            assert_eq!(urls(one), [one]);
        }
    }

    #[test]
    fn each_host_has_all_but_the_others() {
        let text = "postgres://u:p@a:1,b:2/shop?target_session_attrs=read-write";
        let both: Config = text.parse().unwrap();
        assert!(!may_be_a_replica(&both));
        let [a, b] = &each_host(&both)[..] else { panic!() };
        assert_eq!(*a, "postgres://u:p@a:1/shop".parse().unwrap());
        assert_eq!(*b, "postgres://u:p@b:2/shop".parse().unwrap());
        assert!(may_be_a_replica(&"postgres://a,b/shop".parse().unwrap()));
        assert!(!may_be_a_replica(&"postgres://a/shop".parse().unwrap()));
        let one_port: Config = "host=a,b port=7".parse().unwrap();
        assert_eq!(each_host(&one_port)[1].get_ports(), [7]);
    }

    #[test]
    fn several_are_told_apart_whatever_their_passwords_hold() {
        let all = ["postgres://u:p,q@a/shop", "postgresql://b/shop", "postgres://c:5433/shop"];
        assert_eq!(urls(&all.join(",")), all);
        let Servers(configs) = all.join(",").parse().unwrap();
        assert_eq!(configs.len(), 3);
        assert_eq!(configs[2].get_ports(), [5433]);
        assert!("postgres://a/shop,postgres://b:port/shop".parse::<Servers>().is_err());
    }
}
