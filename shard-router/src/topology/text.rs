use std::fmt::Write;

use serde::Deserialize;

use super::{Connection, Topology, TopologyError};
use crate::hash::SlotHash;
use crate::key::KeyType;
use crate::map::{MapError, ShardName, SlotMap};
use crate::slot::{Epoch, SlotRange};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "first")]
    epoch: u64,
    #[serde(default = "pg")]
    hash: String,
    hash_secret_env: Option<String>,
    key: Vec<String>,
    #[serde(default)]
    shards: Vec<Shard>,
    #[serde(default)]
    tables: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shard {
    name: String,
    connection: Option<String>,
    connection_env: Option<String>,
    #[serde(default = "one")]
    weight: u32,
    slots: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    key: Vec<String>,
}

fn first() -> u64 {
    1
}

fn one() -> u32 {
    1
}

fn pg() -> String {
    "pg".into()
}

pub(super) fn read(text: &str) -> Result<Topology, TopologyError> {
    let document: Document = toml::from_str(text)
        .map_err(|error| TopologyError::Text { reason: without_secrets(text, &error) })?;
    let number = document.epoch;
    let epoch = Epoch::new(number).ok_or(MapError::Epoch { number })?;
    let map = slots(&document.shards, epoch)?;
    let hash = hash(&document.hash, document.hash_secret_env.as_deref())?;
    let key: Vec<KeyType> = document
        .key
        .iter()
        .map(|text| {
            text.parse().map_err(|error| TopologyError::setting("key", format!("{error}")))
        })
        .collect::<Result<_, _>>()?;
    let mut topology = Topology::new(map.with_hash(hash), key)?;
    for shard in document.shards {
        let connection = match (shard.connection, shard.connection_env) {
            (Some(text), None) => Connection::Text(text),
            (None, Some(name)) => Connection::Env(variable(name, || {
                format!("shards.{}.connection_env", shard.name)
            })?),
            (None, None) => continue,
            (Some(_), Some(_)) => {
                return Err(TopologyError::setting(
                    format!("shards.{}.connection", shard.name),
                    "it has `connection_env` too; keep one of them",
                ));
            }
        };
        topology = topology.connect(&shard.name, connection)?;
    }
    for table in document.tables {
        topology = topology.table(table.name, table.key)?;
    }
    Ok(topology)
}

/// What is wrong and where, without the line, and without the values that the parser quotes.
fn without_secrets(text: &str, error: &toml::de::Error) -> String {
    if cfg!(broken = "shown_lines") {
        return error.to_string();
    }
    let message = error.message();
    let quoted = message.find("string \"").zip(message.rfind('"'));
    let message = match quoted {
        Some((from, to)) => format!("{}string{}", &message[..from], &message[to + 1..]),
        None => message.into(),
    };
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(before) = before else { return message };
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    format!("line {line}, column {column}: {message}")
}

/// The name of a variable, and not what somebody has written there instead.
fn variable(name: String, setting: impl FnOnce() -> String) -> Result<String, TopologyError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(fine) || name.as_bytes()[0].is_ascii_digit() {
        let reason = "it names a variable of the environment, by letters, digits and `_`; the text \
             itself belongs into that variable";
        return Err(TopologyError::setting(setting(), reason));
    }
    Ok(name)
}

fn slots(shards: &[Shard], epoch: Epoch) -> Result<SlotMap, TopologyError> {
    if shards.iter().all(|shard| shard.slots.is_none()) {
        if epoch != Epoch::FIRST {
            return Err(TopologyError::setting(
                "shards.slots",
                format!(
                    "the epoch is {epoch}, so slots have moved: write down who owns which; only \
                     a first map may leave it out"
                ),
            ));
        }
        let shards = shards.iter().map(|shard| (shard.name.clone(), shard.weight));
        return Ok(SlotMap::weighted(shards)?);
    }
    let owned: Vec<_> = shards
        .iter()
        .map(|shard| {
            let text = shard.slots.as_deref().unwrap_or_default();
            let ranges = SlotRange::parse_list(text).map_err(|reason| {
                TopologyError::setting(format!("shards.{}.slots", shard.name), reason)
            })?;
            Ok((shard.name.clone(), shard.weight, ranges))
        })
        .collect::<Result<_, TopologyError>>()?;
    Ok(SlotMap::from_ranges(epoch, owned)?)
}

fn hash(name: &str, secret: Option<&str>) -> Result<SlotHash, TopologyError> {
    if secret.is_some() && name != "siphash" {
        let reason = format!("only `siphash` has a secret, and `hash` is {name:?}; remove it");
        return Err(TopologyError::setting("hash_secret_env", reason));
    }
    match name {
        "pg" => Ok(SlotHash::Postgres),
        #[cfg(feature = "xxh3")]
        "xxh3" => Ok(SlotHash::Xxh3),
        #[cfg(feature = "crc16")]
        "crc16" => Ok(SlotHash::Crc16),
        #[cfg(feature = "siphash")]
        "siphash" => {
            let setting = "hash_secret_env";
            let variable = secret.ok_or_else(|| {
                TopologyError::setting(setting, "name the variable that holds the secret")
            })?;
            let variable = self::variable(variable.into(), || setting.into())?;
            let raw = std::env::var(&variable)
                .ok()
                .and_then(|text| crate::UuidBytes::parse_hex(&text))
                .ok_or_else(|| {
                    let reason = format!("{variable} must hold 32 hexadecimal digits");
                    TopologyError::setting(setting, reason)
                })?;
            Ok(SlotHash::SipHash(crate::SipKey::new(raw)))
        }
        other => Err(TopologyError::setting(
            "hash",
            format!(
                "there is no {other:?}; write \"pg\", or \"xxh3\", \"crc16\" or \"siphash\" with the \
                 feature of that name"
            ),
        )),
    }
}

pub(super) fn write(topology: &Topology) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_to(topology, &mut text);
    text
}

fn write_to(topology: &Topology, out: &mut String) -> std::fmt::Result {
    let map = topology.map();
    let hash = map.hash().id();
    let hash = match hash.split(['/', ':']).next() {
        Some("siphash24") => "siphash",
        Some(name) => name,
        None => "pg",
    };
    writeln!(out, "epoch = {}\nhash = {}", map.epoch(), quoted(hash))?;
    let list = |names: &mut dyn Iterator<Item = &str>| {
        names.map(quoted).collect::<Vec<_>>().join(", ")
    };
    writeln!(out, "key = [{}]", list(&mut topology.key().iter().map(|key| key.as_str())))?;
    for ((name, weight), connection) in
        topology.names().zip(map.weights()).zip(&topology.connections)
    {
        writeln!(out, "\n[[shards]]\nname = {}\nweight = {weight}", quoted(name.as_str()))?;
        match connection {
            Some(Connection::Text(text)) => writeln!(out, "connection = {}", quoted(text))?,
            Some(Connection::Env(name)) => writeln!(out, "connection_env = {}", quoted(name))?,
            None => {}
        }
        writeln!(out, "slots = {}", quoted(&ranges(map, name)))?;
    }
    for table in topology.tables() {
        let columns = list(&mut table.columns().iter().map(String::as_str));
        writeln!(out, "\n[[tables]]\nname = {}\nkey = [{columns}]", quoted(table.name()))?;
    }
    Ok(())
}

fn ranges(map: &SlotMap, shard: &ShardName) -> String {
    let ranges = map.ranges(shard.as_str()).unwrap_or_default();
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
