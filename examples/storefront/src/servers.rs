//! Which database servers the shop has.

use std::str::FromStr;

use tokio_postgres::Config;

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
    fn several_are_told_apart_whatever_their_passwords_hold() {
        let all = ["postgres://u:p,q@a/shop", "postgresql://b/shop", "postgres://c:5433/shop"];
        assert_eq!(urls(&all.join(",")), all);
        let Servers(configs) = all.join(",").parse().unwrap();
        assert_eq!(configs.len(), 3);
        assert_eq!(configs[2].get_ports(), [5433]);
        assert!("postgres://a/shop,postgres://b:port/shop".parse::<Servers>().is_err());
    }
}
